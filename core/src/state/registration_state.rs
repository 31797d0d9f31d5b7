//! The state in the form that programs exchange.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorCode, Result};
use crate::status::State;

/// The status text of a node that is trying to register.
pub const STATUS_REGISTERING: &str = State::Registering.name();
/// The status text of a registered node.
pub const STATUS_REGISTERED: &str = State::Registered.name();
/// The status text of a node that is not registered and has not tried yet.
pub const STATUS_DISCONNECTED: &str = State::Disconnected.name();

/// The state as programs exchange it: `{"status": "…", "last_healthcheck": <unix seconds> | null}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegistrationState {
    /// [`STATUS_DISCONNECTED`], [`STATUS_REGISTERING`] or [`STATUS_REGISTERED`].
    pub status: String,
    /// When DDS last probed `/health`.
    #[serde(default, with = "chrono::serde::ts_seconds_option")]
    pub last_healthcheck: Option<DateTime<Utc>>,
}

impl Default for RegistrationState {
    fn default() -> Self {
        Self { status: STATUS_DISCONNECTED.into(), last_healthcheck: None }
    }
}

pub(crate) fn parse_status(status: &str) -> Result<State> {
    State::from_name(status).ok_or_else(|| {
        Error::new(
            ErrorCode::InvalidArgument,
            format!("status {status:?} is none of disconnected, registering, registered"),
        )
    })
}
