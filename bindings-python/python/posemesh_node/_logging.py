"""The library's log records, in ``logging.getLogger("posemesh_node")``.

Every record crosses into Python, where its logger decides: levels may change at any time, and ``logging`` has no
public way to be told. There are few records. A node that is registered writes none until something happens.
"""

from __future__ import annotations

import logging

from . import _native


def install() -> None:
    """Send records to ``logging``. Again in a forked child, where the native half starts afresh."""
    _native.set_log_callback(_handle)


def _handle(level: int, name: str, created: float, dropped: int, message: str) -> None:
    """Hand one record over, on the dispatcher thread."""
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
