"""A FastAPI service with a node: `uvicorn fastapi_node:app`, and with STATE_DIR also `--workers 4`.

The node runs as long as the application, and registers while the application already serves requests. Workers that share
STATE_DIR share one node.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request

from posemesh_node import AsyncNode, NodeTimeoutError, State, Status


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    async with AsyncNode.from_env() as node:
        app.state.node = node
        yield


app = FastAPI(lifespan=lifespan)


def get_node(request: Request) -> AsyncNode:
    node: AsyncNode = request.app.state.node
    return node


Node = Annotated[AsyncNode, Depends(get_node)]


@app.get("/status")
async def status(node: Node) -> Status:
    return node.status()


@app.get("/ready")
async def ready(node: Node) -> str:
    """Whether the node is registered and can call other services."""
    if node.status().state is not State.REGISTERED:
        raise HTTPException(503, f"the node is {node.status().state}")
    try:
        await node.access_token(timeout=5)
    except NodeTimeoutError as error:
        raise HTTPException(503, str(error)) from error
    return "ready"
