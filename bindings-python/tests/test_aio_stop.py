"""Stopping an AsyncNode: it uses no executor and completes despite cancellation."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest

from conftest import GUARD
from posemesh_node import AsyncNode, Event, Node, NodeTimeoutError, Options, PosemeshError
from posemesh_node.testing import LocalDds


class Failed(Exception):
    pass


def has_stopped(dds: LocalDds) -> bool:
    """Whether the wallet is free again, which it is once a stop has completed."""
    with Node.start(**dds.options()):
        return True


@pytest.fixture
async def busy_executor() -> AsyncIterator[None]:
    """The only thread of the loop's default executor is busy."""
    free = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        asyncio.get_running_loop().set_default_executor(executor)
        executor.submit(free.wait)
        yield
        free.set()


@pytest.fixture
def stuck() -> Iterator[logging.Handler]:
    """A logging handler that does not return until the test is over."""
    release = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            release.wait()

    handler, logger = Handler(), logging.getLogger("posemesh_node")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    release.set()
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


async def test_start_and_stop_use_no_executor(busy_executor: None, dds: LocalDds) -> None:
    node = await AsyncNode.start(**dds.options())
    await node.wait_registered(timeout=GUARD)
    await node.stop()
    assert has_stopped(dds)


async def test_stop_observes_its_timeout(busy_executor: None, stuck: logging.Handler, dds: LocalDds) -> None:
    node = await AsyncNode.start(**dds.options())
    with pytest.raises(NodeTimeoutError, match="stop again"):
        await node.stop(timeout=0.05)


async def test_a_stream_ends_when_a_stop_times_out(stuck: logging.Handler, dds: LocalDds) -> None:
    node = await AsyncNode.start(**dds.options())
    events = node.events()
    following = asyncio.ensure_future(anext(events, None))
    with pytest.raises(NodeTimeoutError):
        await node.stop(timeout=0.05)
    with anyio.fail_after(GUARD):
        await following
        assert [event async for event in events] == []


async def test_a_failing_sibling_task_stops_the_node(dds: LocalDds) -> None:
    for steps in range(8):
        # A wallet for each round, because a start that was cancelled early may claim its wallet after the round.
        options = dds.options(secp256k1_privhex=f"{steps + 1:064x}")

        async def serve(options: Options = options) -> None:
            async with AsyncNode.start(**options):
                await asyncio.sleep(GUARD)

        async def fail() -> None:
            for _ in range(steps * 5):
                await asyncio.sleep(0)
            raise Failed

        with pytest.raises(BaseException) as caught:
            async with anyio.create_task_group() as group:
                group.start_soon(serve)
                group.start_soon(fail)
        assert "Failed" in repr(caught.value)
        await until_free(options)


async def until_free(options: Options) -> None:
    """A cancelled start ends in the background."""
    with anyio.fail_after(GUARD):
        while True:
            try:
                node = Node.start(**options)
            except PosemeshError:
                await asyncio.sleep(0.01)
            else:
                node.stop()
                return


@pytest.mark.parametrize("steps", range(4))
async def test_the_node_stops_although_the_exit_is_cancelled(steps: int, dds: LocalDds) -> None:
    leave = asyncio.Event()

    async def serve() -> None:
        async with AsyncNode.start(**dds.options()) as node:
            entered.set_result(node)
            await leave.wait()

    entered: asyncio.Future[AsyncNode] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(serve())
    await entered
    leave.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert has_stopped(dds)


async def test_the_node_stops_although_the_exit_is_cancelled_repeatedly(dds: LocalDds) -> None:
    async def serve() -> None:
        async with AsyncNode.start(**dds.options()):
            entered.set()
            await asyncio.sleep(GUARD)

    entered = asyncio.Event()
    task = asyncio.ensure_future(serve())
    await entered.wait()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    assert has_stopped(dds)


async def test_a_cancelled_stop_still_stops_the_node(dds: LocalDds) -> None:
    node = await AsyncNode.start(**dds.options())
    stop = asyncio.ensure_future(node.stop())
    await asyncio.sleep(0)
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stop
    assert not node.status().running
    await node.stop()
    assert has_stopped(dds)


async def test_an_error_of_the_exit_has_that_of_the_body_as_its_context(
    stuck: logging.Handler, dds: LocalDds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posemesh_node._async_node._STOP_TIMEOUT", 0.05)
    with pytest.raises(NodeTimeoutError) as caught:
        async with AsyncNode.start(**dds.options()):
            raise Failed
    assert isinstance(caught.value.__context__, Failed)


@pytest.mark.parametrize("begin", [asyncio.create_task, asyncio.ensure_future, asyncio.gather])
async def test_a_start_is_an_awaitable_like_any_other(begin: Callable[..., Any], dds: LocalDds) -> None:
    done: Any = await begin(AsyncNode.start(**dds.options()))
    node: AsyncNode = done if type(done) is AsyncNode else done[0]
    async with node as entered:
        assert entered is node


async def test_events_have_a_timeout(dds: LocalDds) -> None:
    async with AsyncNode.start(**dds.options()) as node:
        await node.wait_registered(timeout=GUARD)
        with anyio.fail_after(GUARD):
            assert [event async for event in node.events(timeout=0)] == []
            # Events from just before may still arrive.
            events: list[Event] = [event async for event in node.events(timeout=0.05)]
            assert len(events) < 3


def test_a_stream_refuses_another_event_loop(dds: LocalDds) -> None:
    async def follow() -> tuple[AsyncNode, object]:
        node = await AsyncNode.start(**dds.options())
        return node, node.events()

    async def read(node: AsyncNode, events: object) -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await anext(events)  # type: ignore[call-overload]  # pyright: ignore
        await node.stop()

    asyncio.run(read(*asyncio.run(follow())))
