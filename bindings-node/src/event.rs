//! What a node tells its JavaScript object.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use napi_derive::napi;
use posemesh_node_registration::event::{Event, EventKind};

use crate::error::Failure;

/// A message to the JavaScript object of a node. `at` is in milliseconds since 1970 (UTC); `dropped` counts
/// the events that were lost just before this one.
#[napi(discriminant = "type", discriminant_case = "camelCase", object_from_js = false, use_nullable = true)]
pub enum Message {
    /// The node moved from one state to another.
    Status {
        /// The state before.
        #[napi(ts_type = "import('./status.js').State")]
        from: &'static str,
        /// The state now.
        #[napi(ts_type = "import('./status.js').State")]
        to: &'static str,
        /// When.
        at: f64,
        /// Events lost before.
        dropped: i64,
    },
    /// DDS sent a new secret.
    Secret {
        /// 1 for the first one.
        version: i64,
        /// When.
        at: f64,
        /// Events lost before.
        dropped: i64,
    },
    /// A registration attempt failed.
    AttemptFailed {
        /// Why.
        error: Failure,
        /// The time until the next attempt.
        retry_in_ms: i64,
        /// When.
        at: f64,
        /// Events lost before.
        dropped: i64,
    },
    /// DDS probed the node.
    Healthcheck {
        /// When.
        at: f64,
        /// Events lost before.
        dropped: i64,
    },
    /// A new access token is held.
    TokenRefreshed {
        /// When it expires, in milliseconds since 1970 (UTC).
        expires_at: f64,
        /// When.
        at: f64,
        /// Events lost before.
        dropped: i64,
    },
    /// DDS does not know the node any more.
    RegistrationLost {
        /// How that was noticed.
        reason: String,
        /// When.
        at: f64,
        /// Events lost before.
        dropped: i64,
    },
    /// A wait is over.
    Waited {
        /// What `beginWait` returned.
        wait: u32,
        /// Why it failed, if it did.
        error: Option<Failure>,
    },
    /// The node was stopped: no message follows.
    Closed,
}

impl Message {
    /// `None` for an event of a later core that this addon does not know.
    pub(crate) fn from_event(event: &Event, dropped: i64) -> Option<Self> {
        let at = unix_millis(event.at);
        Some(match &event.kind {
            EventKind::StatusChanged { from, to } => {
                Self::Status { from: from.name(), to: to.name(), at, dropped }
            }
            EventKind::SecretChanged { version } => {
                Self::Secret { version: i64::try_from(*version).unwrap_or(i64::MAX), at, dropped }
            }
            EventKind::AttemptFailed { code, message, retry_in } => Self::AttemptFailed {
                error: Failure { code: code.name(), message: message.clone() },
                retry_in_ms: whole_millis(*retry_in),
                at,
                dropped,
            },
            EventKind::Healthcheck => Self::Healthcheck { at, dropped },
            EventKind::TokenRefreshed { expires_at } => {
                Self::TokenRefreshed { expires_at: unix_millis(*expires_at), at, dropped }
            }
            EventKind::RegistrationLost { reason } => {
                Self::RegistrationLost { reason: reason.clone(), at, dropped }
            }
            _ => return None,
        })
    }
}

/// Milliseconds since 1970, as `Date` takes them.
pub(crate) fn unix_millis(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| (since.as_secs_f64() * 1000.0).floor())
}

/// Whole milliseconds, as the C header has them.
pub(crate) fn whole_millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
