"""The metrics of a node for prometheus_client: ``pip install "posemesh-node[prometheus]"``.

For example:

    from prometheus_client import REGISTRY
    from posemesh_node.prometheus import NodeCollector

    REGISTRY.register(NodeCollector(node))
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ._families import MetricSources, family_reader

__all__ = ["NodeCollector"]


class NodeCollector(Collector):
    """Collects the metrics of a node at each scrape. Register it with a registry; unregister it to end that.

    ``node`` is a Node or an AsyncNode, or a function that returns one, or None as long as it has not started. For
    several nodes in one process, pass a mapping from names to them: then each metric has a label ``node``.

    As long as there is no node, the metrics are those of a node that has done nothing. A stopped node keeps its last
    values. In a forked child there are none.

    The multiprocess mode of prometheus_client does not collect custom collectors. There, use ``metrics_text``, or
    ``admin_bind`` of each process.
    """

    def __init__(self, node: MetricSources) -> None:
        self._read = family_reader(node)

    def describe(self) -> Iterator[Metric]:
        """Called by the registry, which refuses a second collector with the same names."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        collected: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for of_node, families in self._read():
            for name, kind, help, samples in families:
                for labels, value in samples:
                    all_labels = {**of_node, **dict(labels)}
                    if name not in collected:
                        create = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
                        collected[name] = create(name, help, labels=[*all_labels])
                    collected[name].add_metric([*all_labels.values()], value)
        yield from collected.values()
