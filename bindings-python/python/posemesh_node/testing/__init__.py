"""A DDS on loopback, to test a node without the network.

    from posemesh_node import Node
    from posemesh_node.testing import Fault, LocalDds

    with LocalDds() as dds:
        dds.inject("register", Fault.status(503))
        with Node.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
            assert node.wait_secret(timeout=30) == dds.last_secret

It implements the real protocol strictly: it verifies nonces, signatures and addresses, and records every request.
It listens on loopback, calls nothing but loopback, and runs on its own thread.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, cast, get_args

from .. import _native
from .._token import AccessToken

if TYPE_CHECKING:
    import sys
    from collections.abc import Iterable, Mapping
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
    "LocalDdsOptions",
    "RegisteredNode",
    "Request",
]

Endpoint: TypeAlias = Literal[
    "challenge",
    "register",
    "verify",
    "register_url",
    "register_robot",
    "verify_robot",
    "domain_token",
    "p2p_token",
    "p2p_challenge",
    "p2p_verify",
]
"""The requests that a node makes.

A node with a wallet asks for a ``challenge`` to sign, and sends it to ``register`` or, for an access token, to
``verify``. ``register_url`` is the legacy registration with a URL. A robot uses ``register_robot`` and
``verify_robot``, and exchanges its token with ``domain_token`` and ``p2p_token``. ``p2p_challenge`` and
``p2p_verify`` bind a libp2p peer to a node.
"""

PRIVATE_KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90"
"""A published private key, for tests only."""

# base64(`<node UUID>:<secret>`), as shown in the console.
_OTHER_KEYS = {"secp256k1_keystore_file", "signer"}
_REG_SECRET = "NWM0ZTBhNmItOWQxZi00YzZlLThhNTctMmYwYjdkM2U5MWM0OjhZcTJrWDB2VDdtV2MzTHJacDVh"


@dataclass(frozen=True)
class DdsRequest:
    """A request that the DDS received."""

    number: int
    """1 for the first request, 2 for the second."""

    endpoint: Endpoint | None
    """Its endpoint. None if DDS has no such endpoint."""

    method: str
    """POST, GET or another."""

    path: str
    """The path, and the query if there is one."""

    headers: Mapping[str, str]
    """Names are in lowercase."""

    body: bytes
    """The body."""

    at: datetime
    """When it had arrived completely (UTC)."""

    since_start: float
    """The same on the monotonic clock, in seconds since the DDS started."""

    status: int | None
    """The status of the answer. None: no answer yet, or none in HTTP."""

    def json(self) -> object:
        """Parse the body as JSON."""
        return json.loads(self.body)


Request = DdsRequest
"""The name of DdsRequest up to version 0.3."""


@dataclass(frozen=True)
class RegisteredNode:
    """A node that has registered."""

    wallet: str | None
    """Its wallet, with the EIP-55 checksum. None for a robot."""

    node_id: str
    """The UUID in its credentials or, if they have none, one derived from its wallet or its credentials."""

    version: str
    """The version it sent."""

    capabilities: tuple[str, ...]
    """The capabilities it sent."""

    max_concurrency: int | None
    """How many jobs it takes at once, if it sent that."""

    registrations: int
    """How often it has registered since it was last forgotten."""

    online: bool
    """Whether it answered the last health probe. A node that has just registered counts as online."""

    url: str | None = None
    """The URL of its callback server, if it registered with one (the legacy registration)."""


@dataclass(frozen=True)
class CallbackOutcome:
    """The answer of a node to a callback."""

    status: int
    """The status code."""
    body: bytes
    """The body."""


Answer = CallbackOutcome
"""The name of CallbackOutcome up to version 0.3."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request. The class methods create faults."""

    _json: str

    @classmethod
    def _of(cls, name: str, **details: object) -> Self:
        return cls(_to_json(name, {"fault": name, **details}))

    @classmethod
    def status(cls, code: int, *, body: str = "", retry_after: str | None = None) -> Self:
        """An answer with this status, from 200 to 999."""
        return cls.answer(code, body=body, headers={} if retry_after is None else {"retry-after": retry_after})

    @classmethod
    def answer(
        cls, code: int, *, body: str = "", headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None
    ) -> Self:
        """An answer with any status from 200 to 999, headers (a mapping or pairs) and body."""
        # Not when the answer is sent, because the caller needs to know.
        if not 200 <= code <= 999:
            raise ValueError(f"{code} is not the status of an answer; expected 200 to 999")
        given: Any = headers if headers is not None else ()
        pairs = list(given.items() if hasattr(given, "items") else given)
        for text in pairs:
            if not all(part.isascii() and part.isprintable() and part.strip() == part for part in text):
                raise ValueError(f"{text!r} is not an HTTP header; expected printable ASCII without spaces around it")
        return cls._of("answer", code=code, body=body, headers=pairs)

    @classmethod
    def patch(cls, fields: Mapping[str, object]) -> Self:
        """The normal answer, with these fields added or replaced. A field that is None is removed.

        The request has its effect. A refusal is not changed.
        """
        return cls._of("patch", fields=dict(fields))

    @classmethod
    def delay(cls, seconds: float) -> Self:
        """The normal answer, after this many seconds."""
        return cls._of("delay", millis=round(seconds * 1000))

    @classmethod
    def reset(cls) -> Self:
        """The connection is reset without an answer."""
        return cls._of("reset")

    @classmethod
    def half_body(cls) -> Self:
        """The connection ends in the middle of a body."""
        return cls._of("half_body")

    @classmethod
    def garbage(cls) -> Self:
        """200, and a body that is not JSON."""
        return cls._of("garbage")

    @classmethod
    def not_http(cls) -> Self:
        """Bytes that are not HTTP."""
        return cls._of("not_http")

    @classmethod
    def invalid_utf8(cls) -> Self:
        """200, and JSON that is not valid UTF-8."""
        return cls._of("invalid_utf8")

    @classmethod
    def endless_body(cls) -> Self:
        """200, and a body that does not end."""
        return cls._of("endless_body")

    @classmethod
    def redirect(cls, location: str, code: int = 307) -> Self:
        """A redirect."""
        return cls.answer(code, headers={"location": location})

    @classmethod
    def stale_nonce(cls) -> Self:
        """At ``challenge``: a nonce that has already been used, so the registration is refused."""
        return cls._of("stale_nonce")

    @classmethod
    def hang(cls) -> Self:
        """No answer until the node gives up or the DDS stops."""
        return cls._of("hang")


