//! Messages from a node to its JavaScript object.

use napi_derive::napi;
use posemesh_node_registration::event::{Event, EventKind};

use crate::error::Failure;
use crate::http::HttpResponse;
use crate::time::{unix_millis, whole_millis};

/// A message to the JavaScript object of a node. `at` is in milliseconds since 1970 (UTC). `dropped` is the number of
/// events that were dropped just before this one.
#[napi(discriminant = "type", discriminant_case = "camelCase", object_from_js = false, use_nullable = true)]
pub enum Message {
    /// The state of the node changed.
    Status {
        /// The state before.
        #[napi(ts_type = "'disconnected' | 'registering' | 'registered'")]
        previous: &'static str,
        /// The state now.
        #[napi(ts_type = "'disconnected' | 'registering' | 'registered'")]
        state: &'static str,
        /// When it happened.
        at: f64,
        /// Events dropped before.
        dropped: i64,
    },
    /// DDS sent a new secret.
    Secret {
        /// 1 for the first one.
        version: i64,
        /// When it happened.
        at: f64,
        /// Events dropped before.
        dropped: i64,
    },
    /// A registration attempt failed.
    AttemptFailed {
        /// Why.
        error: Failure,
        /// The time until the next attempt.
        retry_in_ms: i64,
        /// When it happened.
        at: f64,
        /// Events dropped before.
        dropped: i64,
    },
    /// DDS probed the node.
    Healthcheck {
        /// When it happened.
        at: f64,
        /// Events dropped before.
        dropped: i64,
    },
    /// The node received a new access token.
    TokenRefreshed {
        /// When it expires, in milliseconds since 1970 (UTC).
        expires_at: f64,
        /// When it happened.
        at: f64,
        /// Events dropped before.
        dropped: i64,
    },
    /// DDS no longer knows the node.
    RegistrationLost {
        /// How the node noticed.
        reason: String,
        /// When it happened.
        at: f64,
        /// Events dropped before.
        dropped: i64,
    },
    /// A wait ended.
    Waited {
        /// The number that `beginWait` returned.
        wait: u32,
        /// Why the wait failed, if it did.
        error: Option<Failure>,
    },
    /// A request of DDS that was pending has its response.
    Handled {
        /// The number that `handleRequest` returned.
        request: u32,
        /// The response; none if the request is not for this library.
        response: Option<HttpResponse>,
    },
    /// The node was stopped. No message follows.
    Closed,
}

impl Message {
    /// `None` for an event that this addon does not know.
    pub(crate) fn from_event(event: &Event, dropped: i64) -> Option<Self> {
        let at = unix_millis(event.at);
        Some(match &event.kind {
            EventKind::StatusChanged { previous, state } => {
                Self::Status { previous: previous.name(), state: state.name(), at, dropped }
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
