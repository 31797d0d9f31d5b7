"""The types of the package. Checked by mypy and pyright, never run."""

# pyright: reportUnusedExpression=false

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import requests
from aiohttp import web
from eth_account.signers.local import LocalAccount
from fastapi import FastAPI
from flask import Flask
from litestar import Litestar
from opentelemetry.metrics import Meter
from prometheus_client import REGISTRY
from starlette.middleware import Middleware
from starlette.routing import Mount

import posemesh_node
import posemesh_node.aiohttp
import posemesh_node.asgi
import posemesh_node.httpx
import posemesh_node.opentelemetry
import posemesh_node.prometheus
import posemesh_node.requests
import posemesh_node.wsgi
from posemesh_node import (
    AccessToken,
    AsyncNode,
    AttemptFailed,
    ConfigError,
    Event,
    HealthChecked,
    HttpResponse,
    Metrics,
    Node,
    NodeTimeoutError,
    Options,
    PosemeshError,
    Readiness,
    RegistrationLost,
    Role,
    SecretChanged,
    State,
    Status,
    StatusChanged,
    TokenRefreshed,
)
from posemesh_node.testing import Fault, LocalDds

if TYPE_CHECKING:
    from typing_extensions import assert_never, assert_type


def required() -> Options:
    return {
        "reg_secret": "secret",
        "secp256k1_privhex": "00",
        "capabilities": ["/a/v1"],
        "node_version": "1.0.0",
    }


def sync() -> None:
    node = Node.start(
        reg_secret="secret",
        secp256k1_privhex="00",
        capabilities=["/a/v1"],
        node_version="1.0.0",
        callback_bind="127.0.0.1:0",
        max_retry=3,
        ca_file=Path("ca.pem"),
        state_dir=Path("state"),
        state_url="redis://localhost",
    )
    assert_type(node, Node)
    assert_type(Node.from_env(), Node)
    assert_type(Node.from_env(capabilities="/a", dds_base_url=os.environ.get("URL")), Node)
    with node as entered:
        assert_type(entered, Node)
    assert_type(node.status(), Status)
    assert_type(node.status().state, State)
    assert_type(node.status().registered_at, datetime | None)
    assert_type(node.status().last_error, PosemeshError | None)
    assert_type(node.status().next_attempt_in, float | None)
    assert_type(node.status().role, Role)
    assert_type(node.status().persistence_error, PosemeshError | None)
    assert_type(node.status().token_expires_at, datetime | None)
    assert_type(node.status().clock_skew, timedelta)
    assert_type(node.status().node_id, str | None)
    token = node.access_token(timeout=5)
    assert_type(token, AccessToken)
    assert_type(token.value, str)
    assert_type(token.expires_at, datetime)
    node.invalidate_token()
    node.invalidate_token(token)
    node.invalidate_token(token.value)
    assert_type(node.wait_secret(timeout=5), str)
    assert_type(node.read_secret(), str | None)
    assert_type(node.callback_address, str | None)
    assert_type(node.wallet_address, str)
    assert_type(node.sign(b""), str)
    response = node.handle_request("POST", "/", {"a": "b"}, b"", timeout=None)
    assert_type(response, HttpResponse | None)
    if response is not None:
        assert_type(dict(response.headers), dict[str, str])
    node.handle_request("POST", "/", [(b"a", b"b")])
    assert_type(node.ready(secret=True), Readiness)
    ready, reason = node.ready()
    assert_type(ready, bool)
    assert_type(reason, str)
    assert_type(node.metrics(), Metrics)
    assert_type(node.metrics().callbacks.accepted, int)
    assert_type(node.metrics_text(), str)
    assert_type(posemesh_node.eth_address(""), str)
    assert_type(posemesh_node.__version__, str)
    events: Iterator[Event] = node.events(timeout=1.5)
    for event in events:
        assert_type(exhaustive(event), str)

    @node.on_event
    def listener(event: Event) -> int:
        return event.dropped

    assert_type(listener(next(events)), int)


