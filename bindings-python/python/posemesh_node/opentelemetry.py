"""The metrics of a node for OpenTelemetry: ``pip install "posemesh-node[opentelemetry]"``.

For example:

    from opentelemetry.metrics import get_meter
    from posemesh_node.opentelemetry import observe_node_metrics

    observe_node_metrics(get_meter("my-service"), node)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from . import _native
from ._families import MetricSources, family_reader

__all__ = ["observe_node_metrics"]


def observe_node_metrics(meter: Meter, node: MetricSources) -> None:
    """Create observable instruments for the metrics of a node, with the names that they have in Prometheus.

    Call it once for each meter; OpenTelemetry has no way to remove an instrument.

    ``node`` is a Node or an AsyncNode, or a function that returns one, or None as long as it has not started. For
    several nodes in one process, pass a mapping from names to them: then each value has an attribute ``node``.

    As long as there is no node, the values are those of a node that has done nothing. A stopped node keeps its last
    values. In a forked child there are none.
    """
    read = family_reader(node)

    def observe(index: int) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda options: [
            Observation(value, {**of_node, **dict(labels)})
            for of_node, families in read()
            for labels, value in families[index][3]
        ]

    for index, (name, kind, help, _) in enumerate(_native.idle_metric_families()):
        create = meter.create_observable_counter if kind == "counter" else meter.create_observable_gauge
        create(name, callbacks=[observe(index)], description=help)
