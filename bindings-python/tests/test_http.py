"""Requests of DDS that the program passes to its node."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from starlette.datastructures import Headers

from conftest import GUARD, Program, environment, in_a_fork
from posemesh_node import AsyncNode, ForkedError, HttpResponse, Node, NotFoundError
from posemesh_node.aiohttp import callback_routes
from posemesh_node.asgi import Callbacks as AsgiCallbacks
from posemesh_node.testing import Fault, LocalDds
from posemesh_node.wsgi import Callbacks

PATH = "/internal/v1/registrations"
JSON = {"Content-Type": "application/json"}
FROM_DDS = {"User-Agent": "DDS v1.0.0"}
BODY = json.dumps({"id": "5c4e0a6b-9d1f-4c6e-8a57-2f0b7d3e91c4", "secret": "the-secret"}).encode()


@pytest.fixture
def unreachable(dds: LocalDds) -> Iterator[Node]:
    """A node that is registered, and that DDS cannot call so far."""
    with Node.start(**dds.options()) as node:
        node.wait_registered(timeout=GUARD)
        yield node


# scenario: mounted-routes
def test_a_callback_is_accepted(unreachable: Node) -> None:
    with pytest.raises(NotFoundError, match="callback_bind"):
        unreachable.wait_secret(timeout=GUARD)
    response = unreachable.handle_request("POST", PATH, JSON, BODY)
    assert response == HttpResponse(200, (("content-type", "application/json"),), b'{"ok":true}')
    assert unreachable.wait_secret(timeout=GUARD) == "the-secret"
    assert unreachable.handle_request("GET", "/health", FROM_DDS) == HttpResponse(200, (), b"")
    assert unreachable.status().last_healthcheck is not None


def test_a_response_is_a_value(unreachable: Node) -> None:
    response = unreachable.handle_request("GET", PATH, {})
    assert response is not None and response.status == 405 and dict(response.headers) == {"allow": "POST"}
    assert pickle.loads(pickle.dumps(response)) == response
    assert hash(response) and "405" in repr(response)
    with pytest.raises(FrozenInstanceError):
        response.status = 200  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json"},
        {b"Content-Type": b"application/json"},
        [("CONTENT-TYPE", "application/json")],
        [(b"content-type", b"application/json"), (b"x-other", b"\xff")],
        iter([["content-type", "application/json"]]),
        Headers({"content-type": "application/json"}),
        # What HTTP does not allow is not for the node either.
        [("content-type", "application/json"), ("not a name", "x"), ("x-line", "a\nb"), ("", "")],
        # As aiohttp decodes bytes that are not UTF-8.
        {"content-type": "application/json", "user-agent": "DDS v1 \udce9"},
        [("content-type", "application/json"), *((f"x-{number}", "x") for number in range(40_000))],
    ],
    ids=["mapping", "bytes", "pairs", "pairs of bytes", "lists", "Starlette", "invalid", "not UTF-8", "too many"],
)
def test_headers_have_any_form(unreachable: Node, headers: Any) -> None:
    response = unreachable.handle_request("POST", f"{PATH}/?query=1", headers, BODY)
    assert response is not None and response.status == 200


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", FROM_DDS),
        ("GET", "/health", {}),
        ("GET", "/health", {"User-Agent": "kube-probe/1.30"}),
        ("POST", f"{PATH}//", JSON),
        ("POST", f"/prefix{PATH}", JSON),
        ("POST", "", JSON),
        ("POST", "/with space", JSON),
        ("POST", "/ü", JSON),
        ("POST", "/\0", JSON),
        ("POST", f"{PATH}\udce9", JSON),
        ("NO METHOD", PATH, JSON),
    ],
)
async def test_other_requests_are_not_for_the_node(dds: LocalDds, method: str, path: str, headers: dict[str, str]) -> None:
    async with AsyncNode.start(**dds.options()) as node:
        assert await node.handle_request(method, path, headers, BODY) is None


def test_a_body_that_breaks_off_is_refused(unreachable: Node) -> None:
    """Also if the part that arrived is JSON, and whether or not the web server ends the input."""
    site, status = Callbacks(node=unreachable), list[str]()
    for terminated in (False, True):
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": PATH,
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(BODY) + 1),
            "wsgi.input": io.BytesIO(BODY),
            "wsgi.input_terminated": terminated,
        }
        assert b"disconnected" in b"".join(site(environ, lambda *a: status.append(a[0])))
    assert status == ["400 Bad Request"] * 2
    assert unreachable.read_secret() is None


async def test_a_body_that_does_not_arrive_is_given_up(unreachable: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posemesh_node.asgi.READ_TIMEOUT", 0.05)
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return await asyncio.get_running_loop().create_future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": PATH, "headers": []}
    await AsgiCallbacks(node=unreachable)(scope, receive, send)
    assert (sent[0]["status"], sent[1]["body"]) == (408, b"the body took too long")


async def test_aiohttp_cannot_read_every_body(unreachable: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posemesh_node.aiohttp.READ_TIMEOUT", 0.05)
    app = web.Application()
    app.add_routes(callback_routes(unreachable))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    for header, status in ((b"X-Other: x", b"408"), (b"Content-Encoding: gzip", b"400")):
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n%s\r\n\r\n{{{" % (PATH.encode(), header))
        assert (await reader.readline()).split()[1] == status
        writer.close()
    await runner.cleanup()


def test_values_of_the_wrong_type_are_refused(unreachable: Node) -> None:
    wrong: Any
    for wrong in ("", None, ["body"]):
        with pytest.raises(TypeError):
            unreachable.handle_request("POST", PATH, JSON, wrong)
    for wrong in ({"content-type": 1}, [("content-type",)], ["text"], None, 1):
        with pytest.raises(TypeError):
            unreachable.handle_request("POST", PATH, wrong, BODY)
    with pytest.raises(TypeError):
        wrong = b"POST"
        unreachable.handle_request(wrong, PATH, JSON, BODY)
    with pytest.raises(ValueError, match="timeout"):
        unreachable.handle_request("POST", PATH, JSON, BODY, timeout=-1)


def test_a_stopped_node_is_unavailable(unreachable: Node) -> None:
    unreachable.stop()
    response = unreachable.handle_request("POST", PATH, JSON, BODY)
    assert response is not None and response.status == 503 and int(dict(response.headers)["retry-after"]) > 0
    assert unreachable.handle_request("GET", "/", {}) is None


# scenario: fork
def test_a_node_of_the_parent_process_is_unavailable(unreachable: Node) -> None:
    site = Callbacks(node=unreachable)

    def child() -> None:
        with pytest.raises(ForkedError, match="start a new one"):
            unreachable.handle_request("POST", PATH, JSON, BODY)
        with pytest.raises(ForkedError):
            asyncio.run(AsyncNode.handle_request(unreachable, "POST", PATH, JSON, BODY))  # type: ignore[arg-type]  # pyright: ignore
        status: list[str] = []
        site({"REQUEST_METHOD": "GET", "PATH_INFO": "/health", "HTTP_USER_AGENT": "DDS v1"}, lambda *a: status.append(a[0]))
        assert status == ["503 Service Unavailable"]

    in_a_fork(child)


def test_a_node_whose_routes_are_mounted_waits_for_its_secret(dds: LocalDds) -> None:
    """Whether the routes are made before the node or after it."""
    dds.inject("challenge", Fault.hang(), times=None)
    waits: list[Callable[[Node], object]] = [
        lambda node: Callbacks(node=node),
        lambda node: AsgiCallbacks(node=node),
        lambda node: Callbacks(node=lambda: node),
        lambda node: AsgiCallbacks(node=lambda: node),
    ]
    for mount in waits:
        with Node.start(**dds.options()) as node:
            with pytest.raises(NotFoundError):
                node.wait_secret(timeout=0)
            site = mount(node)
            with pytest.raises(TimeoutError):
                node.wait_secret(timeout=0)
            del site
            gc.collect()
    site = Callbacks(node=lambda: None)
    with Node.start(**dds.options()) as node, pytest.raises(TimeoutError):
        node.wait_secret(timeout=0)
    # Without the routes, no node has to expect callbacks.
    del site
    gc.collect()
    with Node.start(**dds.options()) as node, pytest.raises(NotFoundError):
        node.wait_secret(timeout=0)


WAITS = """
import asyncio, os, pathlib, signal, sys, threading, time
from posemesh_node import AsyncNode, Node, NodeTimeoutError

