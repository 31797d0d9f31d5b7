"""Where the adapters for web servers and for monitoring systems have their node from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

from . import _native

__all__ = ["NodeSource", "follow"]

NodeSource: TypeAlias = _native.Node | Callable[[], _native.Node | None]
"""A Node or AsyncNode, or a function that returns one, or None as long as it has not started."""


def follow(source: NodeSource) -> Callable[[], _native.Node | None]:
    """Check a source, and return the function that returns its node."""
    if isinstance(source, _native.Node):
        return lambda: source
    given: Any = source
    if isinstance(given, Awaitable):
        raise TypeError("node must be a node that has started: use `async with`, or await it")
    if iscoroutinefunction(given) or iscoroutinefunction(type(given).__call__):
        raise TypeError("node must be a function that returns a node at once, not an async function")
    if not callable(given):
        raise TypeError(f"node must be a Node, an AsyncNode, or a function that returns one, not {type(given).__name__}")

    def find() -> _native.Node | None:
        node: Any = source()
        if node is None or isinstance(node, _native.Node):
            return node
        raise TypeError(f"the function must return a Node, an AsyncNode or None, not {type(node).__name__}")

    return find
