"""Event listeners and streams."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest

from conftest import GUARD
from posemesh_node import (
    AsyncNode,
    AttemptFailed,
    Event,
    HealthChecked,
    Node,
    NodeTimeoutError,
    SecretChanged,
    State,
    StatusChanged,
    UnavailableError,
    WouldDeadlockError,
)
from posemesh_node.testing import Fault, LocalDds


# scenario: events-in-order
def test_a_listener_receives_each_event_in_order(node: Node, dds: LocalDds) -> None:
    node.wait_secret(timeout=GUARD)
    heard: SimpleQueue[Event] = SimpleQueue()

    @node.on_event
    def listener(event: Event) -> None:
        heard.put(event)

    assert callable(listener)
    dds.set_secret("another")
    node.rearm()
    node.wait_registered(timeout=GUARD)
    events = [heard.get(timeout=GUARD) for _ in range(4)]
    assert [type(event) for event in events] == [StatusChanged, StatusChanged, StatusChanged, SecretChanged]
    assert isinstance(events[0], StatusChanged)
    assert (events[0].previous, events[0].state) == (State.REGISTERED, State.DISCONNECTED)
    assert isinstance(events[3], SecretChanged) and events[3].version == 2
    assert all(event.dropped == 0 for event in events)
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert node.read_secret() == "another"


def test_a_failed_attempt_is_an_event(dds: LocalDds) -> None:
    dds.inject("challenge", Fault.delay(0.3))
    dds.inject("register", Fault.status(503, retry_after="7"), times=None)
    with Node.start(**dds.options()) as node:
        failed = next(event for event in node.events(timeout=GUARD) if isinstance(event, AttemptFailed))
        assert isinstance(failed.error, UnavailableError)
        assert failed.retry_in >= 7


def test_a_stream_ends_when_the_node_stops_or_its_timeout_passes(node: Node) -> None:
    node.wait_secret(timeout=GUARD)
    assert list(node.events(timeout=0)) == []
    events = node.events()
    collected: list[Event] = []
    following = threading.Thread(target=lambda: collected.extend(events))
    following.start()
    node.stop()
    following.join(GUARD)
    assert not following.is_alive()
    assert [event.state for event in collected if isinstance(event, StatusChanged)] == [State.DISCONNECTED]


def test_a_closed_stream_receives_nothing(node: Node, dds: LocalDds) -> None:
    node.wait_registered(timeout=GUARD)
    with node.events() as events:
        dds.probe_health()
        assert isinstance(next(event for event in events if isinstance(event, HealthChecked)), HealthChecked)
    dds.probe_health()
    assert list(events) == []


# scenario: slow-listener
def test_a_full_stream_drops_events_and_reports_how_many(node: Node, dds: LocalDds) -> None:
    node.wait_secret(timeout=GUARD)
    events = node.events(timeout=GUARD)
    heard = threading.Semaphore(0)

    @node.on_event
    def listener(event: Event) -> None:
        heard.release()

    assert callable(listener)
    for _ in range(1024 + 6):
        dds.probe_health()
        heard.acquire(timeout=GUARD)
    assert all(next(events).dropped == 0 for _ in range(1024))
    dds.probe_health()
    assert next(events).dropped == 6


# scenario: stop-in-callback
def test_a_listener_may_call_the_node_but_not_stop_it(node: Node, dds: LocalDds) -> None:
    node.wait_secret(timeout=GUARD)
    heard: SimpleQueue[object] = SimpleQueue()

    @node.on_event
    def listener(event: Event) -> None:
        if not isinstance(event, HealthChecked):
            return
        node.wait_registered(timeout=GUARD)
        heard.put((node.status().state, node.read_secret() == dds.last_secret))
        try:
            node.stop()
        except WouldDeadlockError as error:
            heard.put(error.name)

    dds.probe_health()
    assert heard.get(timeout=GUARD) == (State.REGISTERED, True)
    assert heard.get(timeout=GUARD) == "ERR_WOULD_DEADLOCK"
    assert node.status().running


# scenario: callback-fails
def test_an_exception_in_a_listener_does_not_affect_the_others(
    node: Node, dds: LocalDds, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: SimpleQueue[Any] = SimpleQueue()
    monkeypatch.setattr("sys.unraisablehook", unraisable.put)
    node.wait_secret(timeout=GUARD)
    heard: SimpleQueue[Event] = SimpleQueue()

    @node.on_event
    def broken(event: Event) -> None:
        raise RuntimeError("broken")

    node.on_event(heard.put)
    dds.probe_health()
    assert isinstance(heard.get(timeout=GUARD), HealthChecked)
    shown = unraisable.get(timeout=GUARD)
    assert (str(shown.exc_value), shown.object) == ("broken", broken)
    node.stop()


def test_a_stop_frees_a_node_that_its_listener_refers_to(node: Node) -> None:
    class Owner:
        def __init__(self, node: Node) -> None:
            self.node = node
            node.on_event(self.heard)

        def heard(self, event: Event) -> None: ...

    owner = weakref.ref(Owner(node))
    assert owner() is not None
    node.stop()
    gc.collect()
    assert owner() is None


async def coroutine(event: Event) -> None: ...


def generator(event: Event) -> Iterator[Event]:
    yield event


async def async_generator(event: Event) -> AsyncIterator[Event]:
    yield event


class Awaited:
    async def __call__(self, event: Event) -> None: ...


@pytest.mark.parametrize(
    ("listener", "text"),
    [
        (None, "callable, not NoneType"),
        ("print", "callable, not str"),
        (coroutine, "must not be async"),
        (partial(coroutine), "must not be async"),
        (async_generator, "must not be async"),
        (Awaited(), "must not be async"),
        (generator, "must not be a generator"),
    ],
)
async def test_a_listener_that_could_not_handle_an_event_is_refused(listener: Any, text: str, dds: LocalDds) -> None:
    async with AsyncNode.start(**dds.options()) as node:
        with pytest.raises(TypeError, match=text):
            node.on_event(listener)
    with Node.start(**dds.options()) as other, pytest.raises(TypeError, match=text):
        other.on_event(listener)


def test_a_removed_listener_receives_nothing(node: Node, dds: LocalDds) -> None:
    node.wait_secret(timeout=GUARD)
    heard: list[Event] = []
    last: SimpleQueue[Event] = SimpleQueue()
    # Each access to a method creates another object. They are equal.
    node.on_event(heard.append)
    node.on_event(last.put)
    dds.probe_health()
    last.get(timeout=GUARD)
    assert len(heard) == 1
    assert node.off_event(heard.append)
    dds.probe_health()
    last.get(timeout=GUARD)
    assert len(heard) == 1
    assert not node.off_event(heard.append)
    node.stop()
    assert not node.off_event(last.put)


async def test_a_listener_of_an_async_node_can_be_removed(dds: LocalDds) -> None:
    async with AsyncNode.start(**dds.options()) as node:
        heard: list[Event] = []
        node.on_event(heard.append)
        assert node.off_event(heard.append)
        assert not node.off_event(heard.append)


def test_a_stream_ends_when_a_stop_times_out(node: Node, dds: LocalDds) -> None:
    node.wait_secret(timeout=GUARD)
    entered, release = threading.Event(), threading.Event()

    @node.on_event
    def stuck(event: Event) -> None:
        entered.set()
        release.wait()

    events = node.events()
    following = threading.Thread(target=list, args=(events,))
    following.start()
    dds.probe_health()
    assert callable(stuck) and entered.wait(GUARD)
    with pytest.raises(NodeTimeoutError):
        node.stop(timeout=0.05)
    following.join(GUARD)
    assert not following.is_alive()
    release.set()
    node.stop()
