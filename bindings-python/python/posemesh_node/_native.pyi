"""The native half of the package. It is private; use ``posemesh_node``."""

from collections.abc import Callable
from datetime import datetime
from typing import Final, NoReturn, final

from typing_extensions import Self

from ._error import PosemeshError
from ._event import Event
from ._families import MetricFamily
from ._http import Headers, HttpResponse
from ._metrics import Metrics
from ._config import Options, Overrides
from ._status import Status
from ._token import AccessToken

__all__ = [
    "MAX_CALLBACK_BODY",
    "METRICS_CONTENT_TYPE",
    "ROUTES",
    "VERSION",
    "Config",
    "DevDds",
    "EventQueue",
    "Node",
    "PendingResponse",
    "PendingWait",
    "SigningRequest",
    "Started",
    "begin_exit",
    "end_callbacks",
    "error_codes",
    "eth_address",
    "idle_metric_families",
    "is_ours",
    "leave_threads_behind",
    "options",
    "panic",
    "respond_without_node",
    "secret_options",
    "set_log_callback",
    "sign_eip191",
    "start",
    "start_then",
    "timeout_seconds",
    "token_claims",
]

MAX_CALLBACK_BODY: Final[int]
METRICS_CONTENT_TYPE: Final[str]
"""The Content-Type of what ``Node.metrics_text`` returns."""
ROUTES: Final[list[str]]
VERSION: Final[str]


def eth_address(privhex: str) -> str:
    """The Ethereum address of a private key: ``0x`` and 40 lowercase hex digits.

    The key is 64 hex digits, with or without ``0x``. Raises InvalidArgumentError, which never shows the key.
    """

def sign_eip191(privhex: str, message: bytes) -> str:
    """Sign bytes with a private key as a wallet does (EIP-191 ``personal_sign``). Returns ``0x`` and 130 hex digits.

    The key is 64 hex digits, with or without ``0x``. Raises InvalidArgumentError, which never shows the key.
    """

def begin_exit(daemons: list[int]) -> None: ...
def leave_threads_behind() -> None: ...
def end_callbacks(timeout: float) -> None: ...
def error_codes() -> list[tuple[int, str]]: ...
def idle_metric_families() -> list[MetricFamily]: ...
def is_ours(path: str, user_agent: str | bytes | None) -> bool: ...
def options() -> list[tuple[str, str, str, str | None, bool, str]]: ...
def panic() -> None: ...
def respond_without_node(method: str, path: str, headers: Headers, why: str) -> HttpResponse | None: ...
def secret_options() -> list[str]: ...
def set_log_callback(callback: Callable[[int, str, float, int, str], bool]) -> None: ...
def start(config: Config) -> Started: ...
def start_then(config: Config, done: Callable[[Started | PosemeshError], object]) -> None: ...
def timeout_seconds(timeout: float | None) -> float | None: ...
def token_claims(token: str) -> str | None: ...
@final
class Config:
    def __new__(
        cls,
        options: Options | Overrides,
        *,
        from_env: bool = False,
        signer: tuple[str, Callable[[SigningRequest], None]] | None = None,
    ) -> Config: ...
    def check(self) -> str | None: ...

@final
class SigningRequest:
    def message(self) -> bytes: ...
    def respond(self, signature: str | None, reason: str | None) -> None: ...

@final
class Started: ...

