"""Stops what still runs when the interpreter ends.

CPython ends in two steps. When the main thread has ended, it waits for the threads that are not daemons; one of them
may wait for a node, so the nodes stop before that. Then it runs the handlers of ``atexit``.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from typing import TYPE_CHECKING, Any

from . import _native
from ._errors import PosemeshError

if TYPE_CHECKING:
    from ._node import NodeBase

_TIMEOUT = 2.0
"""Seconds for one node. Only a callback that does not return takes that long."""

_nodes: weakref.WeakSet[NodeBase] = weakref.WeakSet()
_registered = False


def stop_at_exit(node: NodeBase) -> None:
    """Stop this node when the interpreter ends, if it is still there."""
    global _registered
    if not _registered:
        _registered = True
        atexit.register(_all_threads_ended)
        _when_the_main_thread_ends(_main_thread_ended)
    _nodes.add(node)


def _when_the_main_thread_ends(handler: Any) -> None:
    # As `concurrent.futures` does. It is no public function, so the package works without it: the waits of threads
    # that are not daemons then keep the process alive.
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        try:
            register(handler)
        except RuntimeError:
            # It has ended already.
            pass


def _main_thread_ended() -> None:
    _native.begin_exit([thread.ident for thread in threading.enumerate() if thread.daemon and thread.ident])
    _stop_all()


def _all_threads_ended() -> None:
    _native.leave_threads_behind()
    _stop_all()
    _native.end_callbacks()


def _stop_all() -> None:
    while _nodes:
        try:
            # Out of the set: one whose callback is stuck is not waited for twice.
            _nodes.pop()._stop(_TIMEOUT)
        except PosemeshError:
            # A stuck callback, or a node of the process before a fork. Nobody is left to be told.
            pass