async def asynchronous() -> None:
    async with await AsyncNode.start(**required()) as node:
        assert_type(node, AsyncNode)
        assert_type(await node.wait_secret(), str)
        assert_type(await node.handle_request("GET", "/", {}), HttpResponse | None)
        assert_type(node.ready().reason, str)
        assert_type(await node.access_token(timeout=5), AccessToken)
        httpx.AsyncClient(auth=posemesh_node.httpx.NodeAuth(node))
        assert_type(node.status(), Status)
        events: AsyncIterator[Event] = node.events()
        async for event in events:
            assert_type(event.at, datetime)
    assert_type(await AsyncNode.from_env(max_concurrency=1), AsyncNode)


def exhaustive(event: Event) -> str:
    if isinstance(event, StatusChanged):
        return event.state.value
    if isinstance(event, SecretChanged):
        return str(event.version)
    if isinstance(event, AttemptFailed):
        return f"{event.error.name} {event.retry_in}"
    if isinstance(event, HealthChecked):
        return "health"
    if isinstance(event, TokenRefreshed):
        return event.expires_at.isoformat()
    if isinstance(event, RegistrationLost):  # pyright: ignore[reportUnnecessaryIsInstance]
        return event.reason
    assert_never(event)


def robot() -> Node:
    return Node.start(identity="robot", reg_secret="secret", node_version="1.0.0")


def with_signer(account: LocalAccount) -> Node:
    signer: posemesh_node.Signer = account
    Node.from_env(signer=signer)
    return Node.start(signer=account, reg_secret="secret", capabilities="/a/v1", node_version="1.0.0")


def errors(error: PosemeshError) -> None:
    assert_type(error.code, int)
    assert_type(error.name, str)
    as_builtin: TimeoutError = NodeTimeoutError("")
    also: ValueError = ConfigError("")
    print(as_builtin, also)


def authentication(node: Node) -> None:
    httpx.Client(auth=posemesh_node.httpx.NodeAuth(node, timeout=None))
    requests.Session().auth = posemesh_node.requests.NodeAuth(node, timeout=5)


def web_servers(node: Node, later: Callable[[], AsyncNode | None], wsgi_app: Flask, app: FastAPI) -> None:
    app.add_middleware(posemesh_node.asgi.Callbacks, node=later)
    app.mount("/prefix", posemesh_node.asgi.Callbacks(node=node))
    Middleware(posemesh_node.asgi.Callbacks, node=later)
    Mount("/prefix", posemesh_node.asgi.Callbacks(node=node))
    posemesh_node.asgi.Callbacks(Litestar(), node=node)
    posemesh_node.wsgi.Callbacks(wsgi_app, node=later)
    posemesh_node.wsgi.Callbacks(node=node)
    web.Application().add_routes(posemesh_node.aiohttp.callback_routes(later))


def monitoring(node: Node, later: Callable[[], AsyncNode | None], meter: Meter) -> None:
    REGISTRY.register(posemesh_node.prometheus.NodeCollector(node))
    posemesh_node.prometheus.NodeCollector({"one": node, "other": later})
    posemesh_node.opentelemetry.observe_node_metrics(meter, later)
    posemesh_node.opentelemetry.observe_node_metrics(meter, {"one": node})


def testing() -> None:
    with LocalDds(callback="never") as dds:
        dds.inject("register", Fault.status(503), times=None)
        assert_type(dds.options(), Options)


def mistakes() -> None:
    """Each of these lines is an error. The checkers report an ignore comment that is not needed."""
    Node.start()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Node.start(**required(), nonsense=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Node.from_env(max_retry="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Node.from_env(signer="key")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Node.from_env(callback_policy="closed")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    node = Node.from_env()
    node.status().attempts = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    node.invalidate_token(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AccessToken("", datetime.now()).value = ""  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    posemesh_node.asgi.Callbacks(node=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    posemesh_node.asgi.Callbacks()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    node.handle_request("GET", "/", {}, "body")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    node.wait_registered("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with LocalDds() as dds:
        dds.inject("nothing", Fault.hang())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
