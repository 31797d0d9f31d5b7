"""A FastAPI service that is a node: `uvicorn fastapi_node:app`, and with STATE_DIR also `--workers 4`.

The node lives as long as the application, and is registered while the application already answers. Workers whose
nodes share STATE_DIR are one node.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request

from posemesh_node import AsyncNode, Status

# A keyword wins over the environment. Without either there is no callback server, and no secret.
CALLBACK_BIND = os.environ.get("CALLBACK_BIND", "127.0.0.1:0")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    async with AsyncNode.from_env(callback_bind=CALLBACK_BIND) as node:
        app.state.node = node
        yield


app = FastAPI(lifespan=lifespan)


def the_node(request: Request) -> AsyncNode:
    node: AsyncNode = request.app.state.node
    return node


TheNode = Annotated[AsyncNode, Depends(the_node)]


@app.get("/status")
async def status(node: TheNode) -> Status:
    return node.status()


@app.get("/ready")
async def ready(node: TheNode) -> str:
    if not node.status().has_secret:
        raise HTTPException(503, "DDS has not called back yet")
    return "ready"
