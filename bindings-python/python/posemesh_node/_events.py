"""What happens to a node, and how to follow it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ._errors import PosemeshError
from ._status import State
from ._typing import Self

if TYPE_CHECKING:
    from ._node import Node

__all__ = [
    "AttemptFailed",
    "Event",
    "EventStream",
    "HealthChecked",
    "RegistrationLost",
    "SecretChanged",
    "StatusChanged",
    "TokenRefreshed",
]


@dataclass(frozen=True)
class StatusChanged:
    """The node moved from one state to another."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """Events that were lost just before this one, because whoever follows them was too slow."""

    previous: State
    """The state before."""

    state: State
    """The state now."""


@dataclass(frozen=True)
class SecretChanged:
    """DDS sent a new secret; ``read_secret`` gives it out."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """Events that were lost just before this one, because whoever follows them was too slow."""

    version: int
    """1 for the first secret, then one more for each."""


@dataclass(frozen=True)
class AttemptFailed:
    """A registration attempt failed. The node goes on by itself."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """Events that were lost just before this one, because whoever follows them was too slow."""

    error: PosemeshError
    """A RejectedError or an UnavailableError, with DDS's own words."""

    retry_in: float
    """Seconds until the next attempt."""


@dataclass(frozen=True)
class HealthChecked:
    """DDS probed the callback server."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """Events that were lost just before this one, because whoever follows them was too slow."""


@dataclass(frozen=True)
class TokenRefreshed:
    """A new access token is held; ``access_token`` gives it out."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """Events that were lost just before this one, because whoever follows them was too slow."""

    expires_at: datetime
    """When it expires (UTC), by DDS's clock."""


@dataclass(frozen=True)
class RegistrationLost:
    """DDS does not know the node any more. The node registers again by itself."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """Events that were lost just before this one, because whoever follows them was too slow."""

    reason: str
    """How that was noticed, with DDS's own words."""


Event: TypeAlias = StatusChanged | SecretChanged | AttemptFailed | HealthChecked | TokenRefreshed | RegistrationLost
"""Any event of a node."""

Listener = TypeVar("Listener", bound=Callable[[Event], object])


class EventStream(Iterator[Event]):
    """The events of a node, one by one. Made by ``Node.events``."""

    def __init__(self, node: Node, timeout: float | None) -> None:
        self._queue = node._follow(timeout, None)
        # It lives as long as the stream is in use.
        self._node = node

    def close(self) -> None:
        """Stop following the events. What was not read yet is lost."""
        self._queue.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self._queue.next()
        if event is None:
            raise StopIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
