"""The library's log records, in ``logging.getLogger("posemesh_node")``."""

from __future__ import annotations

import logging

from . import _native

# The native half keeps debug records to itself as long as nobody wants them.
_debug: bool | None = None


def install() -> None:
    """Send records to ``logging``. Again in a forked child, where the native half starts afresh."""
    global _debug
    _debug = None
    _follow_level()


def _follow_level() -> None:
    """Tell the native half whether debug records are wanted.

    ``logging`` does not say when a level changes, so this is asked with each record that crosses, and those
    above debug always do.
    """
    global _debug
    debug = logging.getLogger("posemesh_node").isEnabledFor(logging.DEBUG)
    if debug != _debug:
        _debug = debug
        _native.set_log_callback(debug, _handle)


def _handle(level: int, name: str, created: float, dropped: int, message: str) -> None:
    """Hand one record over, on the dispatcher thread."""
    _follow_level()
    logger = logging.getLogger(name)
    if not logger.isEnabledFor(level):
        return
    if dropped:
        message = f"{message} ({dropped} records before this one were lost)"
    record = logger.makeRecord(name, level, "(posemesh_node)", 0, message, (), None)
    # It was written on another thread, a little earlier.
    record.relativeCreated -= (record.created - created) * 1000
    record.created = created
    record.msecs = created % 1 * 1000
    logger.handle(record)
