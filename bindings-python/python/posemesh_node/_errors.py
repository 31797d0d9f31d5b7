"""The exceptions: one base, and one class for each code that a program would catch."""

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
    """The base of all errors of this package.

    The text is for people and says what to do next. It never holds a key or another secret.
    """

    code: int = 0
    """What went wrong, as a number that never changes. The same in every language."""

    name: str = ""
    """What went wrong, as a name that never changes, such as ``ERR_TIMEOUT``."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        # For pydantic, which calls it with a field that holds an error, such as `Status.last_error`.
        from ._pydantic import error_schema

        return error_schema(cls)


class InvalidArgumentError(PosemeshError, ValueError):
    """An argument of a call is not usable."""

    code = 1
    name = "ERR_INVALID_ARGUMENT"


class ConfigError(PosemeshError, ValueError):
    """An option is missing or has a value that it cannot have; the message names it."""

    code = 2
    name = "ERR_INVALID_CONFIG"


class NotFoundError(PosemeshError, LookupError):
    """What was asked for is not there."""

    code = 3
    name = "ERR_NOT_FOUND"


class NodeTimeoutError(PosemeshError, TimeoutError):
    """The time given for the call is over. What was waited for may still happen."""

    code = 5
    name = "ERR_TIMEOUT"


class StoppedError(PosemeshError):
    """The node was stopped, perhaps while the call waited."""

    code = 6
    name = "ERR_STOPPED"


class AlreadyRunningError(PosemeshError):
    """A node with this wallet and DDS, or with this `state_dir`, already runs in this process."""

    code = 7
    name = "ERR_ALREADY_RUNNING"


class _SystemError(PosemeshError, OSError):
    """The base of what the operating system refused: ``errno`` has its number, if it gave one."""

    def __str__(self) -> str:
        # `OSError` would put the number before the text, which has it already.
        return self.strerror or super().__str__()


class BindError(_SystemError):
    """The callback server could not bind its address."""

    code = 8
    name = "ERR_BIND"


class NodeIOError(_SystemError):
    """A file or socket of this machine failed."""

    code = 9
    name = "ERR_IO"


class ForkedError(PosemeshError):
    """The node was started by another process, before a fork. Start one in this process."""

    code = 10
    name = "ERR_FORKED"


class WouldDeadlockError(PosemeshError):
    """The call would wait for the thread that makes it, such as ``stop`` in an event listener."""

    code = 11
    name = "ERR_WOULD_DEADLOCK"


class RejectedError(PosemeshError):
    """DDS said no; the message has its own words."""

    code = 12
    name = "ERR_REJECTED"


class UnavailableError(PosemeshError):
    """DDS is out of reach, or gave no usable answer."""

    code = 13
    name = "ERR_UNAVAILABLE"


class InternalError(PosemeshError):
    """A bug in this library. Please report it."""

    code = 15
    name = "ERR_INTERNAL"


class PanicError(InternalError):
    """A bug in this library's native code. Please report it with what stands on stderr."""

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
"""The class for each code, for the native half. A code that is not here is an InternalError."""
