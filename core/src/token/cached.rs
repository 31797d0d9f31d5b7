//! The token that a node has at hand, and for how long it is usable.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::access_token::AccessToken;
use crate::backoff::random_fraction;
use crate::node_id::NodeId;
use crate::secret::Secret;

/// A token is not handed out in the last tenth of its life, but that tenth counts as at most this long: the token
/// must still be valid when it reaches the service, and the whole seconds of `Date` hide that much clock skew.
const MAX_MARGIN: Duration = Duration::from_secs(10);

/// A token, and for how long it may be handed out.
pub(crate) struct CachedToken {
    pub(super) token: AccessToken,
    /// When it arrived, by both clocks: the monotonic one stands still while a machine sleeps, and the other one
    /// can be set. The token is usable as long as both say so.
    pub(super) received: Instant,
    pub(super) received_at: SystemTime,
    pub(super) lifetime: Duration,
    node_id: Option<NodeId>,
}

impl CachedToken {
    /// `node_id` is what DDS says about the owner of the token. Without it, the claim of this name in the token counts.
    pub(crate) fn new(token: AccessToken, lifetime: Duration, node_id: Option<NodeId>) -> Self {
        let claim = || token.claims()?.get("node_id")?.as_str()?.parse().ok();
        let node_id = node_id.or_else(claim);
        Self { token, received: Instant::now(), received_at: SystemTime::now(), lifetime, node_id }
    }

    /// For how long it may still be handed out, or `None` if it may not.
    #[inline]
    pub(super) fn usable_for(&self, now: Instant, clock: SystemTime) -> Option<Duration> {
        let usable = self.lifetime - (self.lifetime / 10).min(MAX_MARGIN);
        // A clock that was set back says nothing about the age.
        let age = clock.duration_since(self.received_at).unwrap_or_default();
        let age = age.max(now.saturating_duration_since(self.received));
        usable.checked_sub(age).filter(|left| !left.is_zero())
    }

    /// The token, if it may still be handed out.
    #[inline]
    pub(crate) fn if_usable(&self) -> Option<&AccessToken> {
        self.usable_for(Instant::now(), SystemTime::now()).map(|_| &self.token)
    }

    /// The token and for how long it may still be handed out.
    pub(crate) fn if_usable_for(&self) -> Option<(AccessToken, Duration)> {
        let usable_for = self.usable_for(Instant::now(), SystemTime::now())?;
        Some((self.token.clone(), usable_for))
    }

    /// The node that the token is for, as far as DDS or the token says.
    pub(crate) fn node_id(&self) -> Option<NodeId> {
        self.node_id
    }

    pub(crate) fn secret(&self) -> &Secret {
        self.token.secret()
    }

    pub(crate) fn expires_at(&self) -> SystemTime {
        self.token.expires_at()
    }

    /// In seconds since 1970 (UTC).
    pub(crate) fn expires_at_unix(&self) -> Option<u64> {
        let since_1970 = self.expires_at().duration_since(SystemTime::UNIX_EPOCH);
        since_1970.ok().map(|time| time.as_secs())
    }

    /// About three quarters of its life. The jitter spreads the refreshes of nodes that started together.
    pub(crate) fn refresh_in(&self) -> Duration {
        self.lifetime.mul_f64(0.7 + 0.1 * random_fraction())
    }
}
