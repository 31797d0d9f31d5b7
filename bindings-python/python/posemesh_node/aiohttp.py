"""The routes of a node in an application of aiohttp.

For example:

    from aiohttp import web
    from posemesh_node.aiohttp import callback_routes

    app = web.Application()
    app.add_routes(callback_routes(node))
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from yarl import URL

from . import _native
from ._mounted import ENOUGH, READ_TIMEOUT, TOO_SLOW, Mounted
from ._source import NodeSource

__all__ = ["callback_routes"]


def callback_routes(node: NodeSource) -> list[web.AbstractRouteDef]:
    """The routes of the requests that DDS sends to a node, for ``add_routes`` of an application or a subapplication.

    Add them before a ``/health`` of your own, because aiohttp uses the first route that matches. They match only
    requests of DDS, so your route receives all others.

    ``node`` is a Node or an AsyncNode, or a function that returns one, or None as long as it has not started. Without a
    node, and after the node has stopped, the response is 503 with a Retry-After header.

    The handler reads no body beyond 256 KiB, waits 10 seconds for it, and never blocks the event loop.
    """
    mounted = Mounted(node)
    return [_Route(path, mounted) for path in _native.ROUTES]


class _Route(web.AbstractRouteDef):
    """A route that matches only requests of DDS."""

    def __init__(self, path: str, mounted: Mounted) -> None:
        self._path = path
        self._mounted = mounted

    def register(self, router: web.UrlDispatcher) -> list[web.AbstractRoute]:
        resource = _Resource(self._path, self._mounted)
        router.register_resource(resource)
        return list(resource)

    def __repr__(self) -> str:
        return f"<callbacks of DDS at {self._path}>"


class _Resource(web.AbstractResource):
    """Where aiohttp looks for the route: at one path, with or without a slash at its end."""

    def __init__(self, path: str, mounted: Mounted) -> None:
        super().__init__()
        self._prefix = ""
        self._path = path
        self._mounted = mounted
        self._route = web.ResourceRoute("*", self._handle, self)

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            body = await asyncio.wait_for(_read_body(request), READ_TIMEOUT)
        except asyncio.TimeoutError:
            response = TOO_SLOW
        except (ConnectionError, web.RequestPayloadError):
            # The client has disconnected, or the body cannot be decoded. aiohttp would log the exception.
            return web.Response(status=400)
        else:
            head = (request.method, self._path, [*request.headers.items()])
            response = await self._mounted.respond_async(head, body)
        return web.Response(status=response.status, headers=dict(response.headers), body=response.body)

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        path = request.path.removeprefix(self._prefix)
        if _native.is_ours(path, request.headers.get("User-Agent")):
            return web.UrlMappingMatchInfo({}, self._route), set()
        return None, set()

    @property
    def canonical(self) -> str:
        return self._prefix + self._path

    def add_prefix(self, prefix: str) -> None:
        self._prefix = prefix + self._prefix

    def url_for(self, **kwargs: str) -> URL:
        return URL.build(path=self.canonical)

    def raw_match(self, path: str) -> bool:
        return path == self.canonical

    def get_info(self) -> Any:
        return {"path": self.canonical}

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        yield self._route


async def _read_body(request: web.Request) -> bytes:
    """The body, or as much of it as is needed to refuse it."""
    body = bytearray()
    while len(body) < ENOUGH and (chunk := await request.content.read(ENOUGH - len(body))):
        body += chunk
    return bytes(body)
