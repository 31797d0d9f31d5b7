"""The callback routes as one would write them with FastAPI, on uvicorn with uvloop and httptools."""

import asyncio
import sys
import threading
import time
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, Response
from pydantic import BaseModel, Field

app = FastAPI()
state: dict[str, Any] = {}


class Callback(BaseModel):
    id: Annotated[str, Field(min_length=1)]
    secret: Annotated[str, Field(min_length=1, max_length=4096)]
    organization_id: str | None = None
    lighthouses_in_domains: Any = None
    domains: Any = None


@app.post("/internal/v1/registrations")
async def registrations(callback: Callback) -> dict[str, bool]:
    state["secret"] = callback.secret
    return {"ok": True}


@app.get("/health")
async def health(user_agent: Annotated[str, Header()] = "") -> Response:
    if user_agent.startswith("DDS v"):
        state["last_healthcheck"] = time.time()
    return Response()


async def main() -> None:
    config = uvicorn.Config(app, port=0, access_log=False, log_level="warning")
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    loop = asyncio.get_running_loop()
    asked_to_end = asyncio.Event()

    def listen() -> None:
        for _ in sys.stdin:
            print(f"ok {host}:{port}", flush=True)
        loop.call_soon_threadsafe(asked_to_end.set)

    threading.Thread(target=listen, daemon=True).start()
    await asked_to_end.wait()
    await server.shutdown()


asyncio.run(main())
