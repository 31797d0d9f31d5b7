"""A site of aiohttp with a node."""

from __future__ import annotations

from aiohttp import web

import hosted
from posemesh_node.aiohttp import callback_routes


async def start(request: web.Request) -> web.Response:
    return web.Response(text=await hosted.start_async())


async def stop(request: web.Request) -> web.Response:
    return web.Response(text=await hosted.stop_async())


async def health(request: web.Request) -> web.Response:
    return web.Response(text="the site's")


async def length(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


routes = [web.get("/start", start), web.get("/stop", stop), web.get("/health", health), web.post("/length", length)]

at_the_root = web.Application()
at_the_root.add_routes([*callback_routes(hosted.find), *routes])

mounted = web.Application()
mounted.add_routes(routes)
below = web.Application()
below.add_routes(callback_routes(hosted.find))
mounted.add_subapp("/prefix", below)
