"""The events of a node as an iterator, for programs with threads."""

from __future__ import annotations

from collections.abc import Iterator

from . import _native
from ._event import Event
from ._typing import Self

__all__ = ["EventStream"]


class EventStream(Iterator[Event]):
    """Iterates over the events of a node. Returned by ``Node.events``."""

    def __init__(self, node: _native.Node, timeout: float | None) -> None:
        self._queue = node._follow(timeout, None)
        # Keeps the node alive while the stream is in use.
        self._node = node

    def close(self) -> None:
        """Stop receiving events, and discard those that were not read."""
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
