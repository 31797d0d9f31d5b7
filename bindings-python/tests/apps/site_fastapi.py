"""A site of FastAPI with a node."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

import hosted
from posemesh_node.asgi import Callbacks


def site() -> FastAPI:
    app = FastAPI(default_response_class=PlainTextResponse)
    app.get("/start")(hosted.start_async)
    app.get("/stop")(hosted.stop_async)

    @app.get("/health")
    async def health() -> str:
        return "the site's"

    @app.post("/length")
    async def length(request: Request) -> str:
        return str(len(await request.body()))

    return app


middleware = site()
middleware.add_middleware(Callbacks, node=hosted.find)

mounted = site()
mounted.mount("/prefix", Callbacks(node=hosted.find))
