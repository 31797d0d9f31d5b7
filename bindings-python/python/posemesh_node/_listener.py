"""What may listen to events."""

from __future__ import annotations

import inspect
from typing import Any


def check_listener(listener: Any) -> None:
    """Raise TypeError for what would never hear an event."""
    if not callable(listener):
        raise TypeError(f"listener must be callable, not {type(listener).__name__}")
    for function in (listener, type(listener).__call__):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"listener must not be async: {listener!r} would not be awaited; follow AsyncNode.events()")
        if inspect.isgeneratorfunction(function):
            raise TypeError(f"listener must not be a generator function: the body of {listener!r} would not run")
