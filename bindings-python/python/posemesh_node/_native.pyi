"""The native half. Private: everything of use is in ``posemesh_node``."""

from collections.abc import Callable
from datetime import datetime
from typing import Final, final

from typing_extensions import Self

from ._errors import PosemeshError
from ._events import Event
from ._options import Options, Overrides
from ._status import Status
from ._token import AccessToken

__all__ = [
    "VERSION",
    "Config",
    "DevDds",
    "Node",
    "PendingWait",
    "begin_exit",
    "end_callbacks",
    "error_codes",
    "eth_address",
    "options",
    "panic",
    "set_log_callback",
    "sign_eip191",
]

VERSION: Final[str]

def eth_address(privhex: str) -> str:
    """The Ethereum address of a private key: ``0x`` and 40 lowercase hex digits.

    The key is 64 hex digits, with or without ``0x``. Raises InvalidArgumentError, which never shows the key.
    """

def sign_eip191(privhex: str, message: bytes) -> str:
    """Sign bytes with a private key as a wallet does (EIP-191 ``personal_sign``): ``0x`` and 130 hex digits.

    The key is 64 hex digits, with or without ``0x``. Raises InvalidArgumentError, which never shows the key.
    """

def begin_exit() -> None: ...
def end_callbacks() -> None: ...
def error_codes() -> list[tuple[int, str]]: ...
def options() -> list[tuple[str, str, str, str | None, bool, str]]: ...
def panic() -> None: ...
def set_log_callback(level: int, callback: Callable[[int, str, float, int, str], object]) -> None: ...
@final
class Config:
    def __new__(cls, options: Options | Overrides, *, from_env: bool = False) -> Config: ...

class Node:
    def __new__(cls, config: Config) -> Self: ...
    def status(self) -> Status:
        """What the node is doing. Reads memory and never blocks; also after a stop.

        As long as nothing changes, each call returns the same object; but not while there is an error in it, or a
        time that runs.
        """

    def read_secret(self) -> str | None:
        """The secret that DDS has sent, or None so far. Also after a stop."""

    def rearm(self) -> None:
        """Register again.

        When this returns, the state is ``disconnected`` and the node is on its way: ``wait_registered`` then
        waits for the new registration.
        """

    def sign(self, message: bytes) -> str:
        """Sign bytes with the node's key as a wallet does (EIP-191 ``personal_sign``).

        Returns ``0x`` and 130 hex digits.
        """

    @property
    def callback_address(self) -> str | None:
        """Where the callback server listens, as ``host:port``; None without one."""

    @property
    def wallet_address(self) -> str:
        """The node's Ethereum address, ``0x`` and 40 lowercase hex digits."""

    def _is_running(self) -> bool: ...
    def _wait(self, secret: bool, timeout: float | None) -> None: ...
    def _wait_then(self, secret: bool, done: Callable[[PosemeshError | None], object]) -> PendingWait: ...
    def _access_token(self, timeout: float | None) -> AccessToken: ...
    def _access_token_at_hand(self) -> AccessToken | None: ...
    def _access_token_then(self, done: Callable[[AccessToken | PosemeshError], object]) -> PendingWait: ...
    def _invalidate_token(self, value: str | None) -> None: ...
    def _add_listener(self, listener: Callable[[Event], object]) -> int: ...
    def _remove_listener(self, number: int) -> None: ...
    def _stop(self, timeout: float) -> None: ...

@final
class PendingWait:
    def cancel(self) -> None: ...

@final
class DevDds:
    def __new__(
        cls,
        node_url: str | None,
        secret: str | None,
        credentials: str | None,
        callback: str,
        health_interval: float | None,
        token_lifetime: float,
        clock_offset: int,
    ) -> DevDds: ...
    def url(self) -> str: ...
    def inject(self, endpoint: str, fault: str, times: int | None) -> None: ...
    def clear_faults(self) -> None: ...
    def requests(
        self, endpoint: str | None
    ) -> list[tuple[int, str | None, str, str, list[tuple[str, str]], bytes, datetime, int | None]]: ...
    def clear_requests(self) -> None: ...
    def wait_for_requests(self, endpoint: str, count: int, timeout: float) -> bool: ...
    def set_node_url(self, url: str | None) -> None: ...
    def set_secret(self, secret: str | None) -> None: ...
    def last_secret(self) -> str | None: ...
    def call_back(self) -> tuple[int, bytes]: ...
    def probe_health(self) -> int: ...
    def nodes(self) -> list[tuple[str, str, str, list[str], int]]: ...
    def token_is_good(self, token: str) -> bool: ...
    def forget_all(self) -> None: ...
