"""A running node, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TypeVar

from . import _native
from ._errors import PosemeshError
from ._events import Event, Stream
from ._node import NodeBase, held_secret

if TYPE_CHECKING:
    import sys
    from collections.abc import Callable
    from types import TracebackType

    if sys.version_info >= (3, 11):
        from typing import Self, Unpack
    else:
        from typing_extensions import Self, Unpack

    from ._events import Listener
    from ._options import Options, Overrides
    from ._token import AccessToken

__all__ = ["AsyncEventStream", "AsyncNode"]

_T = TypeVar("_T")


class AsyncNode(NodeBase):
    """A node that registers with DDS and stays registered, until it is stopped; for asyncio.

    As ``Node``, with ``await`` where something is waited for. A wait costs a future and no thread. Works with
    every event loop that has ``call_soon_threadsafe``, such as uvloop's.

        async with await AsyncNode.from_env() as node:
            await node.wait_registered(timeout=30)
            async for event in node.events():
                print(event)
    """

    @classmethod
    async def start(cls, **options: Unpack[Options]) -> Self:
        """Check the options, bind the callback address and start to register. Does not wait for DDS.

        The options and errors are those of ``Node.start``.
        """
        return await cls._start_aside(_native.Config(options))

    @classmethod
    async def from_env(cls, **overrides: Unpack[Overrides]) -> Self:
        """Start a node with the options that the environment holds, as ``Node.from_env`` does."""
        return await cls._start_aside(_native.Config(overrides, from_env=True))

    @classmethod
    async def _start_aside(cls, config: _native.Config) -> Self:
        # In a thread: it reads certificates and may look up a host name. If this is cancelled, the node is
        # dropped there, which stops it.
        loop = asyncio.get_running_loop()
        return (await loop.run_in_executor(None, cls._start, config))._adopt()

    async def wait_registered(self, timeout: float | None = None) -> None:
        """Wait until the node is registered; without a timeout for as long as it takes.

        Raises NodeTimeoutError, or StoppedError when the node stops meanwhile.
        """
        await wait(self, False, timeout)

    async def wait_secret(self, timeout: float | None = None) -> str:
        """Wait until DDS has sent a secret, and return it; without a timeout for as long as it takes.

        Raises NodeTimeoutError, or StoppedError when the node stops meanwhile.
        """
        await wait(self, True, timeout)
        return held_secret(self)

    async def access_token(self, timeout: float | None = None) -> AccessToken:
        """An access token, for the services behind DDS; without a timeout waits for as long as it takes.

        The first call signs in, once the node is registered. From then on a token is kept at hand and renewed in
        the background, so later calls do not wait, and however many wait, there is one sign-in.

        Raises NodeTimeoutError, RejectedError when DDS refuses to sign the node in, or StoppedError when the node
        stops meanwhile.
        """
        return await access_token(self, timeout)

    def on_event(self, listener: Listener) -> Listener:
        """Call ``listener`` with each event from now on, until the node stops. Works as a decorator.

        It is called in the running event loop, and is no coroutine function; to await something, follow
        ``events``.
        """
        loop = asyncio.get_running_loop()
        self._add_listener(lambda event: _call_soon(loop, listener, event))
        return listener

    def events(self) -> AsyncEventStream:
        """Iterate over the events from now on, until the node stops.

            async for event in node.events():
                match event:
                    case SecretChanged():
                        await use(node.read_secret())
        """
        return AsyncEventStream(self)

    async def stop(self, timeout: float = 5.0) -> None:
        """End the node: wake every wait with StoppedError, deliver the last events, free the port.

        May be called twice. Raises NodeTimeoutError when a logging handler does not return in time.
        """
        # In a thread: it waits for the library's threads.
        await asyncio.get_running_loop().run_in_executor(None, self._stop, timeout)
        self._end_streams()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


class AsyncEventStream(Stream, AsyncIterator[Event]):
    """The events of a node, one by one. Made by ``AsyncNode.events``."""

    def __init__(self, node: AsyncNode) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        super().__init__(node)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._buffer:
            if self._ended:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._buffer.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _wake(self) -> None:
        _call_soon(self._loop, self._ready.set)


async def wait(node: NodeBase, secret: bool, timeout: float | None) -> None:
    """Wait as ``Node`` does, but leave the event loop free."""
    await _called_back(
        lambda done: node._wait_then(secret, done),
        # It came true in this instant, or the native half words the error.
        lambda: node._wait(secret, 0),
        timeout,
    )


async def access_token(node: NodeBase, timeout: float | None) -> AccessToken:
    """Wait for an access token as ``Node`` does, but leave the event loop free."""
    token = node._access_token_at_hand()
    if token is not None:
        return token
    return await _called_back(node._access_token_then, lambda: node._access_token(0), timeout)


async def _called_back(
    begin: Callable[[Callable[[_T | PosemeshError], object]], _native.PendingWait],
    at_last: Callable[[], _T],
    timeout: float | None,
) -> _T:
    """Wait for what ``begin`` calls back with. When the time is over, ``at_last`` tells how it ends."""
    loop = asyncio.get_running_loop()
    # The error is its result: as an exception that a cancelled wait never takes, asyncio would log it.
    finished: asyncio.Future[_T | PosemeshError] = loop.create_future()

    def settle(outcome: _T | PosemeshError) -> None:
        if not finished.done():
            finished.set_result(outcome)

    pending = begin(lambda outcome: _call_soon(loop, settle, outcome))
    try:
        await asyncio.wait((finished,), timeout=timeout)
        outcome = finished.result() if finished.done() else at_last()
    finally:
        pending.cancel()
        finished.cancel()
    if isinstance(outcome, PosemeshError):
        raise outcome
    return outcome


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: object) -> None:
    """Call back in the loop, from any thread."""
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        # The loop is closed, so nobody waits any more.
        if not loop.is_closed():
            raise
