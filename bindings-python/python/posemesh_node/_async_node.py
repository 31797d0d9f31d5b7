"""A running node, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from . import _log, _native
from ._async_stream import AsyncEventStream
from ._async_wait import Outcome, access_token, call_soon, handle_request, wait
from ._config import Options, Overrides, takes
from ._event import Listener, check_listener
from ._http import Headers, HttpResponse
from ._node import NodeBase, held_secret
from ._signer import take_signer
from ._token import AccessToken
from ._typing import Self, Unpack

__all__ = ["AsyncEventStream", "AsyncNode"]

_N = TypeVar("_N", bound="AsyncNode")

_STOP_TIMEOUT = 5.0


class AsyncNode(NodeBase):
    """A node that registers with DDS and stays registered until it is stopped, for asyncio.

    It has the methods of ``Node``; those that wait are awaited. A wait uses a future and no thread. Any event loop
    with ``call_soon_threadsafe`` works, such as uvloop's.

        async with AsyncNode.from_env() as node:
            await node.wait_registered(timeout=30)
            token = await node.access_token(timeout=30)
    """

    @classmethod
    @takes(Options)
    def start(cls, **options: Unpack[Options]) -> Starting[Self]:
        """Check the options, bind the callback address, and start to register. Does not wait for DDS.

        Await the result, or enter it with ``async with``. The options and errors are those of ``Node.start``.
        """
        return Starting(cls._start(options, from_env=False))

    @classmethod
    @takes(Overrides)
    def from_env(cls, **overrides: Unpack[Overrides]) -> Starting[Self]:
        """Start a node with options from the environment, as ``Node.from_env`` does."""
        return Starting(cls._start(overrides, from_env=True))

    @classmethod
    async def _start(cls, options: Options | Overrides, *, from_env: bool) -> Self:
        signer = take_signer(options, asyncio.get_running_loop)
        config = _native.Config(options, from_env=from_env, signer=signer)
        _log.install()
        started = Outcome[_native.Started]()
        _native.start_then(config, started.put)
        try:
            return cls._adopt(await started)
        finally:
            # If this was cancelled, a node that has started since then is freed here, which stops it.
            del started

    async def wait_registered(self, timeout: float | None = None) -> None:
        """Wait until the node is registered. Without a timeout, wait as long as it takes.

        The wait does not end when DDS refuses the node, because the node tries again. ``status().last_error`` and
        ``AttemptFailed`` say why.

        Raises NodeTimeoutError, or StoppedError if the node stops meanwhile.
        """
        await wait(self, False, timeout)

    async def wait_secret(self, timeout: float | None = None) -> str:
        """Wait until DDS has sent a secret, and return it. Without a timeout, wait as long as it takes.

        Raises NotFoundError at once if no secret can arrive: the node has none, none of ``callback_bind``, ``node_url``,
        ``state_dir`` and ``state_url`` is set, and its routes do not run in the program's web server. Otherwise raises
        NodeTimeoutError, or StoppedError if the node stops meanwhile.
        """
        await wait(self, True, timeout)
        return held_secret(self)

    async def handle_request(
        self, method: str, path: str, headers: Headers, body: bytes = b"", *, timeout: float | None = 5.0
    ) -> HttpResponse | None:
        """Handle a request that DDS has sent to the web server of the program.

        This is for web frameworks without an adapter; ``posemesh_node.asgi``, ``posemesh_node.wsgi`` and
        ``posemesh_node.aiohttp`` call it for you. Returns None if the request is not for the node: continue with the
        program's own routes. Otherwise send the response to the client.

        method: str
            The method, such as POST.
        path: str
            The path, with or without a query, and without the prefix under which the program has the routes.
        headers: Headers
            A mapping, or pairs of a name and a value; each a str or bytes.
        body: bytes
            The body, of which core refuses more than 256 KiB with 413. So read at most one byte more.
        timeout: float | None
            Seconds to wait. The response is usually there at once; it has to wait if the node has a ``state_dir`` or
            ``state_url``, for the store or for the process that leads the node.

        While the node cannot accept a callback, such as after a stop, the response is 503 with a Retry-After header.
        Raises NodeTimeoutError, ForkedError, and TypeError for a value of the wrong type. It never blocks the event
        loop, and when it is cancelled, the wait ends.
        """
        return await handle_request(self, method, path, headers, body, timeout)

    async def access_token(  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        self, timeout: float | None = None
    ) -> AccessToken:
        """Return an access token for the services behind DDS. Without a timeout, wait as long as it takes.

        The first call signs in, once the node is registered. From then on the node holds a token and refreshes it
        in the background, so later calls do not wait. Concurrent calls share one sign-in.

        Raises NodeTimeoutError, RejectedError if DDS refuses the sign-in, or StoppedError if the node stops
        meanwhile.
        """
        # Also checked here, so that a held token takes one coroutine and not two.
        token = self._held_access_token(timeout)
        return await access_token(self, timeout) if token is None else token

    def on_event(self, listener: Listener) -> Listener:
        """Call ``listener`` with each event from now on, until ``off_event`` or the node stops. Works as a decorator.

        It is called in the running event loop and must not be a coroutine function. To await something for each
        event, iterate over ``events``.
        """
        check_listener(listener)
        loop = asyncio.get_running_loop()
        self._add_listener(listener, lambda event: call_soon(loop, listener, event))
        return listener

    def events(self, timeout: float | None = None) -> AsyncEventStream:
        """Iterate over the events from now on, until the node stops or ``timeout`` seconds have passed.

            async for event in node.events(timeout=60):
                match event:
                    case TokenRefreshed():
                        await use(await node.access_token())
        """
        return AsyncEventStream(self, timeout)

    async def stop(self, timeout: float | None = _STOP_TIMEOUT) -> None:
        """Stop the node: end every wait with StoppedError, deliver the last events, free the port.

        May be called more than once. Raises NodeTimeoutError if a logging handler does not return in time. If this
        is cancelled, it returns at once, and the node still stops.
        """
        stopped = self._begin_stop(timeout)
        await stopped

    def _begin_stop(self, timeout: float | None) -> Outcome[None]:
        stopped = Outcome[None]()
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
        # The node has stopped when this returns, however often this is cancelled. The native half applies the timeout.
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
    """A node that is starting, for ``await`` or ``async with``. It is a coroutine, so ``asyncio.create_task`` works."""

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
                f"the node has not started yet, so it has no attribute {name!r}: use "
                "`node = await AsyncNode.start(...)` or `async with AsyncNode.start(...) as node`"
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
