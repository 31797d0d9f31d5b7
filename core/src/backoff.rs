//! How long to leave DDS alone after a failure, and how loud to be about it.

use std::time::Duration;

use rand::Rng as _;
use tokio::time::Instant;

use crate::log::Level;

/// The longest pause between two attempts of a backoff, before jitter.
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The most of a `Retry-After` that is honoured, on any answer: after this the node comes back.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
/// At most one warning of a kind in this time; what comes between is logged at debug level.
const WARN_INTERVAL: Duration = Duration::from_secs(180);

/// The pause after so many failures in a row, from 1 on: 2, 4, 8, 16, 32, and then 60 seconds, with jitter so
/// that nodes that failed together do not come back together.
pub(crate) fn backoff(failures: u32) -> Duration {
    let pause = Duration::from_secs(2_u64.saturating_pow(failures)).min(MAX_BACKOFF);
    pause.mul_f64(rand::thread_rng().gen_range(0.8..=1.2))
}

/// The pause, or a longer one that DDS asks for.
pub(crate) fn at_least(pause: Duration, retry_after: Option<Duration>) -> Duration {
    pause.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// Lets a few through at once, and then one per second.
#[derive(Debug, Default)]
pub(crate) struct BurstLimit {
    /// When as many are allowed at once as ever.
    idle_from: Option<Instant>,
}

impl BurstLimit {
    const BURST: u32 = 10;
    const INTERVAL: Duration = Duration::from_secs(1);

    /// Takes a turn, or says for how long there is none.
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

/// Lets one warning through per [`WARN_INTERVAL`].
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    next: Option<Instant>,
    left_out: u64,
}

impl RateLimit {
    pub(crate) fn level(&mut self, now: Instant) -> Level {
        self.next(now).0
    }

    /// Also returns how many records since the last warning were not warnings.
    pub(crate) fn next(&mut self, now: Instant) -> (Level, u64) {
        if self.next.is_some_and(|next| now < next) {
            self.left_out += 1;
            return (Level::Debug, self.left_out);
        }
        self.next = Some(now + WARN_INTERVAL);
        (Level::Warn, std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_tells_how_many_were_left_out() {
        let (mut limit, start) = (RateLimit::default(), Instant::now());
        assert_eq!(limit.next(start), (Level::Warn, 0));
        for left_out in 1..=1000 {
            assert_eq!(limit.next(start + WARN_INTERVAL / 2), (Level::Debug, left_out));
        }
        assert_eq!(limit.next(start + WARN_INTERVAL), (Level::Warn, 1000));
        assert_eq!(limit.next(start + WARN_INTERVAL * 2), (Level::Warn, 0));
    }

    #[test]
    fn ten_at_once_and_then_one_per_second() {
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
