"""What a node has done and is doing, and whether it is ready."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from ._status import Role, State

__all__ = [
    "Callbacks",
    "DdsEndpoints",
    "DdsRequests",
    "Metrics",
    "Readiness",
    "RegistrationAttempts",
    "RegistrationsLost",
    "SignIns",
]


class Readiness(NamedTuple):
    """Whether a node is ready, and why not. In an ``if`` it is true when the node is ready."""

    ready: bool
    """Whether the node is ready."""

    reason: str
    """What a ready node has, or why the node is not ready, for people. It may contain text that DDS sent."""

    def __bool__(self) -> bool:
        return self.ready


@dataclass(frozen=True)
class RegistrationAttempts:
    """How the attempts to register ended."""

    success: int
    """DDS registered the node."""

    conflict: int
    """Another online node has the wallet."""

    rejected: int
    """DDS refused the registration."""

    unavailable: int
    """DDS could not be reached or did not send a valid response."""

    cancelled: int
    """``rearm`` was called during the attempt, so the attempt does not count."""


@dataclass(frozen=True)
class RegistrationsLost:
    """How the node noticed that DDS no longer knew it."""

    unknown_node: int
    """DDS did not know the node when it signed in."""

    probes_stopped: int
    """DDS stopped probing the node. See ``healthcheck_ttl_secs``."""


@dataclass(frozen=True)
class Callbacks:
    """The callbacks of DDS, by what became of them."""

    accepted: int
    """The callback had a new secret."""

    unchanged: int
    """The callback had the secret that the node already has."""

    not_waiting: int
    """It was refused with 409, because no registration waited for it."""

    forbidden: int
    """It was refused with 403: this registration already has another secret, or the callback was for another node."""

    malformed: int
    """It was refused because it is not a callback: too large, too slow, not JSON, or without its fields."""


@dataclass(frozen=True)
class SignIns:
    """How the sign-ins for an access token ended."""

    success: int
    """DDS issued a token."""

    rejected: int
    """DDS refused the sign-in."""

    unknown_node: int
    """DDS did not know the node, which then registers again."""

    unavailable: int
    """DDS could not be reached or did not send a valid response."""


@dataclass(frozen=True)
class DdsRequests:
    """The requests to one endpoint of DDS."""

    success: int
    """DDS did what it was asked for."""

    rejected: int
    """DDS refused it."""

    unavailable: int
    """DDS could not be reached or did not send a valid response."""

    seconds: float
    """How many seconds all of them together took."""


@dataclass(frozen=True)
class DdsEndpoints:
    """The requests to DDS, by endpoint."""

    challenge: DdsRequests
    """Requests for a challenge to sign."""

    register: DdsRequests
    """Registrations: with a wallet, as a robot, or of a URL."""

    verify: DdsRequests
    """Sign-ins for an access token: with a wallet, or as a robot."""


@dataclass(frozen=True)
class Metrics:
    """The metrics of a node. The counters begin with 0 at its start, and count what this process has done."""

    state: State
    """The registration state."""

    role: Role
    """The role of this process among those that share the node's state."""

    has_secret: bool
    """Whether DDS has sent a secret."""

    persistence_failing: bool
    """Whether the state cannot be written to ``state_dir`` or ``state_url``, or followed there, at present."""

    registration_consecutive_failures: int
    """Attempts to register that have failed since the last success."""

    sign_in_consecutive_failures: int
    """Sign-ins for an access token that have failed since the last success."""

    clock_skew: timedelta
    """How far DDS's clock is ahead of this machine's. Negative if it is behind."""

    registered_at: datetime | None
    """When DDS last confirmed a registration (UTC, to the second)."""

    last_probe_at: datetime | None
    """When DDS last probed the node (UTC, to the second)."""

    next_attempt_at: datetime | None
    """When the next attempt to register is due, while the node waits for one (UTC, to the second)."""

    token_expires_at: datetime | None
    """When the access token that the node holds expires (UTC, to the second, by DDS's clock)."""

    registration_attempts: RegistrationAttempts
    """How the attempts to register ended."""

    registrations_lost: RegistrationsLost
    """How the node noticed that DDS no longer knew it."""

    callbacks: Callbacks
    """The callbacks of DDS, by what became of them. Only the leader counts them."""

    health_probes: int
    """How often DDS has probed the node."""

    sign_ins: SignIns
    """How the sign-ins for an access token ended."""

    dds: DdsEndpoints
    """The requests to DDS, by endpoint."""

    events_dropped: int
    """Events that were dropped because a listener was too slow."""
