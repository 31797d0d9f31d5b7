"""A running node, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _logging, _native
from ._errors import PosemeshError
from ._events import Event, Listener
from ._listener import check_listener
from ._node import NodeBase, held_secret
from ._options import Options, Overrides, takes
from ._token import AccessToken
from ._typing import Self, Unpack

__all__ = ["AsyncEventStream", "AsyncNode"]

_T = TypeVar("_T")
_N = TypeVar("_N", bound="AsyncNode")

_STOP_TIMEOUT = 5.0


class AsyncNode(NodeBase):
    """A node that registers with DDS and stays registered, until it is stopped; for asyncio.

    As ``Node``, with ``await`` where something is waited for. A wait costs a future and no thread. Works with
    every event loop that has ``call_soon_threadsafe``, such as uvloop's.

        async with AsyncNode.from_env() as node:
            await node.wait_registered(timeout=30)
            async for event in node.events():
                print(event)
    """

    @classmethod
    @takes(Options)
    def start(cls, **options: Unpack[Options]) -> Starting[Self]:
        """Check the options, bind the callback address and start to register. Does not wait for DDS.

        To be awaited, or entered with ``async with``. The options and errors are those of ``Node.start``.
        """
        return Starting(cls._start(options, from_env=False))

    @classmethod
    @takes(Overrides)
    def from_env(cls, **overrides: Unpack[Overrides]) -> Starting[Self]:
        """Start a node with the options that the environment holds, as ``Node.from_env`` does."""
        return Starting(cls._start(overrides, from_env=True))

    @classmethod
    async def _start(cls, options: Options | Overrides, *, from_env: bool) -> Self:
        config = _native.Config(options, from_env=from_env)
        _logging.install()
        started = _Outcome[_native.Started]()
        _native.start_then(config, started.put)
        try:
            return cls._adopt(await started)
        finally:
            # When this was cancelled: a node that has started meanwhile is freed here, which stops it.
            del started

    async def wait_registered(self, timeout: float | None = None) -> None:
        """Wait until the node is registered; without a timeout for as long as it takes.

        Raises NodeTimeoutError, or StoppedError when the node stops meanwhile.
        """
        await wait(self, False, timeout)

    async def wait_secret(self, timeout: float | None = None) -> str:
        """Wait until DDS has sent a secret, and return it; without a timeout for as long as it takes.

        Raises NotFoundError at once when no secret can arrive: the node has none, and neither ``callback_bind`` nor
        ``state_dir`` is set. Otherwise NodeTimeoutError, or StoppedError when the node stops meanwhile.
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
        """Call ``listener`` with each event from now on, until ``off_event`` or the node stops. Works as a decorator.

        It is called in the running event loop, and is no coroutine function; to await something, follow
        ``events``.
        """
        check_listener(listener)
        loop = asyncio.get_running_loop()
        self._add_listener(listener, lambda event: _call_soon(loop, listener, event))
        return listener

    def events(self, timeout: float | None = None) -> AsyncEventStream:
        """Iterate over the events from now on, until the node stops or ``timeout`` seconds are over.

            async for event in node.events(timeout=60):
                match event:
                    case SecretChanged():
                        await use(node.read_secret())
        """
        return AsyncEventStream(self, timeout)

    async def stop(self, timeout: float | None = _STOP_TIMEOUT) -> None:
        """End the node: wake every wait with StoppedError, deliver the last events, free the port.

        May be called twice. Raises NodeTimeoutError when a logging handler does not return in time. When it is
        cancelled, it ends at once, and the node stops all the same.
        """
        stopped = self._begin_stop(timeout)
        await stopped

    def _begin_stop(self, timeout: float | None) -> _Outcome[None]:
        stopped = _Outcome[None]()
        self._stop_then(timeout, stopped.put)
        return stopped

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The node has stopped when this ends, however often this is cancelled. The native half keeps the time.
        stopped = self._begin_stop(_STOP_TIMEOUT)
        cancelled: asyncio.CancelledError | None = None
        while not stopped.future.done():
            try:
                await asyncio.wait((stopped.future,))
            except asyncio.CancelledError as error:
                cancelled = error
        try:
            if cancelled is not None:
                raise cancelled
            stopped.result()
        finally:
            # Its traceback refers to this frame.
            del cancelled


class Starting(Coroutine[Any, Any, _N]):
    """A node that is being started: for ``await``, or for ``async with``. It is a coroutine, so tasks take it, too."""

    __slots__ = ("_coroutine", "_node")

    def __init__(self, coroutine: Coroutine[Any, Any, _N]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, _N]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *exception: Any) -> Any:
        return self._coroutine.throw(*exception)

    def close(self) -> None:
        self._coroutine.close()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"the node is not started yet, so it has no {name!r}: use `node = await AsyncNode.start(...)`, or "
                "`async with AsyncNode.start(...) as node`"
            )

    async def __aenter__(self) -> _N:
        self._node = await self._coroutine
        return await self._node.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._node.__aexit__(exc_type, exc_value, traceback)


class AsyncEventStream(AsyncIterator[Event]):
    """The events of a node, one by one, in the event loop it was made in. Made by ``AsyncNode.events``."""

    def __init__(self, node: AsyncNode, timeout: float | None) -> None:
        loop = self._loop = asyncio.get_running_loop()
        ready = self._ready = asyncio.Event()
        self._queue = node._follow(timeout, lambda: _call_soon(loop, ready.set))
        # It lives as long as the stream is in use.
        self._node = node

    def close(self) -> None:
        """Stop following the events. What was not read yet is lost."""
        self._queue.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("this stream of events belongs to another event loop; call node.events() in this one")
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


async def wait(node: NodeBase, secret: bool, timeout: float | None) -> None:
    """Wait as ``Node`` does, but leave the event loop free."""
    await _called_back_within(
        lambda done: node._wait_then(secret, done),
        # It came true in this instant, or the native half words the error.
        lambda: node._wait(secret, 0),
        _native.timeout_seconds(timeout),
    )


async def access_token(node: NodeBase, timeout: float | None) -> AccessToken:
    """Wait for an access token as ``Node`` does, but leave the event loop free."""
    # Checked also when there is nothing to wait for.
    seconds = _native.timeout_seconds(timeout)
    token = node._access_token_at_hand()
    if token is not None:
        return token
    return await _called_back_within(node._access_token_then, lambda: node._access_token(0), seconds)


async def _called_back_within(
    begin: Callable[[Callable[[_T | PosemeshError], object]], _native.PendingWait],
    at_last: Callable[[], _T],
    seconds: float | None,
) -> _T:
    """Wait for what ``begin`` calls back with. When the time is over, ``at_last`` tells how it ends."""
    outcome = _Outcome[_T]()
    pending = begin(outcome.put)
    try:
        await asyncio.wait((outcome.future,), timeout=seconds)
        return outcome.result() if outcome.future.done() else at_last()
    finally:
        pending.cancel()
        outcome.future.cancel()


class _Outcome(Generic[_T]):
    """What the native half calls back with, from any thread: a value, or the exception to raise."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # An error is its result: as an exception that a cancelled wait never takes, asyncio would log it.
        self.future: asyncio.Future[_T | PosemeshError] = self._loop.create_future()

    def put(self, outcome: _T | PosemeshError) -> None:
        _call_soon(self._loop, self._settle, outcome)

    def _settle(self, outcome: _T | PosemeshError) -> None:
        if not self.future.done():
            self.future.set_result(outcome)

    def __await__(self) -> Generator[Any, Any, _T]:
        yield from self.future
        return self.result()

    def result(self) -> _T:
        outcome = self.future.result()
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
