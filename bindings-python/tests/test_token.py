"""Access tokens."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from queue import SimpleQueue
from typing import Any

import pytest

from conftest import GUARD
from posemesh_node import (
    AccessToken,
    Event,
    InvalidArgumentError,
    Node,
    NodeTimeoutError,
    RegistrationLost,
    RejectedError,
    State,
    StoppedError,
    TokenRefreshed,
)
from posemesh_node.testing import Fault, LocalDds


def listen(node: Node) -> Callable[[type], Event]:
    """Return a function that waits for the next event of a class."""
    heard: SimpleQueue[Event] = SimpleQueue()
    node.on_event(heard.put)

    def next_of(cls: type) -> Event:
        while not isinstance(event := heard.get(timeout=GUARD), cls):
            pass
        return event

    return next_of


def test_claims_are_those_of_the_token(node: Node, dds: LocalDds) -> None:
    claims = {"node_id": dds.nodes()[0].node_id, "capabilities": ["/test/v1"], "max_concurrency": None}
    token = node.access_token(timeout=GUARD)
    assert token.claims == claims == pickle.loads(pickle.dumps(token)).claims
    assert "node_id" not in repr(token)
    for opaque in ("opaque", "", "a.b.c", "\ud800", "a.W10.b"):
        assert AccessToken(opaque, token.expires_at).claims is None, ascii(opaque)


def test_an_invalid_token_is_refused_and_not_shown(node: Node) -> None:
    wrong: Any
    for wrong in (b"t0ken", 5, object()):
        with pytest.raises(TypeError, match=f"^token must be an AccessToken, a str or None, not {type(wrong).__name__}$"):
            node.invalidate_token(wrong)
    with pytest.raises(InvalidArgumentError, match="^token contains a lone surrogate") as caught:
        node.invalidate_token("t0ken\ud800")
    assert "t0ken" not in repr(caught.value)


def test_a_token_has_the_expiry_that_dds_sent(node: Node, dds: LocalDds) -> None:
    assert node.status().token_expires_at is None
    next_of = listen(node)
    token = node.access_token(timeout=GUARD)
    assert token.value
    assert timedelta(0) < token.expires_at - datetime.now(timezone.utc) <= timedelta(hours=1)
    assert node.access_token() == token
    assert len(dds.requests("verify")) == 1
    assert dds.accepts_token(token) and dds.accepts_token(token.value) and not dds.accepts_token("another")

    refreshed = next_of(TokenRefreshed)
    assert isinstance(refreshed, TokenRefreshed) and refreshed.expires_at == token.expires_at
    status = node.status()
    assert status.token_expires_at == token.expires_at.replace(microsecond=0)
    assert status.sign_in_failures == 0
    assert status.clock_skew == timedelta(0)


# scenario: secrets-never-shown
def test_only_value_shows_the_token() -> None:
    token = AccessToken("do-not-show-me", datetime(2030, 1, 1, tzinfo=timezone.utc))
    for shown in (repr(token), str(token), f"{token}", repr([token]), repr({"token": token})):
        assert "do-not-show-me" not in shown
        assert "2030" in shown
    with pytest.raises(dataclasses.FrozenInstanceError):
        token.value = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def test_a_token_is_a_value() -> None:
    token = AccessToken("a", datetime(2030, 1, 1, tzinfo=timezone.utc))
    for same in (copy.copy(token), pickle.loads(pickle.dumps(token))):
        assert same == token and same.value == "a" and hash(same) == hash(token)
    assert token != dataclasses.replace(token, value="b")


def test_a_call_waits_for_the_registration(dds: LocalDds) -> None:
    dds.inject("register", Fault.delay(0.1))
    with Node.start(**dds.options()) as node:
        assert node.status().state is not State.REGISTERED
        assert node.access_token(timeout=GUARD).value
        assert node.status().state is State.REGISTERED


def test_a_held_token_is_the_same_object_until_it_changes(node: Node) -> None:
    token = node.access_token(timeout=GUARD)
    for _ in range(3):
        assert node.access_token() is token
        # Changes of the status do not replace the token.
        node.rearm()
        node.wait_registered(timeout=GUARD)
    node.invalidate_token("another")
    assert node.access_token() is token
    node.invalidate_token(token)
    assert node.access_token(timeout=GUARD) != token


# scenario: one-sign-in
def test_many_threads_cause_one_sign_in(node: Node, dds: LocalDds) -> None:
    barrier = threading.Barrier(32)

    def ask(_: int) -> AccessToken:
        barrier.wait(GUARD)
        return node.access_token(timeout=GUARD)

    with ThreadPoolExecutor(32) as pool:
        assert len(set(pool.map(ask, range(32)))) == 1
    assert len(dds.requests("verify")) == 1


# scenario: token-refreshed
def test_a_token_is_refreshed_before_it_expires() -> None:
    with LocalDds(token_lifetime=2) as dds, Node.start(**dds.options()) as node:
        next_of = listen(node)
        first = node.access_token(timeout=GUARD)
        next_of(TokenRefreshed)
        # Without another call.
        second = next_of(TokenRefreshed)
        assert isinstance(second, TokenRefreshed) and second.expires_at > first.expires_at
        assert node.access_token(timeout=GUARD).value != first.value


def test_a_call_without_a_token_times_out(dds: LocalDds) -> None:
    dds.inject("verify", Fault.status(503), times=None)
    with Node.start(**dds.options()) as node:
        node.wait_registered(timeout=GUARD)
        for timeout in (0, 0.01):
            with pytest.raises(NodeTimeoutError, match="token"):
                node.access_token(timeout)
        with pytest.raises(ValueError, match="0 or more"):
            node.access_token(-1)


# scenario: sign-in-refused
def test_a_refused_sign_in_is_raised_at_once(node: Node, dds: LocalDds) -> None:
    dds.inject("verify", Fault.status(403, body="not today"), times=None)
    with pytest.raises(RejectedError, match="not today"):
        node.access_token(timeout=GUARD)
    assert node.status().sign_in_failures == 1


# scenario: stop-during-wait
def test_a_stop_ends_the_wait_for_a_token(node: Node, dds: LocalDds) -> None:
    dds.inject("verify", Fault.hang(), times=None)
    with ThreadPoolExecutor(4) as pool:
        waits = [pool.submit(node.access_token) for _ in range(4)]
        dds.wait_for_requests("verify")
        node.stop()
        assert [type(wait.exception(GUARD)) for wait in waits] == [StoppedError] * 4
    for call in (node.access_token, node.invalidate_token):
        with pytest.raises(StoppedError):
            call()


# scenario: token-refused
def test_an_invalidated_token_is_replaced(node: Node, dds: LocalDds) -> None:
    first = node.access_token(timeout=GUARD)
    node.invalidate_token(first)
    second = node.access_token(timeout=GUARD)
    assert second.value != first.value
    node.invalidate_token(second.value)
    third = node.access_token(timeout=GUARD)
    assert third.value != second.value
    node.invalidate_token()
    fourth = node.access_token(timeout=GUARD)
    assert fourth.value != third.value
    assert len(dds.requests("verify")) == 4

    for another in (first, first.value, "another"):
        node.invalidate_token(another)
    assert node.access_token(timeout=GUARD) == fourth
    with pytest.raises(TypeError):
        node.invalidate_token(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_many_callers_with_a_refused_token_cause_one_sign_in(node: Node, dds: LocalDds) -> None:
    token = node.access_token(timeout=GUARD)
    barrier = threading.Barrier(16)

    def refused(_: int) -> AccessToken:
        barrier.wait(GUARD)
        node.invalidate_token(token)
        return node.access_token(timeout=GUARD)

    with ThreadPoolExecutor(16) as pool:
        fresh = set(pool.map(refused, range(16)))
    assert len(fresh) == 1 and token not in fresh
    assert len(dds.requests("verify")) == 2


# scenario: dds-forgets
def test_a_forgotten_node_registers_again(node: Node, dds: LocalDds) -> None:
    next_of = listen(node)
    stale = node.access_token(timeout=GUARD)
    dds.forget()
    node.invalidate_token(stale)
    assert not dds.accepts_token(stale)
    assert dds.accepts_token(node.access_token(timeout=GUARD))
    lost = next_of(RegistrationLost)
    assert isinstance(lost, RegistrationLost) and "node not found" in lost.reason
    assert dds.nodes()[0].registrations == 1
    assert len(dds.requests("register")) == 2


# scenario: dds-stops-probing
def test_a_node_that_is_no_longer_probed_registers_again() -> None:
    with LocalDds() as dds:
        options = dds.options(callback_bind="127.0.0.1:0", healthcheck_ttl_secs=1)
        with Node.start(**options) as node:
            next_of = listen(node)
            node.wait_registered(timeout=GUARD)
            dds.set_node_url(f"http://{node.callback_address}")
            assert dds.probe_health() == 200
            lost = next_of(RegistrationLost)
            assert isinstance(lost, RegistrationLost) and "prob" in lost.reason
            dds.wait_for_requests("register", 2)


@pytest.mark.parametrize("offset", [3600, -3600])
# scenario: clocks-differ
def test_the_expiry_is_by_the_clock_of_the_dds(offset: int) -> None:
    with LocalDds(clock_offset=offset) as dds, Node.start(**dds.options()) as node:
        token = node.access_token(timeout=GUARD)
        skew = node.status().clock_skew
        assert abs(skew - timedelta(seconds=offset)) < timedelta(minutes=5)
        # It is valid for an hour by the clock of the DDS.
        assert timedelta(0) < token.expires_at - (datetime.now(timezone.utc) + skew) <= timedelta(hours=1, minutes=5)
