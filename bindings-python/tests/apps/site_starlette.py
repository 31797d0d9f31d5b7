"""A site of Starlette with a node."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import hosted
from posemesh_node.asgi import Callbacks


async def start(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await hosted.start_async())


async def stop(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await hosted.stop_async())


async def health(request: Request) -> PlainTextResponse:
    return PlainTextResponse("the site's")


async def length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def pause(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(await hosted.longest_pause(0.2)))


routes = [Route("/start", start), Route("/stop", stop), Route("/health", health), Route("/length", length, methods=["POST"]), Route("/pause", pause)]

wrapped = Callbacks(Starlette(routes=routes), node=hosted.find)
middleware = Starlette(routes=routes, middleware=[Middleware(Callbacks, node=hosted.find)])
mounted = Starlette(routes=[Mount("/prefix", Callbacks(node=hosted.find)), *routes])
# The site itself is mounted, and its routes with it.
below = Starlette(routes=[*routes, Mount("/prefix", wrapped)])
