//! How long to wait after a failure, and how often to log about it.

use std::time::Duration;

use rand::RngCore as _;
use rand::rngs::OsRng;
use tokio::time::Instant;

use crate::log::Level;

/// The longest pause between two attempts, before jitter.
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The longest `Retry-After` that is honoured.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
/// At most one warning of a kind is logged in this time. The others are logged at debug level.
const WARN_INTERVAL: Duration = Duration::from_secs(180);

/// The pause after this many consecutive failures, counted from 1: 2, 4, 8, 16, 32, and then 60 seconds. Jitter keeps
/// nodes that failed together from retrying together.
pub(crate) fn backoff(failures: u32) -> Duration {
    let pause = Duration::from_secs(2_u64.saturating_pow(failures)).min(MAX_BACKOFF);
    jitter(pause)
}

/// A pause that differs by up to 20 %, so that many nodes do not act at the same moment.
pub(crate) fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + 0.4 * random_fraction())
}

/// From 0 to 1. A half where the system has no random numbers, such as in a sandbox that forbids the call for them: a node
/// without jitter is better than none.
pub(crate) fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    match OsRng.try_fill_bytes(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

/// Returns `pause`, or a longer one that DDS asks for.
///
/// DDS may name one moment to many nodes. So that they do not all come at that moment, up to a fifth of the longer pause
/// is added to it, or up to `pause` if that is more, but at most [`MAX_BACKOFF`].
pub(crate) fn spread_at_least(pause: Duration, retry_after: Option<Duration>) -> Duration {
    let asked = at_least(pause, retry_after);
    if asked == pause {
        return pause;
    }
    let spread = (asked / 5).max(pause).min(MAX_BACKOFF);
    asked + spread.mul_f64(random_fraction())
}

/// Returns `pause`, or a longer one that DDS asks for.
pub(crate) fn at_least(pause: Duration, retry_after: Option<Duration>) -> Duration {
    pause.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// A token bucket: allows a burst, and then one per second.
#[derive(Debug, Default)]
pub(crate) struct BurstLimit {
    /// When a full burst is allowed again.
    idle_from: Option<Instant>,
}

impl BurstLimit {
    const BURST: u32 = 10;
    const INTERVAL: Duration = Duration::from_secs(1);

    /// Takes one token, or returns the time until there is one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let idle_from = self.idle_from.unwrap_or(now).max(now) + Self::INTERVAL;
        let wait = idle_from.saturating_duration_since(now + Self::INTERVAL * Self::BURST);
        if !wait.is_zero() && !cfg!(feature = "unlimited-rearm") {
            return Err(wait);
        }
        self.idle_from = Some(idle_from);
        Ok(())
    }
}

/// Allows one warning per [`WARN_INTERVAL`].
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    next: Option<Instant>,
    suppressed: u64,
}

impl RateLimit {
    /// Whether anything has been logged as a warning, so that an operator waits to read that it is over.
    pub(crate) fn has_warned(&self) -> bool {
        self.next.is_some()
    }

    pub(crate) fn level(&mut self, now: Instant) -> Level {
        self.next(now).0
    }

    /// Also returns how many records were logged at debug level since the last warning.
    pub(crate) fn next(&mut self, now: Instant) -> (Level, u64) {
        if self.next.is_some_and(|next| now < next) {
            self.suppressed += 1;
            return (Level::Debug, self.suppressed);
        }
        self.next = Some(now + WARN_INTERVAL);
        (Level::Warn, std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_counts_the_records_that_were_suppressed() {
        let (mut limit, start) = (RateLimit::default(), Instant::now());
        assert!(!limit.has_warned());
        assert_eq!(limit.next(start), (Level::Warn, 0));
        assert!(limit.has_warned());
        for suppressed in 1..=1000 {
            assert_eq!(limit.next(start + WARN_INTERVAL / 2), (Level::Debug, suppressed));
        }
        assert_eq!(limit.next(start + WARN_INTERVAL), (Level::Warn, 1000));
        assert_eq!(limit.next(start + WARN_INTERVAL * 2), (Level::Warn, 0));
    }

    #[test]
    fn nodes_that_are_told_the_same_moment_spread_after_it() {
        for (pause, asked, longest) in
            [(2, 7, 9), (2, 30, 36), (60, 300, 360), (2, 600, 660), (8, 86_400, 660)]
        {
            let [pause, asked, longest] = [pause, asked, longest].map(Duration::from_secs);
            let asked_at_most = asked.min(MAX_RETRY_AFTER);
            let mut pauses: Vec<_> = (0..1000).map(|_| spread_at_least(pause, Some(asked))).collect();
            pauses.sort();
            let tenth = (longest - asked_at_most) / 10;
            assert!(pauses[0] >= asked_at_most && pauses[0] < asked_at_most + tenth, "{:?}", pauses[0]);
            assert!(pauses[999] <= longest && pauses[999] > longest - tenth, "{:?}", pauses[999]);
        }
        for shorter in [None, Some(Duration::ZERO), Some(MAX_BACKOFF)] {
            assert_eq!(spread_at_least(MAX_BACKOFF, shorter), MAX_BACKOFF);
        }
    }

    #[test]
    fn a_burst_of_ten_is_allowed_and_then_one_per_second() {
        let mut limit = BurstLimit::default();
        let start = Instant::now();
        let mut allowed = |millis| {
            let now = start + Duration::from_millis(millis);
            (0..100).filter(|_| limit.take(now).is_ok()).count()
        };
        assert_eq!(allowed(0), 10);
        assert_eq!(allowed(999), 0);
        assert_eq!(allowed(1000), 1);
        assert_eq!(allowed(1500), 0);
        assert_eq!(allowed(4000), 3);
        assert_eq!(allowed(60_000), 10);
        assert_eq!(limit.take(start + Duration::from_millis(60_250)), Err(Duration::from_millis(750)));
    }
}
