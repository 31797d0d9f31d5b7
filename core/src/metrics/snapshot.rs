//! The metrics of a node at one moment.

use std::time::{SystemTime, UNIX_EPOCH};

use super::counters::{Callbacks, DdsEndpoints, RegistrationAttempts, RegistrationsLost, SignIns};
use crate::state::store::Store;
use crate::status::{Role, State};

/// The metrics of a node. The counters start at 0 with the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// The state of the node.
    pub state: State,
    /// The role of this process among those that share the node's state.
    pub role: Role,
    /// Whether the node holds a secret.
    pub has_secret: bool,
    /// Whether the state can neither be saved nor followed at present. See
    /// [`Node::persistence_error`](crate::Node::persistence_error).
    pub persistence_failing: bool,
    /// Attempts to register that have failed since the last success.
    pub registration_consecutive_failures: u32,
    /// Sign-ins for an access token that have failed since the last success.
    pub sign_in_consecutive_failures: u32,
    /// How far the clock of DDS is ahead of this machine's, in milliseconds; negative when it is behind. See
    /// [`Status::clock_skew_ms`](crate::Status::clock_skew_ms).
    pub clock_skew_ms: i64,
    /// When DDS last confirmed a registration, in seconds since 1970 (UTC).
    pub registered_at: Option<u64>,
    /// When DDS last probed the node's health, in seconds since 1970 (UTC).
    pub last_probe_at: Option<u64>,
    /// When the next attempt to register is due, in seconds since 1970 (UTC); none while the registrar does not wait
    /// for one.
    pub next_attempt_at: Option<u64>,
    /// When the access token that the node holds expires, in seconds since 1970 (UTC); none without a token.
    pub token_expires_at: Option<u64>,
    /// How the attempts to register ended.
    pub registration_attempts: RegistrationAttempts,
    /// How the losses of a registration were detected.
    pub registrations_lost: RegistrationsLost,
    /// What became of the callbacks of DDS.
    pub callbacks: Callbacks,
    /// How often DDS has probed the node's health.
    pub health_probes: u64,
    /// How the sign-ins for an access token ended.
    pub sign_ins: SignIns,
    /// The requests to DDS.
    pub dds: DdsEndpoints,
    /// Events that no callback received because it was too slow.
    pub events_dropped: u64,
}

impl Metrics {
    pub(crate) fn of(store: &Store) -> Self {
        let (status, counters) = (store.status(), store.counters());
        Self {
            state: status.state,
            role: status.role,
            has_secret: status.has_secret,
            persistence_failing: status.persistence_error.is_some(),
            registration_consecutive_failures: status.consecutive_failures,
            sign_in_consecutive_failures: status.sign_in_failures,
            clock_skew_ms: status.clock_skew_ms,
            registered_at: status.registered_at,
            last_probe_at: status.last_healthcheck,
            next_attempt_at: status.next_attempt_in().map(|left| unix_seconds(SystemTime::now() + left)),
            token_expires_at: status.token_expires_at,
            registration_attempts: counters.registration_attempts.read(),
            registrations_lost: counters.registrations_lost.read(),
            callbacks: counters.callbacks.read(),
            health_probes: counters.health_probes(),
            sign_ins: counters.sign_ins.read(),
            dds: counters.dds_requests.read(),
            events_dropped: store.events().dropped(),
        }
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