def _check_text(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str or None, got {type(value).__name__}")
    _check_unicode(name, value)


def _check_unicode(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} has a lone surrogate at index {error.start}, so it is not valid Unicode") from None


def _to_json(name: str, value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    _check_unicode(name, text)
    return text


def _check_seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, got {type(value).__name__}")
    if not 0 < value < _MAX_SECONDS:
        raise ValueError(f"{name} must be more than 0 and at most a century, in seconds; got {value}")


def _check_bool(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, got {type(value).__name__}")


def _check_offset(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, in seconds; got {type(value).__name__}")
    if abs(value) >= 2**31:
        raise ValueError(f"{name} must fit 32 bits, in seconds; got {value}")


_MAX_SECONDS = 100 * 366 * 86_400

_Callback: TypeAlias = Literal["after_answer", "before_answer", "never"]
_TokenFormat: TypeAlias = Literal["jwt", "opaque"]


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")


def _check_endpoint(endpoint: object) -> None:
    if not isinstance(endpoint, str):
        raise TypeError(f"endpoint must be a str, got {type(endpoint).__name__}")
    _check_choice("endpoint", endpoint, get_args(Endpoint))


class LocalDdsOptions(TypedDict, total=False):
    """The keyword arguments of LocalDds."""

    node_url: str | None
    secret: str | None
    credentials: str | None
    callback: _Callback
    health_interval: float | None
    nonce_lifetime: float
    token_lifetime: float
    token_format: _TokenFormat
    token_identity: bool
    token_claims: Mapping[str, object] | None
    clock_offset: int


_running: set[LocalDds] = set()
"""Keeps each LocalDds until it is stopped or the interpreter exits, even if the program keeps no reference to it."""


class LocalDds:
    """A DDS that runs on a free port of 127.0.0.1 until it is stopped, or the interpreter exits. A context manager.

    Args:
        node_url: The URL of the node's callback server, such as ``http://127.0.0.1:8080``. Without it, only a node of
            this process and a node that registers with a URL are called back.
        secret: The secret of every callback. By default, each registration has a new one.
        credentials: The only ``reg_secret`` that is accepted. By default, any is.
        callback: When a node is called back after it has registered.
        health_interval: How often the health of nodes is probed, in seconds. By default, only a node that registers
            with a URL is probed, once for each registration.
        nonce_lifetime: How many seconds a challenge is valid.
        token_lifetime: How many seconds a token is valid.
        token_format: Whether tokens are JWTs or opaque.
        token_identity: Whether the answer to a sign-in with a wallet contains ``node_id`` and ``wallet``.
        token_claims: Claims that are added to every JWT or replace claims in it. A claim that is None is removed.
        clock_offset: How many seconds its clock is ahead of this machine's or, if negative, behind.

    Raises:
        TypeError: An option has the wrong type.
        ValueError: An option has a value that cannot be used.
    """

    def __init__(
        self,
        *,
        node_url: str | None = None,
        secret: str | None = None,
        credentials: str | None = None,
        callback: _Callback = "after_answer",
        health_interval: float | None = None,
        nonce_lifetime: float = 300.0,
        token_lifetime: float = 3600.0,
        token_format: _TokenFormat = "jwt",
        token_identity: bool = True,
        token_claims: Mapping[str, object] | None = None,
        clock_offset: int = 0,
    ) -> None:
        for name, text in {"node_url": node_url, "secret": secret, "credentials": credentials}.items():
            _check_text(name, text)
        _check_choice("callback", callback, get_args(_Callback))
        _check_choice("token_format", token_format, get_args(_TokenFormat))
        _check_bool("token_identity", token_identity)
        if token_claims is not None and not hasattr(token_claims, "keys"):
            raise TypeError(f"token_claims must be a mapping or None, got {type(token_claims).__name__}")
        if health_interval is not None:
            _check_seconds("health_interval", health_interval)
        _check_seconds("nonce_lifetime", nonce_lifetime)
        _check_seconds("token_lifetime", token_lifetime)
        _check_offset("clock_offset", clock_offset)
        self._native: _native.DevDds | None = _native.DevDds(
            node_url,
            secret,
            credentials,
            callback,
            health_interval,
            nonce_lifetime,
            token_lifetime,
            token_format,
            token_identity,
            _to_json("token_claims", dict(token_claims or {})),
            clock_offset,
        )
        self._url = self._native.url()
        _running.add(self)

    @classmethod
    def start(cls, **options: Unpack[LocalDdsOptions]) -> Self:
        """Start a DDS: the same as calling the class."""
        return cls(**options)

    @property
    def _dds(self) -> _native.DevDds:
        if self._native is None:
            raise ValueError("this LocalDds is closed")
        return self._native

    @property
    def url(self) -> str:
        """The ``dds_base_url`` of a node that registers here."""
        return self._url

    def options(self, **overrides: Unpack[Overrides]) -> Options:
        """Options for a node that registers here: the required ones, the URL, and the overrides.

        There is no private key if the overrides have a keystore or a signer, or if the node is a robot.
        """
        options: dict[str, object] = {
            "dds_base_url": self.url,
            "reg_secret": _REG_SECRET,
            "capabilities": ["/test/v1"],
            "node_version": "1.0.0",
        }
        given: dict[str, object] = {**overrides}
        if given.get("identity") != "robot" and not _OTHER_KEYS & given.keys():
            options["secp256k1_privhex"] = PRIVATE_KEY
        return cast("Options", {**options, **given})

    def inject(self, endpoint: Endpoint, fault: Fault, times: int | None = 1) -> None:
        """Apply a fault to the next ``times`` requests to an endpoint; None: to every one until ``clear_faults``."""
        given: Any = fault
        if not isinstance(given, Fault):
            raise TypeError(f"fault must be a Fault, such as Fault.hang(); got {type(given).__name__}")
        _check_endpoint(endpoint)
        self._dds.inject(endpoint, fault._json, times)

    def clear_faults(self) -> None:
        """Remove all faults. One that is being applied continues."""
        self._dds.clear_faults()

    def requests(self, endpoint: Endpoint | None = None) -> list[DdsRequest]:
        """Return every request so far, or every one to an endpoint, in order of arrival."""
        if endpoint is not None:
            _check_endpoint(endpoint)
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
        """Wait until at least ``count`` requests to an endpoint have arrived, and return them.

        Raises TimeoutError after ``timeout`` seconds.
        """
        _check_endpoint(endpoint)
        if not self._dds.wait_for_requests(endpoint, count, timeout):
            raise TimeoutError(f"no {count} requests to {endpoint!r} within {timeout} s")
        return self.requests(endpoint)

    def set_challenge(self, fields: Mapping[str, object] | None) -> None:
        """Add fields to every new challenge or replace its fields; None: stop doing so.

        A field that is None is removed.
        """
        self._dds.set_challenge(None if fields is None else _to_json("fields", dict(fields)))

    def set_node_url(self, url: str | None) -> None:
        """Set the URL of the node's callback server: plain http to loopback; None: call no node back.

        The node that registered last is called now if it has not been called, unless ``callback`` is "never".
        """
        _check_text("url", url)
        self._dds.set_node_url(url)

    def set_secret(self, secret: str | None) -> None:
        """Set the secret of every future callback; None: a new one for each registration."""
        _check_text("secret", secret)
        self._dds.set_secret(secret)

    @property
    def last_secret(self) -> str | None:
        """The secret of the latest callback. It is set before the node has received it."""
        return self._dds.last_secret()

    def call_back(self) -> CallbackOutcome:
        """Call back the node that registered last, with the secret of its registration.

        Raises OSError if the node cannot be reached.
        """
        return CallbackOutcome(*self._dds.call_back())

    def probe_health(self) -> int:
        """Probe the health of the node that registered last, as DDS does, and return the status of its answer."""
        return self._dds.probe_health()

    def nodes(self) -> list[RegisteredNode]:
        """Return the nodes that are registered."""
        return [
            RegisteredNode(wallet, node_id, version, tuple(capabilities), concurrency, registrations, online, url)
            for wallet, node_id, version, capabilities, concurrency, registrations, online, url in self._dds.nodes()
        ]

    def accepts_token(self, token: AccessToken | str) -> bool:
        """Whether a token is valid, as a service behind DDS would check it.

        A valid token was issued here, has not expired, and its node has not been forgotten since.
        """
        value: Any = token.value if isinstance(token, AccessToken) else token
        if not isinstance(value, str):
            raise TypeError(f"token must be an AccessToken or a str, got {type(value).__name__}")
        _check_unicode("token", value)
        return self._dds.accepts_token(value)

    def token_is_good(self, token: AccessToken | str) -> bool:
        """The name of ``accepts_token`` up to version 0.3."""
        return self.accepts_token(token)

    def forget(self, wallet: str | None = None) -> None:
        """Forget a node (its wallet address or robot id), or every node, and revoke its tokens.

        It gets no access token until it has registered again.
        """
        _check_text("wallet", wallet)
        self._dds.forget(wallet)

    def forget_nodes(self) -> None:
        """The name of ``forget`` without a wallet, up to version 0.3."""
        self.forget()

    def set_online_elsewhere(self, wallet: str, online: bool) -> None:
        """Set whether another node with this wallet is online, so a registration is answered with 409."""
        _check_unicode("wallet", wallet)
        self._dds.set_online_elsewhere(wallet, online)

    def stop(self) -> None:
        """Close all connections and free the port. Can be called again."""
        self._native = None
        _running.discard(self)

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
