//! The clock of DDS, as the `Date` of its answers tells it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use crate::log::log;

/// `Date` has whole seconds: the clock of DDS stood somewhere in the second that it names.
const DATE_RESOLUTION: Duration = Duration::from_secs(1);
/// A clock that is further off than this is worth a warning.
const MAX_SILENT_SKEW_MS: u64 = 60_000;

/// How far the clock of DDS is ahead of this machine's, by its last answer.
#[derive(Debug, Default)]
pub(crate) struct DdsClock {
    skew_ms: AtomicI64,
    warned: AtomicBool,
}

impl DdsClock {
    /// The time by the clock of DDS.
    pub(crate) fn now(&self) -> SystemTime {
        let now = SystemTime::now();
        let skew = self.skew_ms();
        let by = Duration::from_millis(skew.unsigned_abs());
        if skew < 0 { now.checked_sub(by) } else { now.checked_add(by) }.unwrap_or(now)
    }

    /// In milliseconds; negative when DDS is behind.
    pub(crate) fn skew_ms(&self) -> i64 {
        self.skew_ms.load(Ordering::Relaxed)
    }

    /// Notes the `Date` of an answer to a request that went out at `sent`.
    pub(crate) fn observe(&self, date: SystemTime, sent: SystemTime, received: SystemTime) {
        let skew_ms = skew_ms(date, sent, received);
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
        let off = skew_ms.unsigned_abs() > MAX_SILENT_SKEW_MS;
        if off && !self.warned.swap(true, Ordering::Relaxed) {
            log!(
                Warn,
                "clock",
                "the clock of this machine is {:.0} s {} that of DDS; the node goes by the latter, but check the \
                 clock",
                skew_ms.unsigned_abs() as f64 / 1000.0,
                if skew_ms > 0 { "behind" } else { "ahead of" }
            );
        } else if !off {
            self.warned.store(false, Ordering::Relaxed);
        }
    }
}

/// DDS wrote `date` between the two times. As long as that can be so, there is no skew; else it is what
/// is missing for it.
fn skew_ms(date: SystemTime, sent: SystemTime, received: SystemTime) -> i64 {
    // A clock that is set back meanwhile swaps them; what it hides for once, the next answer shows.
    let (first, last) = (sent.min(received), sent.max(received));
    let millis = |skew: Duration| i64::try_from(skew.as_millis()).unwrap_or(i64::MAX);
    if let Ok(ahead) = date.duration_since(last) {
        return millis(ahead);
    }
    first.duration_since(date + DATE_RESOLUTION).map_or(0, |behind| -millis(behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn the_skew_is_what_whole_seconds_and_the_way_cannot_explain() {
        let at = |millis: u64| UNIX_EPOCH + Duration::from_millis(1_800_000_000_000 + millis);
        let date = at(10_000);
        for (sent, received, skew) in [
            // DDS's clock is in [10 s, 11 s).
            (10_000, 10_000, 0),
            (10_999, 10_999, 0),
            (9_000, 12_000, 0),
            (9_000, 10_000, 0),
            (11_000, 11_500, 0),
            (11_001, 11_500, -1),
            (9_000, 9_999, 1),
            (0, 500, 9_500),
            (3_610_000, 3_610_100, -3_599_000),
            // Set back by an hour while the request was on its way.
            (3_610_000, 10_100, 0),
        ] {
            assert_eq!(skew_ms(date, at(sent), at(received)), skew, "{sent}..{received}");
        }
        assert_eq!(skew_ms(UNIX_EPOCH, at(0), at(0)), -1_799_999_999_000);
    }

    #[test]
    fn the_corrected_time_follows_the_last_answer() {
        let clock = DdsClock::default();
        let now = SystemTime::now();
        for offset in [7200, 0] {
            let date = now + Duration::from_secs(offset);
            clock.observe(date, now, now);
            assert_eq!(clock.skew_ms(), i64::try_from(offset).expect("small") * 1000);
            assert!(clock.now() >= date);
        }
        clock.observe(now - Duration::from_secs(7201), now, now);
        assert_eq!(clock.skew_ms(), -7_200_000);
        assert!(clock.now() < now);
    }
}
