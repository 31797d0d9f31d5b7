//! When to make the next attempt, and at which level to log a failure.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{RateLimit, at_least, backoff, spread_at_least};
use crate::dds::{Failure, FailureClass};
use crate::log::Level;

/// Decides when to make the next attempt, and at which level to log the failure.
pub(crate) struct RetryPolicy {
    pub(super) interval: Duration,
    max_retry: i32,
    /// Retryable failures in a row since the last pause.
    failures: u32,
    conflict: RateLimit,
    slow_retry: RateLimit,
    retryable: RateLimit,
}

#[derive(Debug, PartialEq)]
pub(super) struct Next {
    pub(super) pause: Duration,
    pub(super) level: Level,
    pub(super) remark: &'static str,
}

impl RetryPolicy {
    pub(crate) fn new(interval: Duration, max_retry: i32) -> Self {
        Self {
            interval,
            max_retry,
            failures: 0,
            conflict: RateLimit::default(),
            slow_retry: RateLimit::default(),
            retryable: RateLimit::default(),
        }
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::new(self.interval, self.max_retry);
    }

    pub(super) fn failed(&mut self, failure: &Failure, now: Instant) -> Next {
        match failure.class {
            FailureClass::Retryable => self.retryable_failure(failure.retry_after, now),
            FailureClass::Conflict => {
                self.failures = 0;
                let pause = at_least(self.interval, failure.retry_after);
                Next { pause, level: self.conflict.level(now), remark: "" }
            }
            FailureClass::Refused | FailureClass::UnknownNonce | FailureClass::UnknownNode => {
                self.failures = 0;
                let pause = at_least(self.interval, failure.retry_after);
                Next { pause, level: self.slow_retry.level(now), remark: "" }
            }
        }
    }

    fn retryable_failure(&mut self, retry_after: Option<Duration>, now: Instant) -> Next {
        self.failures += 1;
        let (own_pause, remark) = if u32::try_from(self.max_retry).is_ok_and(|max| self.failures >= max) {
            self.failures = 0;
            (self.interval, "max_retry reached, pausing for one interval; ")
        } else {
            (backoff(self.failures), "")
        };
        let pause = spread_at_least(own_pause, retry_after);
        Next { pause, level: self.retryable.level(now), remark }
    }
}
