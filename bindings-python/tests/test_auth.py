"""The authentication classes for httpx and requests, against a real server."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import httpx
import pytest
import requests

from conftest import GUARD
from posemesh_node import AsyncNode, Node, NodeTimeoutError, RejectedError
from posemesh_node.httpx import NodeAuth as HttpxAuth
from posemesh_node.requests import NodeAuth as RequestsAuth
from posemesh_node.testing import Fault, LocalDds
from service import Service

Body: TypeAlias = "bytes | Iterator[bytes] | None"
Send: TypeAlias = Callable[..., int]


def with_httpx(node: Node | AsyncNode, url: str, body: Body = None, timeout: float | None = GUARD) -> int:
    with httpx.Client(auth=HttpxAuth(node, timeout=timeout), follow_redirects=True) as client:
        return client.request("GET" if body is None else "POST", url, content=body).status_code


def with_async_httpx(node: Node | AsyncNode, url: str, body: Body = None, timeout: float | None = GUARD) -> int:
    async def send() -> int:
        async with httpx.AsyncClient(auth=HttpxAuth(node, timeout=timeout), follow_redirects=True) as client:
            content = body if body is None or isinstance(body, bytes) else asynchronous(body)
            return (await client.request("GET" if body is None else "POST", url, content=content)).status_code

    return asyncio.run(send())


async def asynchronous(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def with_requests(node: Node | AsyncNode, url: str, body: Body = None, timeout: float | None = GUARD) -> int:
    with requests.Session() as session:
        session.auth = RequestsAuth(node, timeout=timeout)
        return session.request("GET" if body is None else "POST", url, data=body).status_code


@pytest.fixture(params=[with_httpx, with_async_httpx, with_requests])
def send(request: pytest.FixtureRequest) -> Send:
    function: Send = request.param
    return function


def test_a_request_carries_the_token(send: Send, node: Node, service: Service) -> None:
    assert send(node, f"{service.url}/jobs") == 200
    (call,) = service.calls
    assert (call.method, call.path, call.token) == ("GET", "/jobs", node.access_token().value)


def test_a_request_is_sent_again_after_a_401(send: Send, node: Node, dds: LocalDds, service: Service) -> None:
    stale = node.access_token(timeout=GUARD).value
    service.refused.add(stale)
    assert send(node, service.url, b"the body") == 200
    fresh = node.access_token().value
    assert fresh != stale
    assert [(call.token, call.body) for call in service.calls] == [(stale, b"the body"), (fresh, b"the body")]
    assert len(dds.requests("verify")) == 2


def test_a_request_is_sent_again_only_once(send: Send, node: Node, dds: LocalDds, service: Service) -> None:
    service.refuses_all = True
    assert send(node, service.url) == 401
    assert len(service.calls) == 2
    assert len(dds.requests("verify")) == 2


def test_other_refusals_do_not_invalidate_the_token(
    send: Send, node: Node, dds: LocalDds, service: Service
) -> None:
    token = node.access_token(timeout=GUARD)
    service.status = 403
    assert send(node, service.url) == 403
    assert len(service.calls) == 1
    assert node.access_token() == token


def test_many_refused_requests_cause_one_sign_in(
    send: Send, node: Node, dds: LocalDds, service: Service
) -> None:
    service.refused.add(node.access_token(timeout=GUARD).value)
    barrier = threading.Barrier(8)

    def one(_: int) -> int:
        barrier.wait(GUARD)
        return send(node, service.url)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == [200] * 8
    assert len(dds.requests("verify")) == 2


def test_a_forgotten_node_registers_again_for_a_request(send: Send, node: Node, dds: LocalDds, service: Service) -> None:
    assert send(node, service.url) == 200
    dds.forget_nodes()
    # None of its tokens is valid any more: first the service refuses one, then the DDS refuses the sign-in, and the
    # node registers again.
    assert send(node, service.url) == 200
    assert len(dds.requests("register")) == 2
    first, second, third = (call.token for call in service.calls)
    assert first == second != third


def test_a_consumed_body_is_not_sent_again(send: Send, node: Node, service: Service) -> None:
    stale = node.access_token(timeout=GUARD).value
    service.refused.add(stale)
    assert send(node, service.url, iter([b"the ", b"body"])) == 401
    assert [call.body for call in service.calls] == [b"the body"]
    # The next request has a new token.
    assert send(node, service.url) == 200
    assert stale not in [call.token for call in service.calls[1:]]


def test_a_redirect_to_the_same_origin_carries_the_token(send: Send, node: Node, service: Service) -> None:
    service.redirects["/old"] = "/new"
    stale = node.access_token(timeout=GUARD).value
    service.refused.add(stale)
    assert send(node, f"{service.url}/old") == 200
    fresh = node.access_token().value
    # The redirected request carries the new token, too.
    assert [(call.path, call.token) for call in service.calls] == [("/old", stale), ("/old", fresh), ("/new", fresh)]


def test_a_redirect_to_another_origin_does_not_carry_the_token(send: Send, node: Node, dds: LocalDds, service: Service) -> None:
    with Service(dds) as other:
        service.redirects["/"] = f"{other.url}/"
        token = node.access_token(timeout=GUARD)
        assert send(node, f"{service.url}/") == 401
        # The other service refused a request without a token, which is no reason to sign in.
        assert [call.token for call in other.calls] == [None]
        assert node.access_token() == token

        # It does not receive the token of a retry, either.
        service.refused.add(token.value)
        assert send(node, f"{service.url}/") == 401
        assert {call.token for call in other.calls} == {None}
    assert len(dds.requests("verify")) == 2


def test_a_request_waits_for_a_token_until_its_timeout(send: Send, dds: LocalDds, service: Service) -> None:
    dds.inject("challenge", Fault.hang(), times=None)
    with Node.start(**dds.options()) as node, pytest.raises(NodeTimeoutError):
        send(node, service.url, timeout=0.01)
    assert service.calls == []


def test_a_refused_sign_in_is_raised_by_the_request(
    send: Send, node: Node, dds: LocalDds, service: Service
) -> None:
    dds.inject("verify", Fault.status(403, body="not today"), times=None)
    with pytest.raises(RejectedError, match="not today"):
        send(node, service.url)


def test_nothing_shows_the_token(
    send: Send, node: Node, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """The debug records of the libraries do not, either."""
    caplog.set_level(logging.DEBUG)
    stale = node.access_token(timeout=GUARD).value
    service.refused.add(stale)
    assert send(node, service.url) == 200
    fresh = node.access_token().value
    for shown in (repr(HttpxAuth(node)), repr(RequestsAuth(node)), caplog.text):
        assert stale not in shown and fresh not in shown
    assert caplog.records


@pytest.mark.parametrize("send", [with_httpx, with_requests])
async def test_an_async_node_serves_a_client_in_a_thread(send: Send, dds: LocalDds, service: Service) -> None:
    async with await AsyncNode.start(**dds.options()) as node:
        assert await asyncio.to_thread(send, node, service.url) == 200
        assert service.calls[0].token == (await node.access_token()).value


async def test_the_event_loop_is_free_while_a_request_waits_for_a_token(dds: LocalDds, service: Service) -> None:
    dds.inject("verify", Fault.status(503), times=None)
    async with await AsyncNode.start(**dds.options()) as node, httpx.AsyncClient(auth=HttpxAuth(node)) as client:
        sending = asyncio.ensure_future(client.get(service.url))
        await asyncio.to_thread(dds.wait_for_requests, "verify")
        assert not sending.done()
        dds.clear_faults()
        assert (await sending).status_code == 200


async def test_a_request_that_waits_for_a_token_can_be_cancelled(dds: LocalDds, service: Service) -> None:
    dds.inject("verify", Fault.hang(), times=None)
    async with await AsyncNode.start(**dds.options()) as node, httpx.AsyncClient(auth=HttpxAuth(node)) as client:
        sending = asyncio.ensure_future(client.get(service.url))
        await asyncio.to_thread(dds.wait_for_requests, "verify")
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert service.calls == []


def test_requests_rewinds_a_file_and_sends_it_again(node: Node, service: Service) -> None:
    service.refused.add(node.access_token(timeout=GUARD).value)
    file = io.BytesIO(b"skipped the body")
    file.seek(len(b"skipped "))
    auth = RequestsAuth(node)
    assert requests.post(service.url, data=file, auth=auth, timeout=GUARD).status_code == 200
    assert [call.body for call in service.calls] == [b"the body"] * 2


def test_requests_can_send_a_prepared_request_repeatedly(node: Node, service: Service) -> None:
    with requests.Session() as session:
        prepared = session.prepare_request(requests.Request("POST", service.url, data=b"x", auth=RequestsAuth(node)))
        for _ in range(2):
            service.refused.add(node.access_token(timeout=GUARD).value)
            response = session.send(prepared)
            assert (response.status_code, [past.status_code for past in response.history]) == (200, [401])
    assert len(service.calls) == 4


def test_a_streamed_response_of_a_retry_is_complete(node: Node, service: Service) -> None:
    service.refused.add(node.access_token(timeout=GUARD).value)
    with requests.get(service.url, auth=RequestsAuth(node), stream=True, timeout=GUARD) as response:
        assert response.raw.read() == b"ok"
