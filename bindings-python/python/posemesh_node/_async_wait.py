"""Waits for asyncio: the native half calls back from its own threads, and the event loop stays free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from . import _native
from ._error import PosemeshError
from ._http import Headers, HttpResponse
from ._token import AccessToken

_T = TypeVar("_T")


async def wait(node: _native.Node, secret: bool, timeout: float | None) -> None:
    """Wait until the node is registered, or until it has a secret."""
    await _called_back_within(
        lambda done: node._wait_then(secret, done),
        lambda: node._wait(secret, 0),
        _native.timeout_seconds(timeout),
    )


async def access_token(node: _native.Node, timeout: float | None) -> AccessToken:
    """Return the access token that the node holds, or wait for one."""
    token = node._held_access_token(timeout)
    if token is not None:
        return token
    return await _called_back_within(
        node._access_token_then,
        lambda: _native.Node.access_token(node, 0),
        _native.timeout_seconds(timeout),
    )


async def handle_request(
    node: _native.Node, method: str, path: str, headers: Headers, body: bytes, timeout: float | None
) -> HttpResponse | None:
    """Respond to a request of DDS, usually at once."""
    seconds = _native.timeout_seconds(timeout)
    outcome = Outcome[HttpResponse | None]()
    response = node._handle_request_then(method, path, headers, body, outcome.put)
    if not isinstance(response, _native.PendingResponse):
        return response
    try:
        await asyncio.wait((outcome.future,), timeout=seconds)
        if not outcome.future.done():
            response.time_out()
        return outcome.result()
    finally:
        response.cancel()
        outcome.future.cancel()


async def _called_back_within(
    begin: Callable[[Callable[[_T | PosemeshError], object]], _native.PendingWait],
    on_timeout: Callable[[], _T],
    seconds: float | None,
) -> _T:
    """Wait for the result that ``begin`` calls back with.

    After ``seconds``, ``on_timeout`` returns a result that arrived in that instant, or raises the timeout error of
    the native half.
    """
    outcome = Outcome[_T]()
    pending = begin(outcome.put)
    try:
        await asyncio.wait((outcome.future,), timeout=seconds)
        return outcome.result() if outcome.future.done() else on_timeout()
    finally:
        pending.cancel()
        outcome.future.cancel()


class Outcome(Generic[_T]):
    """The result of a call into the native half, which delivers it from any thread: a value, or an exception."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # An error is a result, not an exception, of this future: asyncio logs an exception that is never retrieved,
        # which is what happens when the wait is cancelled.
        self.future: asyncio.Future[_T | PosemeshError] = self._loop.create_future()

    def put(self, outcome: _T | PosemeshError) -> None:
        """Deliver the result, from any thread."""
        call_soon(self._loop, self._settle, outcome)

    def _settle(self, outcome: _T | PosemeshError) -> None:
        if not self.future.done():
            self.future.set_result(outcome)

    def __await__(self) -> Generator[Any, Any, _T]:
        yield from self.future
        return self.result()

    def result(self) -> _T:
        """Return the value or raise the exception. Only once the future is done."""
        outcome = self.future.result()
        if isinstance(outcome, PosemeshError):
            raise outcome
        return outcome


def call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: object) -> None:
    """Schedule a call in the event loop, from any thread. Does nothing once the loop is closed."""
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