class Node:
    def __new__(cls, started: Started) -> Self: ...
    def status(self) -> Status:
        """What the node is doing. Reads memory and never blocks. Also works after a stop.

        As long as nothing changes, each call returns the same object, unless it contains an error or a time that
        runs down.
        """

    def read_secret(self) -> str | None:
        """The secret that DDS has sent, or None if it has not sent one. Also works after a stop."""

    def rearm(self) -> None:
        """Register again.

        When this returns, the state is ``disconnected`` and the node has begun to register, so ``wait_registered``
        waits for the new registration. After ten calls in a row, the node registers at most once a second: calls in
        between count as one, and the last one is never lost.
        """

    def sign(self, message: bytes) -> str:
        """Sign bytes with the node's key as a wallet does (EIP-191 ``personal_sign``).

        Returns ``0x`` and 130 hex digits. Raises NotFoundError if the key is not in this process: a robot has none,
        and with a signer only the signer can sign.
        """

    def access_token(self, timeout: float | None = None) -> AccessToken:
        """Return an access token for the services behind DDS. Without a timeout, wait as long as it takes.

        The first call signs in, once the node is registered. From then on the node holds a token and refreshes it in
        the background, so later calls do not wait. Concurrent calls share one sign-in.

        Raises NodeTimeoutError, RejectedError if DDS refuses the sign-in, or StoppedError if the node stops meanwhile.
        Ctrl-C ends the wait.
        """

    @property
    def callback_address(self) -> str | None:
        """The address of the callback server, as ``host:port``. None if there is no callback server."""

    @property
    def admin_address(self) -> str | None:
        """The address of this process's admin server, as ``host:port``. None without ``admin_bind``."""

    @property
    def wallet_address(self) -> str:
        """The node's Ethereum address: ``0x`` and 40 lowercase hex digits. A robot has none: NotFoundError."""

    def metrics(self) -> Metrics:
        """What the node has done and is doing. Reads memory and never blocks. After a stop, these are the last values.

        The counters of a process count what it has done itself, so the sum over the processes that share a node counts
        everything once.
        """

    def metrics_text(self) -> str:
        """The metrics as text for Prometheus: version 0.0.4 of its text format, with the content type
        ``METRICS_CONTENT_TYPE``.

        It can be appended to the text of other metrics. Reads memory and never blocks. Also works after a stop.
        """

    def _is_running(self) -> bool: ...
    def _wait(self, secret: bool, timeout: float | None) -> None: ...
    def _wait_then(self, secret: bool, done: Callable[[PosemeshError | None], object]) -> PendingWait: ...
    def _held_access_token(self, timeout: float | None) -> AccessToken | None: ...
    def _access_token_then(self, done: Callable[[AccessToken | PosemeshError], object]) -> PendingWait: ...
    def _invalidate_token(self, value: str | None) -> None: ...
    def _ready(self, secret: bool) -> tuple[bool, str]: ...
    def _metric_families(self) -> list[MetricFamily]: ...
    def _expect_callbacks(self) -> None: ...
    def _handle_request(
        self, method: str, path: str, headers: Headers, body: bytes, timeout: float | None
    ) -> HttpResponse | None: ...
    def _handle_request_then(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: bytes,
        done: Callable[[HttpResponse | PosemeshError | None], object],
    ) -> HttpResponse | PendingResponse | None: ...
    def _add_listener(self, listener: Callable[[Event], object], call: Callable[[Event], object]) -> None: ...
    def _remove_listener(self, listener: Callable[[Event], object]) -> bool: ...
    def _follow(self, timeout: float | None, on_change: Callable[[], object] | None) -> EventQueue: ...
    def _stop(self, timeout: float | None) -> None: ...
    def _stop_then(self, timeout: float | None, done: Callable[[PosemeshError | None], object]) -> None: ...

@final
class EventQueue:
    def next(self) -> Event | None: ...
    def take(self) -> Event | None: ...
    def left(self) -> float | None: ...
    def has_ended(self) -> bool: ...
    def close(self) -> None: ...

@final
class PendingWait:
    def cancel(self) -> None: ...

@final
class PendingResponse:
    def cancel(self) -> None: ...
    def time_out(self) -> NoReturn: ...

@final
class DevDds:
    def __new__(
        cls,
        node_url: str | None,
        secret: str | None,
        credentials: str | None,
        callback: str,
        health_interval: float | None,
        nonce_lifetime: float,
        token_lifetime: float,
        token_format: str,
        token_identity: bool,
        token_claims: str,
        clock_offset: int,
    ) -> DevDds: ...
    def url(self) -> str: ...
    def inject(self, endpoint: str, fault: str, times: int | None) -> None: ...
    def clear_faults(self) -> None: ...
    def requests(
        self, endpoint: str | None
    ) -> list[tuple[int, str | None, str, str, list[tuple[str, str]], bytes, datetime, float, int | None]]: ...
    def clear_requests(self) -> None: ...
    def wait_for_requests(self, endpoint: str, count: int, timeout: float) -> bool: ...
    def set_node_url(self, url: str | None) -> None: ...
    def set_secret(self, secret: str | None) -> None: ...
    def last_secret(self) -> str | None: ...
    def call_back(self) -> tuple[int, bytes]: ...
    def probe_health(self) -> int: ...
    def nodes(self) -> list[tuple[str | None, str, str, list[str], int | None, int, bool, str | None]]: ...
    def accepts_token(self, token: str) -> bool: ...
    def forget(self, node: str | None) -> None: ...
    def set_online_elsewhere(self, wallet: str, online: bool) -> None: ...
    def set_challenge(self, fields: str | None) -> None: ...
