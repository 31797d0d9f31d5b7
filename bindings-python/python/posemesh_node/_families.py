"""The metrics of nodes as a list, for the adapters to monitoring systems."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias, cast

from . import _native
from ._error import ForkedError
from ._source import NodeSource, follow

__all__ = ["MetricFamily", "MetricSources", "family_reader"]

MetricSources: TypeAlias = NodeSource | Mapping[str, NodeSource]
"""A node, or several by the values of the label ``node``."""

MetricFamily: TypeAlias = tuple[str, Literal["counter", "gauge"], str, list[tuple[list[tuple[str, str]], float]]]
"""Name, kind and description of a metric, and its values, each with its labels."""


def family_reader(sources: MetricSources) -> Callable[[], Iterator[tuple[dict[str, str], list[MetricFamily]]]]:
    """Check the sources, and return the function that reads each node: the labels of the node, and its metrics.

    Every list has the same metrics in the same order.
    """
    nodes = [(labels, follow(source)) for labels, source in _with_labels(sources)]

    def read() -> Iterator[tuple[dict[str, str], list[MetricFamily]]]:
        for labels, find in nodes:
            node = find()
            try:
                yield labels, _native.idle_metric_families() if node is None else node._metric_families()
            except ForkedError:
                # They belong to the process that the node runs in.
                continue

    return read


def _with_labels(sources: Any) -> list[tuple[dict[str, str], NodeSource]]:
    if isinstance(sources, Mapping):
        named = cast("Mapping[str, NodeSource]", sources)
        return [({"node": name}, source) for name, source in named.items()]
    return [({}, sources)]
