//! The servers of a node: the callback server, where DDS sends the node secret and probes the node's health, and the
//! admin server, where operators read its health and its metrics.
//!
//! | file | owns |
//! |---|---|
//! | `access` | who may call a node's own server |
//! | `body` | the body of a callback |
//! | `routes` | which requests are accepted, and the responses |
//! | `mounted` | the routes in a server of the host |
//! | `admin` | what operators call |
//! | `service` | what a node's own server serves: the routes, or `admin` |
//! | `connection` | one connection to a node's own server |
//! | `wakes` | wake-ups that a connection does without |
//! | `server` | the listener, its connections, and their bound |
//! | `tls` | handshakes, and certificates that are replaced while the server runs |
//! | `tls_files` | the files of the certificate and the key |
//! | `warnings` | warnings that any peer can cause |

use std::sync::Arc;

use axum::Router;

use crate::state::default_store::default_store;

mod access;
mod admin;
mod body;
mod connection;
mod mounted;
mod routes;
mod server;
mod service;
mod tls;
mod tls_files;
mod wakes;
mod warnings;

pub(crate) use access::Access;
pub(crate) use admin::Admin;
pub(crate) use body::MAX_BODY;
pub use body::{CallbackBody, RegistrationCallbackRequest};
pub(crate) use mounted::{Mounted, router};
pub use routes::Response;
#[cfg(feature = "fuzzing")]
pub(crate) use routes::route;
pub(crate) use routes::{Callback, PATHS, respond_without_node, unavailable};
pub(crate) use server::Server;
pub(crate) use tls::Tls;

/// The state of [`router_dds`]: the process-wide default store that [`crate::state`]'s functions read.
#[derive(Clone)]
pub struct DdsState;

/// The routes that DDS calls, to merge into an axum application of the host: `POST /internal/v1/registrations` and
/// `GET /health`.
///
/// They act on the process-wide default store. They accept a secret at any time, and the last secret wins.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use posemesh_node_registration::http::{DdsState, router_dds};
///
/// let app: Router = Router::new().route("/jobs", get(async || "none")).merge(router_dds(DdsState));
/// ```
pub fn router_dds(_state: DdsState) -> Router {
    routes::router(Callback::new(Arc::clone(default_store()), None, None))
}
