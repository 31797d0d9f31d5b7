"""What a node is doing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from ._errors import PosemeshError

__all__ = ["Role", "State", "Status"]


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


class Role(str, Enum):
    """Which part a node has among the processes that share its ``state_dir``."""

    LEADER = "leader"
    """It registers and has the callback server. Without a ``state_dir`` every node does."""

    FOLLOWER = "follower"
    """Another process does, and this node shows what that one has. It takes over when that one ends."""

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

    role: Role
    """Which part the node has among the processes that share its ``state_dir``."""

    persistence_error: PosemeshError | None = field(compare=False)
    """Why the state cannot be kept in ``state_dir`` at present; the node goes on in memory meanwhile."""

    token_expires_at: datetime | None
    """When the access token that is held expires (UTC, to the second, by DDS's clock)."""

    sign_in_failures: int
    """Sign-ins for an access token that failed since the last success."""

    clock_skew: timedelta
    """How far DDS's clock is ahead of this machine's; negative when it is behind.

    DDS tells its time in whole seconds: this is zero as long as nothing contradicts that.
    """

    callback_overdue: bool = False
    """Whether DDS has not called the callback server within a minute of the registration.

    DDS calls only a node whose URL it knows and can reach.
    """
