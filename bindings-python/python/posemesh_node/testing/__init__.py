"""A DDS on loopback, to test a node without the network.

    from posemesh_node import Node
    from posemesh_node.testing import Fault, LocalDds

    with LocalDds() as dds:
        dds.inject("register", Fault.status(503))
        with Node.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
            assert node.wait_secret(timeout=30) == dds.last_secret

It speaks the real protocol and is strict about it: nonces, signatures and addresses are verified, and every
request is on record. It listens on loopback, calls nothing but loopback, and lives on a thread of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from .. import _native
from .._token import AccessToken

if TYPE_CHECKING:
    import sys
    from collections.abc import Mapping
    from datetime import datetime
    from types import TracebackType

    if sys.version_info >= (3, 11):
        from typing import Self, Unpack
    else:
        from typing_extensions import Self, Unpack

    from .._config import Options, Overrides

__all__ = [
    "PRIVATE_KEY",
    "Answer",
    "CallbackOutcome",
    "DdsRequest",
    "Endpoint",
    "Fault",
    "LocalDds",
    "RegisteredNode",
    "Request",
]

Endpoint: TypeAlias = Literal["challenge", "register", "verify"]
"""The requests that a node makes: a challenge to sign, the registration, an access token."""

PRIVATE_KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90"
"""A key that stands in many examples of others: for tests, and never for anything of worth."""

# base64(`<node UUID>:<secret>`), as the console shows them.
_REG_SECRET = "NWM0ZTBhNmItOWQxZi00YzZlLThhNTctMmYwYjdkM2U5MWM0OjhZcTJrWDB2VDdtV2MzTHJacDVh"


@dataclass(frozen=True)
class DdsRequest:
    """A request that the DDS received."""

    number: int
    """1 for the first request, 2 for the second."""

    endpoint: Endpoint | None
    """Which one it is, if it is one that a DDS has."""

    method: str
    """POST, GET or another."""

    path: str
    """The path, with the query if there is one."""

    headers: Mapping[str, str]
    """Names are in lowercase."""

    body: bytes
    """The body, as it came."""

    at: datetime
    """When it had arrived (UTC)."""

    since_start: float
    """The same on the monotonic clock, in seconds since the DDS started."""

    status: int | None
    """What was answered; None: nothing yet, or no HTTP."""

    def json(self) -> object:
        """The body as JSON."""
        return json.loads(self.body)


Request = DdsRequest
"""The name of DdsRequest up to version 0.3."""


@dataclass(frozen=True)
class RegisteredNode:
    """A node that has registered."""

    wallet: str | None
    """Its wallet, with the EIP-55 checksum. None for a robot."""

    node_id: str
    """The UUID in its credentials, or one made up from the wallet when they hold none."""

    version: str
    """The version it sent."""

    capabilities: tuple[str, ...]
    """What it can do."""

    max_concurrency: int | None
    """How many jobs it takes at once, when it said so."""

    registrations: int
    """How often it has registered since it was last forgotten."""

    online: bool
    """Whether it answered the last health probe. A node that has just registered counts as online."""

    url: str | None = None
    """The URL of its callback server, if it registered with one (the legacy registration)."""


@dataclass(frozen=True)
class CallbackOutcome:
    """What a node answered to a callback."""

    status: int
    body: bytes


Answer = CallbackOutcome
"""The name of CallbackOutcome up to version 0.3."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong with a request. Made by the functions of this class."""

    _json: str

    @classmethod
    def _of(cls, name: str, **details: object) -> Self:
        return cls(json.dumps({"fault": name, **details}))

    @classmethod
    def status(cls, code: int, *, body: str = "", retry_after: str | None = None) -> Self:
        """An answer with this status, from 200 to 999."""
        return cls.answer(code, body=body, headers={} if retry_after is None else {"retry-after": retry_after})

    @classmethod
    def answer(cls, code: int, *, body: str = "", headers: Mapping[str, str] | None = None) -> Self:
        """An answer with any status from 200 to 999, headers and body."""
        # Checked here, where the mistake is: when the answer is sent it is too late.
        if not 200 <= code <= 999:
            raise ValueError(f"{code} is no status of an answer")
        for text in (headers or {}).items():
            if not all(part.isascii() and part.isprintable() and part.strip() == part for part in text):
                raise ValueError(f"{text!r} is no HTTP header")
        return cls._of("answer", code=code, body=body, headers=list((headers or {}).items()))

    @classmethod
    def delay(cls, seconds: float) -> Self:
        """The normal answer, but this much later."""
        return cls._of("delay", millis=round(seconds * 1000))

    @classmethod
    def reset(cls) -> Self:
        """The connection is reset; nothing is answered."""
        return cls._of("reset")

    @classmethod
    def half_body(cls) -> Self:
        """The connection ends in the middle of a body."""
        return cls._of("half_body")

    @classmethod
    def garbage(cls) -> Self:
        """200, and a body that is no JSON."""
        return cls._of("garbage")

    @classmethod
    def not_http(cls) -> Self:
        """Bytes that are no HTTP."""
        return cls._of("not_http")

    @classmethod
    def invalid_utf8(cls) -> Self:
        """200, and JSON that is not UTF-8."""
        return cls._of("invalid_utf8")

    @classmethod
    def endless_body(cls) -> Self:
        """200, and a body that goes on and on."""
        return cls._of("endless_body")

    @classmethod
    def redirect(cls, location: str, code: int = 307) -> Self:
        """A redirect."""
        return cls.answer(code, headers={"location": location})

    @classmethod
    def stale_nonce(cls) -> Self:
        """At ``challenge``: a nonce that is spent already, so that the registration is refused."""
        return cls._of("stale_nonce")

    @classmethod
    def hang(cls) -> Self:
        """No answer, until the node gives up or the DDS stops."""
        return cls._of("hang")


