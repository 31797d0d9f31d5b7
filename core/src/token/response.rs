//! The response of DDS to a sign-in, and which ones are accepted.

use std::time::SystemTime;

use serde::{Deserialize, Deserializer};

use super::access_token::AccessToken;
use super::cached::CachedToken;
use crate::node_id::NodeId;
use crate::rfc3339;
use crate::secret::Secret;

/// A longer token is rejected.
pub(super) const MAX_TOKEN: usize = 8192;

/// The response of DDS to a sign-in. Missing fields are found by [`TokenResponse::check`].
#[derive(Deserialize)]
pub(crate) struct TokenResponse {
    node_id: Option<String>,
    robot_id: Option<String>,
    wallet: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    access_token: Option<Secret>,
    access_expires_at: Option<String>,
    /// The name of `access_expires_at` in older responses.
    expires_at: Option<String>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

/// The node that a token must be for.
pub(crate) struct Holder<'a> {
    pub(crate) wallet: &'a str,
    /// The id in the registration credentials, if they hold one.
    pub(crate) node_id: Option<NodeId>,
}

impl TokenResponse {
    /// Returns the token of a node with a wallet, or why it is rejected; the reasons never repeat it. `now` is by DDS's
    /// clock.
    pub(crate) fn check(self, holder: &Holder<'_>, now: SystemTime) -> Result<CachedToken, String> {
        if self.wallet.as_ref().is_some_and(|theirs| !theirs.eq_ignore_ascii_case(holder.wallet)) {
            return Err(format!("wallet is not {}", holder.wallet));
        }
        if let Some(node_id) = holder.node_id
            && self.node_id.as_ref().is_some_and(|theirs| theirs.parse() != Ok(node_id))
        {
            return Err(format!("node_id is not {node_id}, which the credentials name"));
        }
        let node_id = self.node_id.as_deref().and_then(|id| id.parse().ok());
        self.token(node_id, now)
    }

    /// As [`TokenResponse::check`], for the token of a robot, whose id DDS must name.
    pub(crate) fn check_robot(self, now: SystemTime) -> Result<CachedToken, String> {
        let id = self.robot_id.as_ref().ok_or("robot_id is missing")?;
        let id: NodeId = id.parse().map_err(|error| format!("robot_id is {error}"))?;
        self.token(Some(id), now)
    }

    fn token(self, node_id: Option<NodeId>, now: SystemTime) -> Result<CachedToken, String> {
        let value = self.access_token.ok_or("access_token is missing")?;
        let length = value.expose().len();
        if !(1..=MAX_TOKEN).contains(&length) {
            return Err(format!("access_token has {length} bytes, not 1 to {MAX_TOKEN}"));
        }
        if !value.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("access_token has characters other than visible ASCII".into());
        }
        let expires_at = self.access_expires_at.or(self.expires_at).ok_or("access_expires_at is missing")?;
        let expires_at = rfc3339::parse(&expires_at).ok_or("access_expires_at is not an RFC 3339 time")?;
        let expires_at = SystemTime::UNIX_EPOCH + expires_at;
        let lifetime = expires_at.duration_since(now).unwrap_or_default();
        if lifetime.is_zero() {
            return Err("access_expires_at is not in the future".into());
        }
        Ok(CachedToken::new(AccessToken::new(value, expires_at), lifetime, node_id))
    }
}
