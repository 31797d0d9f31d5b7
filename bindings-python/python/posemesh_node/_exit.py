"""Stops what still runs when the interpreter ends."""

from __future__ import annotations

import atexit
import weakref
from typing import TYPE_CHECKING

from . import _native
from ._errors import PosemeshError

if TYPE_CHECKING:
    from ._node import NodeBase

_TIMEOUT = 2.0
"""Seconds for one node. Only a callback that does not return takes that long."""

_nodes: weakref.WeakSet[NodeBase] = weakref.WeakSet()


def stop_at_exit(node: NodeBase) -> None:
    """Stop this node when the interpreter ends, if it is still there."""
    if not _nodes:
        # Not at import, but after that of `logging`: what is registered last runs first, and the last
        # records still find their handlers open.
        atexit.unregister(_stop_all)
        atexit.register(_stop_all)
    _nodes.add(node)


def _stop_all() -> None:
    _native.begin_exit()
    for node in list(_nodes):
        try:
            node._native.stop(_TIMEOUT)
        except PosemeshError:
            # A stuck callback, or a node of the process before a fork. Nobody is left to be told.
            pass
    _native.end_callbacks()
