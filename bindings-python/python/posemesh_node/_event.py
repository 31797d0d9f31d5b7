"""The events of a node."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from ._error import PosemeshError
from ._status import State

__all__ = [
    "AttemptFailed",
    "Event",
    "HealthChecked",
    "RegistrationLost",
    "SecretChanged",
    "StatusChanged",
    "TokenRefreshed",
]


@dataclass(frozen=True)
class StatusChanged:
    """The state of the node changed."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """How many events were dropped just before this one because the receiver was too slow."""

    previous: State
    """The state before."""

    state: State
    """The state now."""


@dataclass(frozen=True)
class SecretChanged:
    """DDS sent a new secret. ``read_secret`` returns it."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """How many events were dropped just before this one because the receiver was too slow."""

    version: int
    """1 for the first secret, then one more for each new one."""


@dataclass(frozen=True)
class AttemptFailed:
    """A registration attempt failed. The node retries by itself."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """How many events were dropped just before this one because the receiver was too slow."""

    error: PosemeshError
    """A RejectedError or an UnavailableError, with the text that DDS sent."""

    retry_in: float
    """Seconds until the next attempt."""


@dataclass(frozen=True)
class HealthChecked:
    """DDS probed the callback server."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """How many events were dropped just before this one because the receiver was too slow."""


@dataclass(frozen=True)
class TokenRefreshed:
    """The node received a new access token. ``access_token`` returns it."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """How many events were dropped just before this one because the receiver was too slow."""

    expires_at: datetime
    """When the token expires (UTC, by DDS's clock)."""


@dataclass(frozen=True)
class RegistrationLost:
    """DDS no longer knows the node. The node registers again by itself."""

    at: datetime
    """When it happened (UTC)."""

    dropped: int
    """How many events were dropped just before this one because the receiver was too slow."""

    reason: str
    """How the node noticed, with the text that DDS sent."""


Event: TypeAlias = StatusChanged | SecretChanged | AttemptFailed | HealthChecked | TokenRefreshed | RegistrationLost
"""Any event of a node."""

Listener = TypeVar("Listener", bound=Callable[[Event], object])


def check_listener(listener: Any) -> None:
    """Raise TypeError for a listener that could not handle an event when it is called."""
    if not callable(listener):
        raise TypeError(f"listener must be callable, not {type(listener).__name__}")
    for function in (listener, type(listener).__call__):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"listener must not be async, because {listener!r} would not be awaited; iterate over AsyncNode.events()"
            )
        if inspect.isgeneratorfunction(function):
            raise TypeError(
                f"listener must not be a generator function, because the body of {listener!r} would not run"
            )
