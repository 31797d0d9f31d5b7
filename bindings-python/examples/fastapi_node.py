"""A FastAPI service with a node: `uvicorn fastapi_node:app`, and with STATE_DIR also `--workers 4`.

The node runs as long as the application. DDS calls it back through the application, whose port uvicorn opens milliseconds
after the node has started. Workers that share STATE_DIR share one node.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, Response

from posemesh_node import METRICS_CONTENT_TYPE, AsyncNode, Status
from posemesh_node.asgi import Callbacks


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    # The node comes last, because DDS may call as soon as it registers. What takes longer to start comes before it.
    async with AsyncNode.from_env() as node:
        app.state.node = node
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(Callbacks, node=lambda: getattr(app.state, "node", None))


def get_node(request: Request) -> AsyncNode:
    node: AsyncNode = request.app.state.node
    return node


Node = Annotated[AsyncNode, Depends(get_node)]


@app.get("/status")
async def status(node: Node) -> Status:
    return node.status()


@app.get("/readyz")
async def ready(node: Node) -> str:
    """Whether the node is registered. Without traffic, DDS could not send the secret, so do not wait for that here."""
    ready, reason = node.ready()
    if not ready:
        raise HTTPException(503, reason)
    return reason


@app.get("/metrics")
async def metrics(node: Node) -> Response:
    """For Prometheus."""
    return Response(node.metrics_text(), media_type=METRICS_CONTENT_TYPE)
