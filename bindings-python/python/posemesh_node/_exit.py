"""Stops what still runs when the interpreter ends."""

from __future__ import annotations

import atexit
import weakref

from . import _native
from ._errors import PosemeshError

TYPE_CHECKING = False  # without importing `typing`
if TYPE_CHECKING:
    from ._node import NodeBase

_TIMEOUT = 2.0
"""Seconds for one node. Only a callback that does not return takes that long."""

_nodes: weakref.WeakSet[NodeBase] = weakref.WeakSet()
_exiting = False


def stop_at_exit(node: NodeBase) -> None:
    """Stop this node when the interpreter ends, if it is still there."""
    if not _nodes:
        _register()
    _nodes.add(node)


def come_before_logging() -> None:
    """Stop the nodes before ``logging``, which has been imported by now, closes its handlers."""
    if _nodes and not _exiting:
        _register()


def _register() -> None:
    # What is registered last runs first.
    atexit.unregister(_stop_all)
    atexit.register(_stop_all)


def _stop_all() -> None:
    global _exiting
    _exiting = True
    _native.begin_exit()
    for node in list(_nodes):
        try:
            node._stop(_TIMEOUT)
        except PosemeshError:
            # A stuck callback, or a node of the process before a fork. Nobody is left to be told.
            pass
    _native.end_callbacks()
