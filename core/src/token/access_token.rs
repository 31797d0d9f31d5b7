//! A token as callers receive it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::claims::claims;
use crate::secret::Secret;

/// An access token. Cloning it is cheap.
///
/// The text is zeroized when the last clone is dropped; `Debug` prints `[redacted]` in its place.
#[derive(Clone)]
pub struct AccessToken(Arc<Issued>);

struct Issued {
    value: Secret,
    expires_at: SystemTime,
}

impl AccessToken {
    pub(crate) fn new(value: Secret, expires_at: SystemTime) -> Self {
        Self(Arc::new(Issued { value, expires_at }))
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.0.value
    }

    /// The token itself, for an `Authorization: Bearer` header: 1 to 8192 visible ASCII characters. Do not log it.
    pub fn value(&self) -> &str {
        self.0.value.expose()
    }

    /// What the token says about the node, such as `node_id`, `organization_id`, `node_mode`, `capabilities`,
    /// `assigned_domain_id` or `max_concurrency`: the claims of a JWT (RFC 7519). `None` if it is not a JWT.
    ///
    /// They are read without verifying the signature. Use them as hints and never as proof.
    pub fn claims(&self) -> Option<Map<String, Value>> {
        claims(self.value())
    }

    /// When it expires, as DDS said it: by DDS's clock, which may differ from this machine's by
    /// [`clock_skew_ms`](crate::status::Status::clock_skew_ms).
    pub fn expires_at(&self) -> SystemTime {
        self.0.expires_at
    }
}

/// Compares the texts in constant time.
impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.value == other.0.value
    }
}

impl Eq for AccessToken {}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("value", &self.0.value)
            .field("expires_at", &self.0.expires_at)
            .finish()
    }
}
