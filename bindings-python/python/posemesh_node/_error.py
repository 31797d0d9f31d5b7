"""The exceptions: one base class, and a subclass for each error code."""

from __future__ import annotations

from typing import Any

__all__ = [
    "AlreadyRunningError",
    "BindError",
    "ConfigError",
    "ForkedError",
    "InternalError",
    "InvalidArgumentError",
    "NodeIOError",
    "NodeTimeoutError",
    "NotFoundError",
    "PanicError",
    "PosemeshError",
    "RejectedError",
    "StoppedError",
    "UnavailableError",
    "WouldDeadlockError",
]


class PosemeshError(Exception):
    """The base class of all errors of this package.

    The message is meant for people and says what to do next. It never contains a key or another secret.
    """

    code: int = 0
    """The error code: a number that never changes and is the same in every language."""

    name: str = ""
    """The name of the error code, such as ``ERR_TIMEOUT``. It never changes."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        # Called by pydantic for a field that holds an error, such as `Status.last_error`.
        from ._pydantic import error_schema

        return error_schema(cls, CLASSES.values())


class InvalidArgumentError(PosemeshError, ValueError):
    """An argument is invalid."""

    code = 1
    name = "ERR_INVALID_ARGUMENT"


class ConfigError(PosemeshError, ValueError):
    """An option is missing or has an invalid value. The message names it."""

    code = 2
    name = "ERR_INVALID_CONFIG"


class NotFoundError(PosemeshError, LookupError):
    """What was asked for does not exist."""

    code = 3
    name = "ERR_NOT_FOUND"


class NodeTimeoutError(PosemeshError, TimeoutError):
    """The timeout of the call has passed. What the call waited for may still happen."""

    code = 5
    name = "ERR_TIMEOUT"


class StoppedError(PosemeshError):
    """The node has been stopped, possibly while the call waited."""

    code = 6
    name = "ERR_STOPPED"


class AlreadyRunningError(PosemeshError):
    """A node with this identity and DDS, or with this ``state_dir``, is already running in this process."""

    code = 7
    name = "ERR_ALREADY_RUNNING"


class _SystemError(PosemeshError, OSError):
    """The base class of errors of the operating system. ``errno`` has its error number, if there is one."""

    def __str__(self) -> str:
        # `OSError` would put the number before the message, which already contains it.
        return self.strerror or super().__str__()


class BindError(_SystemError):
    """The callback server could not bind to its address."""

    code = 8
    name = "ERR_BIND"


class NodeIOError(_SystemError):
    """An operation on a local file or socket failed."""

    code = 9
    name = "ERR_IO"


class ForkedError(PosemeshError):
    """The node was started before a fork, by the parent process. Start another one in this process."""

    code = 10
    name = "ERR_FORKED"


class WouldDeadlockError(PosemeshError):
    """The call would wait for the thread that it runs on, such as ``stop`` in an event listener."""

    code = 11
    name = "ERR_WOULD_DEADLOCK"


class RejectedError(PosemeshError):
    """DDS rejected the request. The message contains the text that it sent."""

    code = 12
    name = "ERR_REJECTED"


class UnavailableError(PosemeshError):
    """DDS could not be reached, or its response was not usable."""

    code = 13
    name = "ERR_UNAVAILABLE"


class InternalError(PosemeshError):
    """A bug in this library. Please report it."""

    code = 15
    name = "ERR_INTERNAL"


class PanicError(InternalError):
    """A bug in this library's native code. Please report it, with the output on stderr."""

    code = 14
    name = "ERR_PANIC"


CLASSES: dict[int, type[PosemeshError]] = {
    cls.code: cls
    for cls in (
        InvalidArgumentError,
        ConfigError,
        NotFoundError,
        NodeTimeoutError,
        StoppedError,
        AlreadyRunningError,
        BindError,
        NodeIOError,
        ForkedError,
        WouldDeadlockError,
        RejectedError,
        UnavailableError,
        PanicError,
        InternalError,
    )
}
"""The class for each code, for the native half. An unknown code becomes an InternalError."""
