"""The rule for timeouts, which is the same for every wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from conftest import GUARD
from posemesh_node import AsyncNode, Node
from posemesh_node.testing import LocalDds

WRONG = [
    (-1, ValueError, "0 or more seconds"),
    (-1e-9, ValueError, "0 or more seconds"),
    (float("-inf"), ValueError, "0 or more seconds"),
    (-(10**400), ValueError, "0 or more seconds"),
    (float("nan"), ValueError, "0 or more seconds"),
    (True, TypeError, "a number of seconds, or None, not bool"),
    ("1", TypeError, "a number of seconds, or None, not str"),
    (b"1", TypeError, "a number of seconds, or None, not bytes"),
]
NO_TIMEOUT = [None, float("inf"), 1e10, 1e300, 10**400]

WAITS: dict[str, Callable[[Node, Any], Any]] = {
    "wait_registered": lambda node, timeout: node.wait_registered(timeout),
    "wait_secret": lambda node, timeout: node.wait_secret(timeout),
    "access_token": lambda node, timeout: node.access_token(timeout),
    "events": lambda node, timeout: next(node.events(timeout)),
    "stop": lambda node, timeout: node.stop(timeout),
}


async def first_event(node: AsyncNode, timeout: Any) -> Any:
    return await anext(node.events(timeout))


ASYNC_WAITS: dict[str, Callable[[AsyncNode, Any], Any]] = {
    "wait_registered": lambda node, timeout: node.wait_registered(timeout),
    "wait_secret": lambda node, timeout: node.wait_secret(timeout),
    "access_token": lambda node, timeout: node.access_token(timeout),
    "events": first_event,
    "stop": lambda node, timeout: node.stop(timeout),
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize(("timeout", "error", "text"), WRONG)
def test_an_invalid_timeout_is_refused(wait: str, timeout: Any, error: type[Exception], text: str, node: Node) -> None:
    with pytest.raises(error, match=text):
        WAITS[wait](node, timeout)
    assert node.status().running


@pytest.mark.parametrize("wait", ASYNC_WAITS)
async def test_an_invalid_timeout_is_refused_under_asyncio(wait: str, dds: LocalDds) -> None:
    async with AsyncNode.start(**dds.options()) as node:
        await node.wait_registered()
        for timeout, error, text in WRONG:
            if wait == "access_token":
                node.invalidate_token()
            with pytest.raises(error, match=text):
                await ASYNC_WAITS[wait](node, timeout)
        assert node.status().running


@pytest.mark.parametrize("timeout", NO_TIMEOUT)
def test_none_and_infinity_are_no_timeout(timeout: Any, node: Node, dds: LocalDds) -> None:
    events = node.events(timeout)
    node.wait_registered(timeout)
    node.wait_secret(timeout)
    node.access_token(timeout)
    dds.probe_health()
    next(events)
    node.stop(timeout)


@pytest.mark.parametrize("timeout", NO_TIMEOUT)
async def test_none_and_infinity_are_no_timeout_under_asyncio(timeout: Any, dds: LocalDds) -> None:
    async with AsyncNode.start(**dds.options()) as node:
        events = node.events(timeout)
        await node.wait_registered(timeout)
        await node.access_token(timeout)
        node.rearm()
        await asyncio.wait_for(anext(events), GUARD)
        await node.stop(timeout)
