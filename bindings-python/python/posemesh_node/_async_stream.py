"""The events of a node as an asynchronous iterator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from . import _native
from ._async_wait import call_soon
from ._event import Event
from ._typing import Self

__all__ = ["AsyncEventStream"]


class AsyncEventStream(AsyncIterator[Event]):
    """Iterates over the events of a node, in the event loop that it was created in. Returned by ``AsyncNode.events``."""

    def __init__(self, node: _native.Node, timeout: float | None) -> None:
        loop = self._loop = asyncio.get_running_loop()
        ready = self._ready = asyncio.Event()
        self._queue = node._follow(timeout, lambda: call_soon(loop, ready.set))
        # Keeps the node alive while the stream is in use.
        self._node = node

    def close(self) -> None:
        """Stop receiving events, and discard those that were not read."""
        self._queue.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("this event stream belongs to another event loop; call node.events() in this one")
        while True:
            self._ready.clear()
            event = self._queue.take()
            if event is not None:
                return event
            if self._queue.has_ended():
                raise StopAsyncIteration
            left = self._queue.left()
            timer = None if left is None else self._loop.call_later(left, self._ready.set)
            try:
                await self._ready.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
