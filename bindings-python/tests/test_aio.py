"""AsyncNode, under asyncio and uvloop."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from conftest import GUARD, Program, eventually
from posemesh_node import (
    AlreadyRunningError,
    AsyncNode,
    ConfigError,
    Event,
    HealthChecked,
    Node,
    NodeTimeoutError,
    NotFoundError,
    RejectedError,
    SecretChanged,
    State,
    StatusChanged,
    StoppedError,
)
from posemesh_node.testing import Fault, LocalDds


@pytest.fixture
async def node(dds: LocalDds) -> AsyncIterator[AsyncNode]:
    async with await AsyncNode.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
        await node.wait_registered(timeout=GUARD)
        dds.set_node_url(f"http://{node.callback_address}")
        assert dds.call_back().status == 200
        yield node


@pytest.fixture
async def hanging(dds: LocalDds) -> AsyncIterator[AsyncNode]:
    """A node that never becomes registered."""
    dds.inject("challenge", Fault.hang(), times=None)
    async with await AsyncNode.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
        yield node


async def test_a_node_registers_and_receives_a_secret(node: AsyncNode, dds: LocalDds) -> None:
    await node.wait_registered(timeout=GUARD)
    assert await node.wait_secret(timeout=GUARD) == dds.last_secret == node.read_secret()
    assert node.status().state is State.REGISTERED
    node.rearm()
    await node.wait_registered(timeout=GUARD)
    assert len(dds.requests("register")) == 2


async def test_from_env_reads_the_environment(dds: LocalDds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_VERSION", "7.0.0")
    options = dds.options()
    overrides = {name: value for name, value in options.items() if name != "node_version"}
    async with await AsyncNode.from_env(**overrides) as node:  # type: ignore[arg-type]  # pyright: ignore
        await node.wait_registered(timeout=GUARD)
    assert dds.nodes()[0].version == "7.0.0"


async def test_the_await_raises_the_errors_of_a_start() -> None:
    with pytest.raises(ConfigError):
        await AsyncNode.from_env(node_version="one")


async def test_concurrent_calls_share_one_access_token(node: AsyncNode, dds: LocalDds) -> None:
    tokens = await asyncio.gather(*(node.access_token(timeout=GUARD) for _ in range(100)))
    assert len(set(tokens)) == 1
    assert await node.access_token() == tokens[0]
    assert node.status().token_expires_at is not None
    assert len(dds.requests("verify")) == 1

    # The sign-in that is due now is refused.
    dds.inject("verify", Fault.status(403, body="not today"), times=None)
    node.invalidate_token(tokens[0])
    with pytest.raises(RejectedError, match="not today"):
        await node.access_token(timeout=GUARD)


async def test_a_wait_that_times_out_raises_a_timeout_error(hanging: AsyncNode) -> None:
    waits: list[Callable[[float], Awaitable[object]]] = [hanging.wait_registered, hanging.access_token]
    for wait in waits:
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError) as caught:
                await wait(timeout)
            assert isinstance(caught.value, NodeTimeoutError)


async def test_a_thousand_waits_need_no_thread(hanging: AsyncNode) -> None:
    before = threading.active_count()
    waits = [asyncio.ensure_future(hanging.wait_registered()) for _ in range(500)]
    tokens = [asyncio.ensure_future(hanging.access_token()) for _ in range(500)]
    await asyncio.sleep(0)
    assert threading.active_count() == before
    await hanging.stop()
    for results in (
        await asyncio.gather(*waits, return_exceptions=True),
        await asyncio.gather(*tokens, return_exceptions=True),
    ):
        assert {type(result) for result in results} == {StoppedError}


async def test_a_method_of_a_start_that_was_not_awaited_raises_with_a_hint(dds: LocalDds) -> None:
    start: Any = AsyncNode.start(**dds.options())
    with pytest.raises(AttributeError, match="has not started yet, so it has no attribute 'wait_registered'.*await AsyncNode.start"):
        start.wait_registered()
    start.close()


async def test_a_wait_for_a_secret_that_cannot_arrive_ends_at_once(dds: LocalDds) -> None:
    dds.inject("challenge", Fault.hang(), times=None)
    async with AsyncNode.start(**dds.options()) as node:
        with pytest.raises(NotFoundError, match="callback_bind"):
            await node.wait_secret()


# scenario: wait-cancelled
async def test_a_wait_can_be_cancelled(hanging: AsyncNode, dds: LocalDds) -> None:
    wait = asyncio.ensure_future(hanging.wait_registered())
    await asyncio.sleep(0)
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(hanging.wait_secret(), 0.01)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(hanging.access_token(), 0.01)
    # The node is not affected.
    assert hanging.status().running


# scenario: stop-during-start
async def test_a_cancelled_start_leaves_no_node_behind(dds: LocalDds) -> None:
    start = asyncio.ensure_future(AsyncNode.start(**dds.options()))
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start

    # The start may have to complete before the node can stop. Then the wallet is free.
    def starts() -> bool:
        gc.collect()
        try:
            Node.start(**dds.options()).stop()
        except AlreadyRunningError:
            return False
        return True

    await asyncio.to_thread(eventually, starts)


async def test_a_stream_yields_events_in_order(node: AsyncNode, dds: LocalDds) -> None:
    await node.wait_secret(timeout=GUARD)
    events = node.events()
    dds.set_secret("another")
    node.rearm()
    seen: list[Event] = []
    async for event in events:
        seen.append(event)
        if isinstance(event, SecretChanged):
            break
    states = [event.state for event in seen if isinstance(event, StatusChanged)]
    assert states == [State.DISCONNECTED, State.REGISTERING, State.REGISTERED]
    assert seen[-1].at.tzinfo is not None
    await node.stop()
    assert [event async for event in events if isinstance(event, SecretChanged)] == []


async def test_a_stream_ends_when_it_is_closed(hanging: AsyncNode) -> None:
    async with hanging.events() as events:
        following = asyncio.ensure_future(anext(events, None))
        await asyncio.sleep(0)
    assert await following is None


async def test_listeners_are_called_in_the_event_loop(node: AsyncNode, dds: LocalDds) -> None:
    await node.wait_registered(timeout=GUARD)
    heard: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()

    @node.on_event
    def listener(event: Event) -> None:
        heard.put_nowait((threading.get_ident(), event))

    await asyncio.to_thread(dds.probe_health)
    while True:
        thread, event = await heard.get()
        assert thread == threading.get_ident()
        if isinstance(event, HealthChecked):
            break


async def test_an_event_after_the_loop_has_closed_is_discarded(run: Callable[..., Program]) -> None:
    """The node outlives the loop. What is delivered after that is discarded without an error."""
    code = """
import asyncio
from posemesh_node import AsyncNode
from posemesh_node.testing import LocalDds

dds = LocalDds()

async def main():
    node = await AsyncNode.start(**dds.options(callback_bind="127.0.0.1:0"))
    node.on_event(print)
    node.stream = node.events()
    asyncio.ensure_future(node.wait_secret())
    await node.wait_registered()
    return node

node = asyncio.run(main())
dds.set_node_url(f"http://{node.callback_address}")
assert dds.call_back().status == 200
assert dds.probe_health() == 200
"""
    run("-c", code).succeed()
