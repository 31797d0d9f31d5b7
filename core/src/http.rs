//! The callback server: where DDS sends the node secret and probes the node's health.
//!
//! `routes` decide what becomes of a request, for a node's own server and for an application of the host's.
//! `server` holds the listener and its connections, and closes some when there are too many.

use std::sync::Arc;

use axum::Router;
use serde::Deserialize;

use crate::state::default_store::default_store;

mod connection;
mod routes;
mod server;
mod warnings;

pub(crate) use routes::Callback;
#[cfg(feature = "fuzzing")]
pub(crate) use routes::route;
pub(crate) use server::Server;

/// The state of [`router_dds`]: the process-wide default store that [`crate::state`]'s functions read.
#[derive(Clone)]
pub struct DdsState;

/// The body of DDS's callback. Unknown fields are ignored.
#[derive(Deserialize)]
pub struct RegistrationCallbackRequest {
    /// The node's id.
    pub id: String,
    /// The node secret.
    pub secret: String,
    /// The organization that the node belongs to.
    pub organization_id: Option<String>,
    /// Lighthouses in the node's domains; not used here.
    pub lighthouses_in_domains: Option<serde_json::Value>,
    /// The node's domains; not used here.
    pub domains: Option<serde_json::Value>,
}

impl std::fmt::Debug for RegistrationCallbackRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrationCallbackRequest")
            .field("id", &self.id)
            .field("secret", &"[redacted]")
            .field("organization_id", &self.organization_id)
            .finish_non_exhaustive()
    }
}

/// The routes that DDS calls, to merge into an axum application of the host's: `POST
/// /internal/v1/registrations` and `GET /health`.
///
/// They act on the process-wide default store. They accept a secret at any time, and the last secret wins.
pub fn router_dds(_state: DdsState) -> Router {
    routes::router(Callback::new(Arc::clone(default_store()), None, None))
}
