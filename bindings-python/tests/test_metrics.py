"""Metrics and readiness, and the adapters for prometheus_client and OpenTelemetry."""

from __future__ import annotations

import asyncio
import pickle
import urllib.request
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from conftest import GUARD, eventually, in_a_fork
from posemesh_node import (
    METRICS_CONTENT_TYPE,
    AsyncNode,
    Callbacks,
    DdsRequests,
    ForkedError,
    Metrics,
    Node,
    RegistrationAttempts,
    RegistrationsLost,
    Role,
    SignIns,
    State,
)
from posemesh_node.opentelemetry import observe_node_metrics
from posemesh_node.prometheus import NodeCollector
from posemesh_node.testing import PRIVATE_KEY, Fault, LocalDds

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def of_text(text: str) -> Values:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# scenario: metrics
def test_metrics_count_what_the_node_does(node: Node, dds: LocalDds) -> None:
    assert dds.probe_health() == 200
    eventually(lambda: node.metrics().callbacks.accepted == 1)
    status, metrics = node.status(), node.metrics()
    assert metrics.state is State.REGISTERED and metrics.role is Role.LEADER and metrics.has_secret
    assert metrics.registration_attempts == RegistrationAttempts(1, 0, 0, 0, 0)
    assert metrics.registrations_lost == RegistrationsLost(0, 0)
    callbacks = metrics.callbacks
    # The local DDS may have sent the same secret again.
    assert callbacks == Callbacks(1, callbacks.unchanged, 0, 0, 0)
    assert metrics.sign_ins == SignIns(0, 0, 0, 0)
    assert (metrics.health_probes, metrics.events_dropped) == (1, 0)
    assert metrics.dds.register.success == 1 and metrics.dds.register.seconds > 0
    assert metrics.dds.verify == DdsRequests(0, 0, 0, 0)
    assert metrics.registered_at == status.registered_at is not None
    assert metrics.last_probe_at == status.last_healthcheck is not None
    assert (metrics.clock_skew, metrics.token_expires_at, metrics.next_attempt_at) == (status.clock_skew, None, None)
    node.access_token(timeout=GUARD)
    assert node.metrics().token_expires_at == node.status().token_expires_at
    assert node.metrics().sign_ins.success == 1


def test_metrics_are_values(node: Node) -> None:
    metrics = node.metrics()
    assert pickle.loads(pickle.dumps(metrics)) == metrics and hash(metrics)
    assert set(vars(metrics)) == {field.name for field in fields(Metrics)}
    for part in (metrics.callbacks, metrics.sign_ins, metrics.dds, metrics.dds.verify, metrics.registration_attempts):
        assert list(vars(part)) == [field.name for field in fields(part)]
    node.stop()
    assert node.metrics().callbacks == metrics.callbacks


def test_the_text_is_for_prometheus(node: Node, dds: LocalDds) -> None:
    values = of_text(node.metrics_text())
    assert values["posemesh_node_callbacks_total", frozenset({("outcome", "accepted")})] == 1
    assert values["posemesh_node_state", frozenset({("state", "registered")})] == 1
    assert METRICS_CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
    for secret in (node.wallet_address, node.status().node_id, node.read_secret(), dds.options()["reg_secret"]):
        assert secret is not None and secret not in node.metrics_text() and secret not in repr(node.metrics())


# scenario: readiness
async def test_a_node_is_ready_once_it_is_registered(dds: LocalDds) -> None:
    dds.inject("register", Fault.status(503))
    async with AsyncNode.start(**dds.options(callback_bind="127.0.0.1:0")) as node:
        ready, reason = node.ready()
        assert ready is False and reason.startswith("not registered")
        assert not node.ready()
        await node.wait_registered(timeout=GUARD)
        assert node.ready() and node.ready() == (True, "registered")
        await node.wait_secret(timeout=GUARD)
        assert node.ready(secret=True).ready
        # The secret is there a moment before the callback is counted.
        await asyncio.to_thread(eventually, lambda: node.metrics().callbacks.accepted == 1)
    assert not node.ready() and "stopped" in node.ready().reason