def _check_text(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a str or None, got {type(value).__name__}")


def _check_seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, got {type(value).__name__}")
    if not 0 < value < _MAX_SECONDS:
        raise ValueError(f"{name} must be more than 0 and at most a century, in seconds; got {value}")


def _check_offset(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, in seconds; got {type(value).__name__}")
    if abs(value) >= 2**31:
        raise ValueError(f"{name} must fit 32 bits, in seconds; got {value}")


_MAX_SECONDS = 100 * 366 * 86_400
_CALLBACKS = ("after_answer", "before_answer", "never")


class LocalDds:
    """A running DDS on a free port of 127.0.0.1, until it is closed. A context manager.

    ``node_url`` is where the node's callback server is; without one, a node of this process is found by itself, and
    no other one is called back. ``secret`` is what it is sent, instead of a new one for each registration. With
    ``credentials``, no other ``reg_secret`` is accepted. ``health_interval`` is in seconds; without one, health is
    not probed. ``nonce_lifetime`` is how many seconds a challenge can be answered, ``token_lifetime`` how many an
    access token is good, and ``clock_offset`` how many its clock is ahead of this machine's.

    Raises TypeError or ValueError for an option that cannot be used.
    """

    def __init__(
        self,
        *,
        node_url: str | None = None,
        secret: str | None = None,
        credentials: str | None = None,
        callback: Literal["after_answer", "before_answer", "never"] = "after_answer",
        health_interval: float | None = None,
        nonce_lifetime: float = 300.0,
        token_lifetime: float = 3600.0,
        clock_offset: int = 0,
    ) -> None:
        for name, text in {"node_url": node_url, "secret": secret, "credentials": credentials}.items():
            _check_text(name, text)
        if callback not in _CALLBACKS:
            raise ValueError(f"callback must be one of {', '.join(map(repr, _CALLBACKS))}; got {callback!r}")
        if health_interval is not None:
            _check_seconds("health_interval", health_interval)
        _check_seconds("nonce_lifetime", nonce_lifetime)
        _check_seconds("token_lifetime", token_lifetime)
        _check_offset("clock_offset", clock_offset)
        self._native: _native.DevDds | None = _native.DevDds(
            node_url, secret, credentials, callback, health_interval, nonce_lifetime, token_lifetime, clock_offset
        )
        self._url = self._native.url()

    @property
    def _dds(self) -> _native.DevDds:
        if self._native is None:
            raise ValueError("this LocalDds is closed")
        return self._native

    @property
    def url(self) -> str:
        """What a node takes as ``dds_base_url``."""
        return self._url

    def options(self, **overrides: Unpack[Overrides]) -> Options:
        """Options for a node that registers here: all that are required, the URL, and the overrides."""
        options: Options = {
            "dds_base_url": self.url,
            "reg_secret": _REG_SECRET,
            "secp256k1_privhex": PRIVATE_KEY,
            "capabilities": ["/test/v1"],
            "node_version": "1.0.0",
        }
        return cast("Options", {**options, **overrides})

    def inject(self, endpoint: Endpoint, fault: Fault, times: int | None = 1) -> None:
        """Let the next requests meet with a fault; with None, every one until ``clear_faults``."""
        given: Any = fault
        if not isinstance(given, Fault):
            raise TypeError(f"fault must be a Fault, such as Fault.hang(); got {type(given).__name__}")
        self._dds.inject(endpoint, fault._json, times)

    def clear_faults(self) -> None:
        """No more faults. One that is under way goes on."""
        self._dds.clear_faults()

    def requests(self, endpoint: Endpoint | None = None) -> list[DdsRequest]:
        """Every request so far, or every one to an endpoint, in the order of arrival."""
        return [
            DdsRequest(
                number, cast("Endpoint | None", endpoint), method, path, dict(headers), body, at, since_start, status
            )
            for number, endpoint, method, path, headers, body, at, since_start, status in self._dds.requests(endpoint)
        ]

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self._dds.clear_requests()

    def wait_for_requests(self, endpoint: Endpoint, count: int = 1, timeout: float = 10.0) -> list[DdsRequest]:
        """Wait until at least ``count`` requests have come, and return them, or raise TimeoutError."""
        if not self._dds.wait_for_requests(endpoint, count, timeout):
            raise TimeoutError(f"no {count} requests to {endpoint!r} within {timeout} s")
        return self.requests(endpoint)

    def set_challenge(self, fields: Mapping[str, object] | None) -> None:
        """Put fields over every new challenge; a field that is None is removed from it. None: no more."""
        self._dds.set_challenge(None if fields is None else json.dumps(dict(fields)))

    def set_node_url(self, url: str | None) -> None:
        """Where the node's callback server is: plain http to loopback; None: no node is called back.

        A node that is registered and was not called back is called now, unless ``callback`` is "never".
        """
        self._dds.set_node_url(url)

    def set_secret(self, secret: str | None) -> None:
        """The secret of every callback from now on; None: a new one, and another one for each registration."""
        self._dds.set_secret(secret)

    @property
    def last_secret(self) -> str | None:
        """The secret of the latest callback. It is here before the node has it."""
        return self._dds.last_secret()

    def call_back(self) -> CallbackOutcome:
        """Send the secret of its registration to the node that registered last.

        Raises OSError when the node cannot be reached.
        """
        return CallbackOutcome(*self._dds.call_back())

    def probe_health(self) -> int:
        """Ask the node for its health as DDS does, and return the status of its answer."""
        return self._dds.probe_health()

    def nodes(self) -> list[RegisteredNode]:
        """The nodes that are registered."""
        return [
            RegisteredNode(wallet, node_id, version, tuple(capabilities), *rest)
            for wallet, node_id, version, capabilities, *rest in self._dds.nodes()
        ]

    def accepts_token(self, token: AccessToken | str) -> bool:
        """Whether an access token is good, as a service behind DDS finds out.

        It was issued here, has not expired, and its node has not been forgotten since.
        """
        value: Any = token.value if isinstance(token, AccessToken) else token
        if not isinstance(value, str):
            raise TypeError(f"token must be an AccessToken or a str, got {type(value).__name__}")
        return self._dds.accepts_token(value)

    def token_is_good(self, token: AccessToken | str) -> bool:
        """The name of ``accepts_token`` up to version 0.3."""
        return self.accepts_token(token)

    def forget(self, wallet: str | None = None) -> None:
        """Lose one node, or every one: it gets no access token until it has registered again.

        The access tokens that it has are no good any more.
        """
        self._dds.forget(wallet)

    def forget_nodes(self) -> None:
        """The name of ``forget`` without a wallet, up to version 0.3."""
        self.forget()

    def set_online_elsewhere(self, wallet: str, online: bool) -> None:
        """Whether another node with this wallet is online, so that a registration is answered with 409."""
        self._dds.set_online_elsewhere(wallet, online)

    def stop(self) -> None:
        """Cut all connections and free the port. May be called twice."""
        self._native = None

    def close(self) -> None:
        """The same as ``stop``, for ``contextlib.closing``."""
        self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return "<LocalDds closed>" if self._native is None else f"<LocalDds {self.url}>"
