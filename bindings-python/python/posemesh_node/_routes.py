"""The routes of nodes that have not started yet."""

from __future__ import annotations

import weakref

from . import _native

__all__ = ["expect_callbacks_if_mounted", "mounted_without_a_node"]

mounted_without_a_node: weakref.WeakSet[object] = weakref.WeakSet()
"""Routes that find their node when a request arrives."""


def expect_callbacks_if_mounted(node: _native.Node) -> None:
    """Let a node that starts after its routes were mounted wait for a secret. Any node may be the one that they find."""
    if mounted_without_a_node:
        node._expect_callbacks()