def test_readiness_may_need_the_secret(dds: LocalDds) -> None:
    with Node.start(**dds.options()) as node:
        node.wait_registered(timeout=GUARD)
        assert node.ready()
        assert not node.ready(secret=True) and "callback_bind" in node.ready(secret=True).reason
        wrong: Any = "yes"
        with pytest.raises(TypeError):
            node.ready(wrong)


# scenario: fork
def test_a_child_has_no_metrics_of_its_parent(node: Node) -> None:
    def child() -> None:
        for call in (node.ready, node.metrics, node.metrics_text):
            with pytest.raises(ForkedError):
                call()
        registry = CollectorRegistry()
        registry.register(NodeCollector(node))
        assert generate_latest(registry) == b""

    in_a_fork(child)


@pytest.fixture
def other_node(dds: LocalDds) -> Iterator[Node]:
    """A second node of this process, with another wallet."""
    with Node.start(**dds.options(secp256k1_privhex=PRIVATE_KEY[::-1])) as node:
        yield node


def test_prometheus_scrapes_a_node(node: Node) -> None:
    registry = CollectorRegistry()
    collector = NodeCollector(node)
    registry.register(collector)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=GUARD) as response:
            assert of_text(response.read().decode()) == of_text(node.metrics_text())
    finally:
        server.shutdown()
        server.server_close()
        thread.join(GUARD)
    # A second one would have the same names.
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(NodeCollector(node))
    registry.unregister(collector)
    assert generate_latest(registry) == b""
    registry.register(NodeCollector(node))


def test_prometheus_tells_several_nodes_apart(node: Node, other_node: Node) -> None:
    started: list[Node] = []
    registry = CollectorRegistry(auto_describe=True)
    registry.register(NodeCollector({"front": node, "back": lambda: started[0] if started else None}))

    def registered(name: str) -> float | None:
        return registry.get_sample_value("posemesh_node_state", {"node": name, "state": "registered"})

    assert (registered("front"), registered("back")) == (1, 0)
    started.append(other_node)
    eventually(lambda: registered("back") == 1)
    other_node.stop()
    assert registered("back") is not None
    assert len(of_text(generate_latest(registry).decode())) == 2 * len(of_text(node.metrics_text()))


def test_opentelemetry_observes_nodes(node: Node, other_node: Node) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    observe_node_metrics(provider.get_meter("one"), node)
    observe_node_metrics(provider.get_meter("several"), {"front": node, "back": other_node, "later": lambda: None})
    other_node.wait_registered(timeout=GUARD)
    data = reader.get_metrics_data()
    assert data is not None
    one, several = sorted(data.resource_metrics[0].scope_metrics, key=lambda scope: scope.scope.name)
    seen = {
        (metric.name, frozenset((name, str(value)) for name, value in (point.attributes or {}).items())): point.value
        for metric in one.metrics
        for point in metric.data.data_points
        if isinstance(point, NumberDataPoint)
    }
    assert seen == of_text(node.metrics_text())
    (state,) = (metric for metric in several.metrics if metric.name == "posemesh_node_state")
    registered = [point.attributes for point in state.data.data_points if isinstance(point, NumberDataPoint) and point.value]
    assert registered == [
        {"node": "front", "state": "registered"},
        {"node": "back", "state": "registered"},
        {"node": "later", "state": "disconnected"},
    ]
    provider.shutdown()


def test_an_adapter_needs_a_node() -> None:
    wrong: Any
    for wrong in (None, "node", {"name": None}):
        with pytest.raises(TypeError, match="^node must be a Node, an AsyncNode, or a function"):
            NodeCollector(wrong)
    wrong = starting = AsyncNode.from_env()
    with pytest.raises(TypeError, match="^node must be a node that has started"):
        NodeCollector(wrong)
    starting.close()
    wrong = lambda: "node"  # noqa: E731
    with pytest.raises(TypeError, match="^the function must return a Node, an AsyncNode or None, not str"):
        list(NodeCollector(wrong).collect())
