"""What a node is doing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from ._errors import PosemeshError

__all__ = ["State", "Status"]


class State(str, Enum):
    """Where a node stands with DDS."""

    DISCONNECTED = "disconnected"
    """Not registered, and no attempt made yet since the start or the last re-arm."""

    REGISTERING = "registering"
    """Trying to register."""

    REGISTERED = "registered"
    """Registered: there is nothing to do until the node is re-armed."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Status:
    """A picture of a node at one moment."""

    state: State
    """Where the node stands with DDS."""

    running: bool
    """False once the node was stopped."""

    has_secret: bool
    """Whether DDS has sent a secret; ``read_secret`` gives it out."""

    secret_version: int
    """How many different secrets DDS has sent so far."""

    last_healthcheck: datetime | None
    """When DDS last probed the callback server (UTC, to the second)."""

    registered_at: datetime | None
    """When DDS last confirmed a registration (UTC, to the second)."""

    attempts: int
    """Registration attempts since the start."""

    consecutive_failures: int
    """Attempts that failed since the last success."""

    last_error: PosemeshError | None = field(compare=False)
    """What the last attempt failed with, in DDS's own words; None after a success."""

    next_attempt_in: float | None
    """Seconds until the next attempt, while the node waits for one."""
