"""The routes of a node in an ASGI application, such as one of FastAPI, Starlette, Litestar or Django.

With FastAPI:

    from fastapi import FastAPI
    from posemesh_node.asgi import Callbacks

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(Callbacks, node=lambda: getattr(app.state, "node", None))
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from . import _native
from ._http import HttpResponse
from ._mounted import ENOUGH, READ_TIMEOUT, TOO_SLOW, Mounted
from ._source import NodeSource

__all__ = ["Callbacks"]

# The frameworks have types of their own for scopes and messages, which are not compatible with each other.
_Scope: TypeAlias = Any
_Receive: TypeAlias = Callable[[], Awaitable[Any]]
_Send: TypeAlias = Callable[[Any], Awaitable[None]]
_App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

_NOT_FOUND = HttpResponse(404, (("content-type", "text/plain; charset=utf-8"),), b"Not Found")


class Callbacks:
    """An ASGI application that responds to the requests that DDS sends to a node, and passes all others to ``app``.

    It can wrap an application, be added with ``add_middleware``, or be mounted under a path. Without an ``app``, every
    other request gets 404. ``GET /health`` is the node's only if DDS sends it; any other remains the application's.

    ``node`` is a Node or an AsyncNode, or a function that returns one, or None as long as it has not started. Without a
    node, and after the node has stopped, the response is 503 with a Retry-After header.

    It reads no body beyond 256 KiB, waits 10 seconds for it, and never blocks the event loop: a response that has to wait
    for a disk, or for the process that leads the node, is awaited.
    """

    def __init__(self, app: _App | None = None, *, node: NodeSource) -> None:
        self._app: _App = _not_found if app is None else app
        self._mounted = Mounted(node)

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Called by the web server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = _path_below_mount(scope)
        if not _native.is_ours(path, _user_agent(scope)):
            await self._app(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(_read_body(receive), READ_TIMEOUT)
        except asyncio.TimeoutError:
            await _respond(send, TOO_SLOW)
            return
        if body is not None:
            response = await self._mounted.respond_async((scope["method"], path, scope["headers"]), body)
            await _respond(send, response)


def _path_below_mount(scope: _Scope) -> str:
    # The path includes that of the mount, which is `root_path`. Some frameworks and proxies remove it.
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if path.startswith(f"{root}/") else path


def _user_agent(scope: _Scope) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == b"user-agent"), None)


async def _read_body(receive: _Receive) -> bytes | None:
    """The body, or as much of it as is needed to refuse it. None if the client has disconnected before its end."""
    body = bytearray()
    while len(body) < ENOUGH:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")[: ENOUGH - len(body)]
        if not message.get("more_body", False):
            break
    return bytes(body)


async def _respond(send: _Send, response: HttpResponse) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    headers.append((b"content-length", b"%d" % len(response.body)))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _not_found(scope: _Scope, receive: _Receive, send: _Send) -> None:
    """The application where there is no other."""
    if scope["type"] == "http":
        await _respond(send, _NOT_FOUND)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close"})
    else:
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
