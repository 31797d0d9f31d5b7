"""The local DDS of `posemesh_node.testing`."""

from __future__ import annotations

from typing import Literal

import pytest

from conftest import GUARD, eventually
from posemesh_node import Node, RejectedError, UnavailableError
from posemesh_node.testing import Answer, Fault, LocalDds

FAULTS = {
    "status": Fault.status(503, body="busy", retry_after="1"),
    "answer": Fault.answer(418, headers={"x-test": "1"}),
    "reset": Fault.reset(),
    "half body": Fault.half_body(),
    "garbage": Fault.garbage(),
    "not HTTP": Fault.not_http(),
    "invalid UTF-8": Fault.invalid_utf8(),
    "endless body": Fault.endless_body(),
    "redirect": Fault.redirect("http://127.0.0.1:1/"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_fails_an_attempt(dds: LocalDds, fault: str) -> None:
    dds.inject("challenge", FAULTS[fault], times=None)
    with Node.start(**dds.options()) as node:
        eventually(lambda: node.status().last_error)
        assert isinstance(node.status().last_error, (UnavailableError, RejectedError))


def test_a_stale_nonce_and_a_delay(dds: LocalDds) -> None:
    dds.inject("challenge", Fault.stale_nonce())
    dds.inject("register", Fault.delay(0.01))
    with Node.start(**dds.options(register_interval_secs=1)) as node:
        node.wait_registered(timeout=GUARD)
    assert len(dds.requests("challenge")) == 2


def test_requests_are_on_record(node: Node, dds: LocalDds) -> None:
    challenge, register = dds.requests()
    assert (challenge.number, challenge.endpoint, challenge.method) == (1, "challenge", "POST")
    assert challenge.json() == {"wallet": node.wallet_address}
    assert register.path == "/internal/v1/nodes/register-wallet"
    assert register.headers["content-type"] == "application/json"
    assert register.status == 200
    assert challenge.at <= register.at
    dds.clear_requests()
    assert dds.requests() == []


def test_callbacks(node: Node, dds: LocalDds) -> None:
    dds.set_secret("another")
    assert dds.call_back().status == 403
    node.rearm()
    dds.wait_for_requests("register", 2)
    node.wait_registered(timeout=GUARD)
    assert dds.call_back() == Answer(200, b'{"ok":true}')
    assert dds.last_secret == node.read_secret() == "another"
    dds.set_node_url(None)
    with pytest.raises(OSError):
        dds.call_back()


@pytest.mark.parametrize("callback", ["after_answer", "before_answer"])
@pytest.mark.parametrize("bind", ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"])
def test_a_node_of_the_same_process_is_found(
    callback: Literal["after_answer", "before_answer"], bind: str
) -> None:
    with LocalDds(callback=callback) as dds, Node.start(**dds.options(callback_bind=bind)) as node:
        assert node.wait_secret(timeout=GUARD) == dds.last_secret
        assert dds.probe_health() == 200


def test_each_dds_finds_its_own_node() -> None:
    with LocalDds(secret="first") as first, LocalDds(secret="second") as second:
        # One wallet, two services.
        with (
            Node.start(**first.options(callback_bind="127.0.0.1:0")) as one,
            Node.start(**second.options(callback_bind="127.0.0.1:0")) as other,
        ):
            assert (one.wait_secret(timeout=GUARD), other.wait_secret(timeout=GUARD)) == ("first", "second")


def test_a_node_is_called_back_when_its_url_becomes_known(dds: LocalDds) -> None:
    dds.set_node_url(None)
    with Node.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
        node.wait_registered(timeout=GUARD)
        assert dds.last_secret is None
        dds.set_node_url(f"http://{node.callback_address}")
        assert node.wait_secret(timeout=GUARD) == dds.last_secret


def test_nodes_can_be_forgotten(node: Node, dds: LocalDds) -> None:
    assert dds.nodes()[0].wallet.lower() == node.wallet_address
    dds.forget_nodes()
    assert dds.nodes() == []


def test_credentials_and_a_fixed_secret() -> None:
    with LocalDds(credentials="right", secret="fixed", callback="never") as dds:
        options = dds.options(reg_secret="right", callback_bind="127.0.0.1:0")
        with Node.start(**options) as node:
            node.wait_registered(timeout=GUARD)
            dds.set_node_url(f"http://{node.callback_address}")
            dds.call_back()
            assert node.wait_secret(timeout=GUARD) == "fixed"
        with Node.start(**dds.options()) as node:
            eventually(lambda: isinstance(node.status().last_error, RejectedError))


def test_health_is_probed_on_its_own() -> None:
    with LocalDds(health_interval=0.01) as dds, Node.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
        dds.set_node_url(f"http://{node.callback_address}")
        eventually(lambda: node.status().last_healthcheck)


def test_mistakes_are_told_where_they_are_made(dds: LocalDds) -> None:
    for mistake in (
        lambda: Fault.status(99),
        lambda: Fault.answer(200, headers={"a": "line\nbreak"}),
        lambda: dds.inject("nowhere", Fault.hang()),  # type: ignore[arg-type]  # pyright: ignore
        lambda: dds.set_node_url("https://example.org"),
        lambda: LocalDds(callback="sometimes"),  # type: ignore[arg-type]  # pyright: ignore
        lambda: LocalDds(health_interval=-1),
    ):
        with pytest.raises(ValueError):
            mistake()
    with pytest.raises(TimeoutError, match="no 1 requests to 'verify'"):
        dds.wait_for_requests("verify", timeout=0)


def test_it_can_be_closed_twice() -> None:
    dds = LocalDds()
    dds.close()
    dds.close()
    assert repr(dds) == "<LocalDds closed>"
    with pytest.raises(ValueError, match="closed"):
        dds.requests()
