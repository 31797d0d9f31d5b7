//! Times and durations in the numbers that JavaScript uses.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 (UTC), as `Date` takes them.
pub(crate) fn unix_millis(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| (since.as_secs_f64() * 1000.0).floor())
}

/// Whole milliseconds, rounded down.
pub(crate) fn whole_millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
