"""Serves an application on a listening socket: `python serve.py SERVER MODULE:NAME FD`."""

# Some of the servers have no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import importlib
import signal
import socket
import sys
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer


def with_uvicorn(app: Any, fd: int) -> None:
    import uvicorn

    uvicorn.run(app, fd=fd, log_level="warning")


def with_h11(app: Any, fd: int) -> None:
    import uvicorn

    uvicorn.run(app, fd=fd, log_level="warning", http="h11", loop="asyncio")


def with_hypercorn(app: Any, fd: int) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    async def until_sigterm() -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await serve(app, config, shutdown_trigger=ended.wait)

    config = Config()
    config.bind = [f"fd://{fd}"]
    asyncio.run(until_sigterm())


def with_waitress(app: Any, fd: int) -> None:
    import waitress

    waitress.serve(app, sockets=[socket.socket(fileno=fd)])


def with_wsgiref(app: Any, fd: int) -> None:
    server = WSGIServer(("127.0.0.1", 0), WSGIRequestHandler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=fd)
    server.server_name, server.server_port = server.socket.getsockname()
    server.setup_environ()
    server.set_app(app)
    server.serve_forever()


def with_aiohttp(app: Any, fd: int) -> None:
    from aiohttp import web

    web.run_app(app, sock=socket.socket(fileno=fd), print=None)


if __name__ == "__main__":
    _, server, target, fd = sys.argv
    module, _, name = target.partition(":")
    globals()[f"with_{server}"](getattr(importlib.import_module(module), name), int(fd))
