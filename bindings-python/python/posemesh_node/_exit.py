"""Stops the nodes that are still running when the interpreter exits.

CPython exits in two steps. Once the main thread has ended, it joins the threads that are not daemons; one of them may
be waiting for a node, so the nodes are stopped before that. Then it runs the ``atexit`` handlers.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from typing import Any

from . import _native
from ._error import PosemeshError

_TIMEOUT = 2.0
"""Seconds to wait for each node. Only a callback that does not return takes that long."""

_CALLBACK_TIMEOUT = 1.0
"""Seconds to wait for the last callbacks of all nodes."""

_nodes: weakref.WeakSet[_native.Node] = weakref.WeakSet()
_registered = False


def stop_at_exit(node: _native.Node) -> None:
    """Stop this node when the interpreter exits, if it still exists."""
    global _registered
    if not _registered:
        _registered = True
        atexit.register(_all_threads_ended)
        _when_the_main_thread_ends(_main_thread_ended)
    _nodes.add(node)


def _when_the_main_thread_ends(handler: Any) -> None:
    # As `concurrent.futures` does. The function is not public, so the package works without it; waits in threads that
    # are not daemons then keep the process alive.
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        try:
            register(handler)
        except RuntimeError:
            # The main thread has already ended.
            pass


def _main_thread_ended() -> None:
    _native.begin_exit([thread.ident for thread in threading.enumerate() if thread.daemon and thread.ident])
    _stop_all()


def _all_threads_ended() -> None:
    _native.leave_threads_behind()
    _stop_all()
    _native.end_callbacks(_CALLBACK_TIMEOUT)


def _stop_all() -> None:
    while _nodes:
        try:
            # Removed from the set, so that a node with a stuck callback is waited for only once.
            _nodes.pop()._stop(_TIMEOUT)
        except PosemeshError:
            # A stuck callback, or a node that was started before a fork. There is no caller to report it to.
            pass
