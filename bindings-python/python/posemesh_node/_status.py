"""What a node is doing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from ._error import PosemeshError

__all__ = ["Role", "State", "Status"]


class State(str, Enum):
    """The registration state of a node."""

    DISCONNECTED = "disconnected"
    """Not registered, and no attempt has been made since the start or the last re-arm."""

    REGISTERING = "registering"
    """Trying to register."""

    REGISTERED = "registered"
    """Registered. There is nothing to do until the node is re-armed."""

    def __str__(self) -> str:
        return self.value


class Role(str, Enum):
    """The role of a node among the processes that share its ``state_dir`` or ``state_url``."""

    LEADER = "leader"
    """It registers and runs the callback server. Without either, every node is a leader."""

    FOLLOWER = "follower"
    """Another process is the leader, and this node shows that one's state. It takes over when the leader ends."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Status:
    """A snapshot of a node."""

    state: State
    """The registration state."""

    running: bool
    """False once the node has been stopped."""

    has_secret: bool
    """Whether DDS has sent a secret. ``read_secret`` returns it."""

    secret_version: int
    """How many different secrets DDS has sent so far."""

    last_healthcheck: datetime | None
    """When DDS last probed the callback server (UTC, to the second)."""

    registered_at: datetime | None
    """When DDS last confirmed a registration (UTC, to the second)."""

    attempts: int
    """Registration attempts since the start."""

    consecutive_failures: int
    """Failed attempts since the last success."""

    last_error: PosemeshError | None = field(compare=False)
    """The error of the last attempt, with the text that DDS sent. None after a success."""

    next_attempt_in: float | None
    """Seconds until the next attempt, while the node waits for one."""

    role: Role
    """The role of the node among the processes that share its ``state_dir`` or ``state_url``."""

    persistence_error: PosemeshError | None = field(compare=False)
    """Why the state cannot be written to ``state_dir`` or shared through ``state_url`` at present."""

    token_expires_at: datetime | None
    """When the access token that the node holds expires (UTC, to the second, by DDS's clock)."""

    sign_in_failures: int
    """Sign-ins for an access token that have failed since the last success."""

    clock_skew: timedelta
    """How far DDS's clock is ahead of this machine's. Negative if it is behind.

    DDS sends its time in whole seconds, so this is zero as long as that explains the difference.
    """

    callback_overdue: bool = False
    """Whether DDS has not called the callback server within a minute of the registration.

    DDS calls a node only if it knows the node's URL and can reach it.
    """

    node_id: str | None = None
    """The id that DDS knows the node by: a UUID in lowercase. None as long as it is not known.

    It is in the registration credentials, unless they have another form; then it arrives with the access token. That of
    a robot arrives with its registration.
    """
