"""What happens to a node, and how to follow it."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator

from ._dataclass import Value

TYPE_CHECKING = False  # without importing `typing`
if TYPE_CHECKING:
    import sys
    from collections.abc import Callable
    from dataclasses import dataclass
    from datetime import datetime
    from typing import TypeAlias, TypeVar

    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self

    from ._errors import PosemeshError
    from ._node import NodeBase
    from ._status import State
else:
    from ._dataclass import dataclass

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
class StatusChanged(Value):
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
class SecretChanged(Value):
    """DDS sent a new secret; ``read_secret`` gives it out."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """Events that were lost just before this one, because whoever follows them was too slow."""

    version: int
    """1 for the first secret, then one more for each."""


@dataclass(frozen=True)
class AttemptFailed(Value):
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
class HealthChecked(Value):
    """DDS probed the callback server."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """Events that were lost just before this one, because whoever follows them was too slow."""


@dataclass(frozen=True)
class TokenRefreshed(Value):
    """A new access token is held; ``access_token`` gives it out."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """Events that were lost just before this one, because whoever follows them was too slow."""

    expires_at: datetime
    """When it expires (UTC), by DDS's clock."""


@dataclass(frozen=True)
class RegistrationLost(Value):
    """DDS does not know the node any more. The node registers again by itself."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """Events that were lost just before this one, because whoever follows them was too slow."""

    reason: str
    """How that was noticed, with DDS's own words."""


Event: TypeAlias = StatusChanged | SecretChanged | AttemptFailed | HealthChecked | TokenRefreshed | RegistrationLost
"""Any event of a node."""

if TYPE_CHECKING:
    Listener = TypeVar("Listener", bound=Callable[[Event], object])


class Stream:
    """A bounded buffer between the thread that delivers events and one that follows them."""

    _CAPACITY = 1024

    def __init__(self, node: NodeBase) -> None:
        self._buffer: deque[Event] = deque()
        self._lost = 0
        self._ended = False
        # Guards the three above.
        self._changed = threading.Condition()
        self._node = node

        # Weakly, so that an abandoned stream goes away by itself, and takes its listener along.
        stream = weakref.ref(self)

        def deliver(event: Event) -> None:
            if (alive := stream()) is not None:
                alive._deliver(event)

        self._listener = node._add_listener(deliver)
        node._streams.add(self)

    def close(self) -> None:
        """Stop following the events. What was not read yet is lost."""
        self._node._streams.discard(self)
        self._node._remove_listener(self._listener)
        with self._changed:
            self._buffer.clear()
        self.end()

    def end(self) -> None:
        """Let the iteration end after what is in the buffer: there will be no more."""
        with self._changed:
            self._ended = True
        self._wake()

    def _deliver(self, event: Event) -> None:
        with self._changed:
            if len(self._buffer) == self._CAPACITY:
                self._lost += 1
                return
            if self._lost:
                from dataclasses import replace

                event = replace(event, dropped=event.dropped + self._lost)
                self._lost = 0
            self._buffer.append(event)
        self._wake()

    def _wake(self) -> None:
        raise NotImplementedError

    def __del__(self) -> None:
        # Not there if `add_listener` raised.
        if hasattr(self, "_listener"):
            self._node._remove_listener(self._listener)


class EventStream(Stream, Iterator[Event]):
    """The events of a node, one by one. Made by ``Node.events``."""

    def __init__(self, node: NodeBase, timeout: float | None) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout
        super().__init__(node)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        left = None if self._deadline is None else self._deadline - time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._buffer or self._ended, left)
            if not self._buffer:
                raise StopIteration
            return self._buffer.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
