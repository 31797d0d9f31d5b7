"""The library's log records, in ``logging.getLogger("posemesh_node")``.

A logger decides whether to keep a record when it arrives, because levels may change at any time, and ``logging`` has no
public notification for that. Records are few. A registered node writes none until something happens.
"""

from __future__ import annotations

import logging

from . import _native


def install() -> None:
    """Send records to ``logging``. Needed again in a forked child, where the native half starts afresh."""
    _native.set_log_callback(_handle)


def _handle(level: int, name: str, created: float, dropped: int, message: str) -> bool:
    """Pass one record to its logger, on the dispatcher thread. Returns whether the logger kept it."""
    logger = logging.getLogger(name)
    if not logger.isEnabledFor(level):
        return False
    if dropped:
        message = f"{message} ({dropped} earlier records were dropped)"
    record = logger.makeRecord(name, level, "(posemesh_node)", 0, message, (), None)
    # It was written a little earlier, on another thread.
    record.relativeCreated -= (record.created - created) * 1000
    record.created = created
    record.msecs = created % 1 * 1000
    logger.handle(record)
    return True
