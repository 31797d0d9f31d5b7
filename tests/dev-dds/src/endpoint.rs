//! The three requests a node makes.

use hyper::Method;
use serde::{Deserialize, Serialize};

/// One of the three requests of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /internal/v1/auth/siwe/request`: a challenge to sign.
    Challenge,
    /// `POST /internal/v1/nodes/register-wallet`: the registration.
    Register,
    /// `POST /internal/v1/auth/siwe/verify`: an access token.
    Verify,
}

impl Endpoint {
    /// The path of this endpoint.
    pub fn path(self) -> &'static str {
        match self {
            Self::Challenge => "/internal/v1/auth/siwe/request",
            Self::Register => "/internal/v1/nodes/register-wallet",
            Self::Verify => "/internal/v1/auth/siwe/verify",
        }
    }

    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        [Self::Challenge, Self::Register, Self::Verify]
            .into_iter()
            .find(|endpoint| method == Method::POST && path == endpoint.path())
    }
}
