"""The library's log records, in ``logging.getLogger("posemesh_node")``.

A record crosses from the native half into Python only when somebody wants it. Two things make that so:

- As long as nobody has imported ``logging``, nobody has set a level or a handler, and only warnings show. This module
  does not import it before there is one: that takes longer than all the rest of a start. It asks with the first
  records whether somebody has by then; a program that lives for more than those is spared the asking, and gets
  ``logging`` imported on the library's own thread.
- A logger keeps which levels are enabled, and ``logging`` makes it forget whenever the level of any logger changes.
  The loggers of this package say so to the native half. From then on all records cross, until the first of them has
  brought along which ones are wanted now.
"""

from __future__ import annotations

import sys

from . import _native

TYPE_CHECKING = False  # without importing `typing`
if TYPE_CHECKING:
    import logging

_NAME = "posemesh_node"

# As `logging` has them.
_ALL, _INFO, _WARNING = 0, 20, 30

_PATIENCE = 4
"""Records for which nobody has imported ``logging``, until it is imported for the sake of the next ones. One
registration has three: it is made, a secret comes, the node stops."""

_unheard = 0
_changes = 0
"""How often a level may have changed."""

_followed: int | None = None
"""The changes that the native half knows of; None: it knows nothing of ``logging``."""


def install() -> None:
    """Send records to ``logging``. Again in a forked child, where the native half starts afresh."""
    global _followed
    _followed = None
    if "logging" in sys.modules:
        _follow()
    else:
        _native.set_log_callback(_INFO, _handle)


def _handle(level: int, name: str, created: float, dropped: int, message: str) -> None:
    """Hand one record over, on the dispatcher thread."""
    global _unheard
    if level < _WARNING and "logging" not in sys.modules and _unheard < _PATIENCE:
        _unheard += 1
        return
    import logging

    if _followed != _changes:
        _follow()
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


def _follow() -> None:
    """Tell the native half which records are wanted."""
    global _followed
    if _followed is None:
        from ._exit import come_before_logging

        come_before_logging()
    while _followed != _changes:
        # Before the levels are read: a change in between has this done once more.
        changes = _changes
        _native.set_log_callback(_wanted_level(), _handle)
        _followed = changes


def _wanted_level() -> int:
    """The lowest level that one of the package's loggers takes; all levels, if they have to be asked each time."""
    import logging

    logger = logging.getLogger(_NAME)
    family = [logger]
    for name, other in list(logger.manager.loggerDict.items()):
        if name.startswith(f"{_NAME}.") and isinstance(other, logging.Logger):
            family.append(other)
    # A class of the host's may decide in a way of its own.
    if not _tells_of_changes(logger) or any(
        type(each).isEnabledFor is not logging.Logger.isEnabledFor for each in family
    ):
        return _ALL
    return max(logger.manager.disable + 1, min(each.getEffectiveLevel() for each in family))


def _tells_of_changes(logger: logging.Logger) -> bool:
    """Have the logger tell when a level changes, if it works as expected."""
    # Each logger keeps its own, and all are cleared at once.
    levels = vars(logger).get("_cache")
    if type(levels) is dict:
        levels = vars(logger)["_cache"] = _EnabledLevels()
    return isinstance(levels, _EnabledLevels)


class _EnabledLevels(dict[int, bool]):
    """What a logger keeps of its levels. ``logging`` clears it, in any thread, when the level of a logger changes."""

    def clear(self) -> None:
        global _changes
        super().clear()
        known = _followed == _changes
        _changes += 1
        # Not which ones are wanted now: the lock of `logging` is held here.
        if known:
            _native.set_log_callback(_ALL, _handle)
