"""A site of Litestar with a node."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, asgi, get, post

import hosted
from posemesh_node.asgi import Callbacks


@get("/start", media_type="text/plain")
async def start() -> str:
    return await hosted.start_async()


@get("/stop", media_type="text/plain")
async def stop() -> str:
    return await hosted.stop_async()


@get("/health", media_type="text/plain")
async def health() -> str:
    return "the site's"


@post("/length", media_type="text/plain", status_code=200)
async def length(request: Request[Any, Any, Any]) -> str:
    return str(len(await request.body()))


routes = [start, stop, health, length]

wrapped = Callbacks(Litestar(routes), node=hosted.find)
mounted = Litestar([*routes, asgi("/prefix", is_mount=True)(Callbacks(node=hosted.find))])
