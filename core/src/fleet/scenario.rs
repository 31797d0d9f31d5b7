//! What is simulated: how DDS is when it is back, and when nodes make their next attempt.

use std::time::Duration;

/// How DDS is when it is back. All nodes have started at the same moment, while DDS was away.
///
/// It never answers more than two even spreads in a second: the others get 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// It answers everything.
    Away,
    /// It answers everything, and knows no node. Before, all nodes were registered and held tokens of five minutes.
    Forgetful,
    /// It also limits requests: in each window of five minutes it answers three quarters of those that all nodes need, and the
    /// others get 429 with a `Retry-After` that names the end of the window.
    Limiting,
    /// Each second it answers half of an even spread. The others get 503.
    Half,
}

/// When a node makes its next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// That of this library.
    Ours,
    /// That of version 0.2.1: 2, 4, 8… and at most 60 seconds, ±20 %. `Retry-After` is not read.
    Predecessor,
    /// Between zero and the pause of the predecessor, at random. `Retry-After` is a lower limit.
    FullJitter,
    /// Every 120 seconds, with up to three tries, two seconds apart.
    Sdk,
}

/// All scenarios.
pub const SCENARIOS: [Scenario; 4] =
    [Scenario::Away, Scenario::Forgetful, Scenario::Limiting, Scenario::Half];
/// All policies.
pub const POLICIES: [Policy; 4] = [Policy::Ours, Policy::Predecessor, Policy::FullJitter, Policy::Sdk];

/// How long DDS is away.
pub(super) const OUTAGE: Duration = Duration::from_secs(600);
/// Before it, in [`Scenario::Forgetful`]: long enough that all nodes have refreshed their first token.
pub(super) const BEFORE: Duration = Duration::from_secs(600);
/// In that scenario nodes start over this time.
pub(super) const ROLLOUT: Duration = Duration::from_secs(300);
pub(super) const TOKEN_LIFETIME: Duration = Duration::from_secs(300);
/// An even spread lasts as long as the longest pause between two attempts, because a node may have begun such a pause
/// right before DDS was back.
pub(super) const SPREAD: Duration = Duration::from_secs(60);
/// The end of a simulation in which not enough nodes register.
pub(super) const LIMIT: Duration = Duration::from_secs(3600);

/// What DDS has received from its return until 99 % of the nodes were registered.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The most requests in one second, as a multiple of an even spread.
    pub peak: f64,
    /// When 99 % were registered, after the return. `None` if that took more than an hour.
    pub registered: Option<Duration>,
    /// Requests for each node.
    pub requests: f64,
}

impl Scenario {
    /// The requests that a node needs if none fails: a challenge and a hand-in; for a token that DDS refuses, and for the
    /// next one, a challenge and a sign-in each.
    pub(super) fn needed(self) -> usize {
        if self.has_tokens() { 6 } else { 2 }
    }

    pub(super) fn has_tokens(self) -> bool {
        self == Self::Forgetful
    }
}
