"""The error of a wait contains the error of the last attempt."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from conftest import eventually
from posemesh_node import AsyncNode, Node, NodeTimeoutError, Options
from posemesh_node.testing import Fault, LocalDds


def refused(dds: LocalDds) -> tuple[Options, str]:
    dds.inject("register", Fault.status(403, body="this wallet is blocked"), times=None)
    return dds.options(), "this wallet is blocked"


def busy(dds: LocalDds) -> tuple[Options, str]:
    dds.inject("challenge", Fault.status(503), times=None)
    return dds.options(), "503"


def unreachable(dds: LocalDds) -> tuple[Options, str]:
    return dds.options(dds_base_url="http://127.0.0.1:1"), "refused"


def unresolved(dds: LocalDds) -> tuple[Options, str]:
    return dds.options(dds_base_url="https://no-such-host.invalid"), "no-such-host.invalid"


def without_store(dds: LocalDds) -> tuple[Options, str]:
    return dds.options(state_url="redis://127.0.0.1:1"), "state_url redis://127.0.0.1:1: .*refused"


@pytest.mark.parametrize("failing", [refused, busy, unreachable, unresolved, without_store])
# scenario: dds-unreachable
def test_a_wait_that_times_out_reports_the_last_error(dds: LocalDds, failing: Callable[[LocalDds], tuple[Options, str]]) -> None:
    options, words = failing(dds)
    options["callback_bind"] = "127.0.0.1:0"
    with Node.start(**options) as node:
        eventually(lambda: node.status().last_error or node.status().persistence_error)
        for wait in (node.wait_registered, node.wait_secret, node.access_token):
            with pytest.raises(NodeTimeoutError, match=words):
                wait(timeout=0.01)
        assert re.search(words, node.ready().reason)


async def test_an_asynchronous_wait_that_times_out_reports_the_last_error(dds: LocalDds) -> None:
    options, words = refused(dds)
    options["callback_bind"] = "127.0.0.1:0"
    async with await AsyncNode.start(**options) as node:
        while node.status().last_error is None:
            await asyncio.sleep(0.001)
        for wait in (node.wait_registered, node.wait_secret, node.access_token):
            with pytest.raises(NodeTimeoutError, match=words):
                await wait(timeout=0.01)
