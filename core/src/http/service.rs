//! What a server of a node serves.

use std::error::Error;

use hyper::Request;
use hyper::body::Body;

use super::admin::Admin;
use super::routes::{Callback, Response, route};
use super::warnings::Warnings;

/// What a server of a node serves.
pub(crate) enum Service {
    /// What DDS calls.
    Callback(Callback),
    /// What the operators of the node call.
    Admin(Admin),
}

impl Service {
    pub(super) async fn respond<B>(&self, request: Request<B>) -> Response
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        match self {
            Self::Callback(callback) => route(callback, request).await,
            Self::Admin(admin) => admin.respond(&request),
        }
    }

    pub(super) fn warnings(&self) -> &Warnings {
        match self {
            Self::Callback(callback) => &callback.warnings,
            Self::Admin(admin) => &admin.warnings,
        }
    }

    /// How messages name its server.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Callback(_) => "callback server",
            Self::Admin(_) => "admin server",
        }
    }
}

impl From<Callback> for Service {
    fn from(callback: Callback) -> Self {
        Self::Callback(callback)
    }
}

impl From<Admin> for Service {
    fn from(admin: Admin) -> Self {
        Self::Admin(admin)
    }
}