REQUEST = ("POST", "/internal/v1/registrations", {"Content-Type": "application/json"}, sys.argv[1].encode())
frozen = pathlib.Path(os.environ["FROZEN_DISK"])

def threads():
    with Node.from_env() as node:
        node.wait_registered(timeout=60)
        frozen.touch()
        try:
            node.handle_request(*REQUEST, timeout=0.05)
        except NodeTimeoutError as error:
            print(error)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            node.handle_request(*REQUEST, timeout=60)
        except KeyboardInterrupt:
            print("interrupted")
        threading.Timer(0.05, frozen.unlink).start()
        print(node.handle_request(*REQUEST, timeout=60).status)

async def asynchronous():
    async with AsyncNode.from_env() as node:
        await node.wait_registered(timeout=60)
        frozen.touch()
        # Another secret is written only for another registration.
        node.rearm()
        await node.wait_registered(timeout=60)
        try:
            await node.handle_request(*REQUEST, timeout=0.05)
        except NodeTimeoutError as error:
            print(error)
        handling = asyncio.ensure_future(node.handle_request(*REQUEST, timeout=None))
        await asyncio.sleep(0.05)
        handling.cancel()
        print((await asyncio.gather(handling, return_exceptions=True))[0].__class__.__name__)
        asyncio.get_running_loop().call_later(0.05, frozen.unlink)
        responses = await asyncio.gather(*(node.handle_request(*REQUEST, timeout=60) for _ in range(100)))
        print({response.status for response in responses})

threads()
asyncio.run(asynchronous())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only tried on Linux")
# scenario: wait-cancelled
def test_a_response_that_waits_for_the_disk(
    run: Callable[..., Program], dds: LocalDds, frozen_disk: Path, tmp_path: Path
) -> None:
    env = environment(
        dds, LD_PRELOAD=str(frozen_disk), FROZEN_DISK=str(tmp_path / "frozen"), STATE_DIR=str(tmp_path / "node")
    )
    out = run("-c", WAITS, BODY.decode(), env=env).succeed().splitlines()
    late = "the request of DDS was not handled in time; DDS will repeat it"
    assert out == [late, "interrupted", "200", late, "CancelledError", "{200}"]


def test_an_adapter_needs_a_node() -> None:
    wrong: Any
    for wrong in (None, "node", 1):
        with pytest.raises(TypeError, match="^node must be a Node, an AsyncNode, or a function"):
            Callbacks(node=wrong)

    async def later() -> Node | None:
        return None

    class Later:
        async def __call__(self) -> Node | None:
            return None

    for wrong in (later, Later()):
        with pytest.raises(TypeError, match="not an async function$"):
            Callbacks(node=wrong)
