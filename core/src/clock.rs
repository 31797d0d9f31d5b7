//! The clock of DDS, estimated from the `Date` of its responses.
//!
//! A `Date` may come from a proxy, a cache or a load balancer whose clock was never set. So only the `Date` of a
//! success counts, and only while nothing contradicts it. The time at which a challenge was issued can contradict it,
//! because DDS itself has just written that time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::log::log;

/// `Date` has whole seconds, so the clock of DDS was somewhere within that second.
const DATE_RESOLUTION: Duration = Duration::from_secs(1);
/// Two clocks that differ by more than this contradict each other, and a warning is logged.
const MAX_SILENT_SKEW_MS: u64 = 60_000;
/// The greatest difference between the current time and the time of issue of a challenge that is signed.
pub(crate) const MAX_CHALLENGE_SKEW: Duration = Duration::from_secs(5 * 60);

/// How far the clock of DDS is ahead of this machine's.
#[derive(Debug, Default)]
pub(crate) struct DdsClock(Mutex<Skews>);

/// In milliseconds; negative when DDS is behind.
#[derive(Debug, Default)]
struct Skews {
    /// The current estimate.
    estimate: i64,
    /// From the last `Date`.
    date: Option<i64>,
    /// From the last challenge.
    challenge: Option<i64>,
    warned: bool,
}

impl DdsClock {
    /// The current time by the clock of DDS.
    pub(crate) fn now(&self) -> SystemTime {
        shift(SystemTime::now(), self.skew_ms())
    }

    /// In milliseconds; negative when DDS is behind.
    pub(crate) fn skew_ms(&self) -> i64 {
        self.lock().estimate
    }

    /// Records the `Date` of a success. `sent` is when the request was sent.
    pub(crate) fn observe(&self, date: SystemTime, sent: SystemTime, received: SystemTime) {
        let mut skews = self.lock();
        let date = skew_ms(date, sent, received);
        skews.date = Some(date);
        if skews.challenge.is_none_or(|challenge| agree(challenge, date)) {
            skews.set_estimate(date);
        }
    }

    /// Records when a challenge that has just arrived was issued, and returns the current time by the clock that agrees
    /// with it: the local clock if it does, else the clock of the last `Date` if that one does.
    pub(crate) fn reconcile(&self, issued_at: SystemTime, now: SystemTime) -> SystemTime {
        let mut skews = self.lock();
        let challenge = skew_ms(issued_at, now, now);
        let near = |skew: i64| challenge.abs_diff(skew) <= MAX_CHALLENGE_SKEW.as_millis() as u64;
        skews.challenge = Some(challenge);
        match skews.date {
            Some(date) if agree(challenge, date) => skews.set_estimate(date),
            _ if near(0) => skews.set_estimate(0),
            Some(date) if near(date) => skews.set_estimate(date),
            _ => {
                // Three clocks, three times: there is nothing to go by.
                (skews.date, skews.challenge) = (None, None);
                skews.set_estimate(0);
            }
        }
        shift(now, skews.estimate)
    }

    fn lock(&self) -> MutexGuard<'_, Skews> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Skews {
    fn set_estimate(&mut self, skew_ms: i64) {
        self.estimate = skew_ms;
        let off = skew_ms.unsigned_abs() > MAX_SILENT_SKEW_MS;
        if off && !self.warned {
            log!(
                Warn,
                "clock",
                "the clock of this machine is {:.0} s {} the clock of DDS; the node uses the clock of DDS, but check this \
                 machine's clock",
                skew_ms.unsigned_abs() as f64 / 1000.0,
                if skew_ms > 0 { "behind" } else { "ahead of" }
            );
        }
        self.warned = off;
    }
}

fn agree(one: i64, other: i64) -> bool {
    one.abs_diff(other) <= MAX_SILENT_SKEW_MS
}

fn shift(time: SystemTime, skew_ms: i64) -> SystemTime {
    let by = Duration::from_millis(skew_ms.unsigned_abs());
    if skew_ms < 0 { time.checked_sub(by) } else { time.checked_add(by) }.unwrap_or(time)
}

/// DDS wrote `date` between `sent` and `received`. The skew is 0 if that is possible, and otherwise the smallest one
/// that makes it possible.
fn skew_ms(date: SystemTime, sent: SystemTime, received: SystemTime) -> i64 {
    // They are swapped if the clock was set back in between. The next response then shows the skew.
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
    fn the_skew_is_what_rounding_and_latency_cannot_explain() {
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
            // The local clock was set back by an hour during the request.
            (3_610_000, 10_100, 0),
        ] {
            assert_eq!(skew_ms(date, at(sent), at(received)), skew, "{sent}..{received}");
        }
        assert_eq!(skew_ms(UNIX_EPOCH, at(0), at(0)), -1_799_999_999_000);
    }

    const HOUR: i64 = 3_600_000;

    /// A clock that has recorded a `Date` with this skew.
    fn dated(skew_ms: i64) -> (DdsClock, SystemTime) {
        let clock = DdsClock::default();
        let now = SystemTime::now();
        clock.observe(shift(now, skew_ms), now, now);
        (clock, now)
    }

    #[test]
    fn the_time_follows_the_last_date() {
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

    #[test]
    fn a_challenge_selects_the_clock_that_agrees_with_it() {
        for (date, issued_at, by) in [
            (2 * HOUR, 2 * HOUR, 2 * HOUR),
            (90_000, 90_000, 90_000),
            // The local clock agrees, and the `Date` does not.
            (-56 * 365 * 24 * HOUR, 0, 0),
            (2 * HOUR, 200_000, 0),
            (250_000, 0, 0),
            // The `Date` agrees well enough, and the local clock does not.
            (2 * HOUR, 2 * HOUR + 200_000, 2 * HOUR),
            // Neither does.
            (2 * HOUR, 5 * HOUR, 0),
        ] {
            let (clock, now) = dated(date);
            let used = clock.reconcile(shift(now, issued_at), now);
            // `Date` hides less than two seconds.
            assert!(agree(clock.skew_ms(), by) && (clock.skew_ms() - by).abs() < 2000, "{date} {issued_at}");
            assert_eq!(used, shift(now, clock.skew_ms()));
        }
    }

    #[test]
    fn a_date_that_the_last_challenge_contradicts_is_ignored() {
        let (clock, now) = dated(2 * HOUR);
        clock.reconcile(now, now);
        clock.observe(shift(now, 2 * HOUR), now, now);
        assert_eq!(clock.skew_ms(), 0);
        // The local clock was set back, and the next challenge agrees with the `Date`.
        clock.reconcile(shift(now, 2 * HOUR), now);
        assert_eq!(clock.skew_ms(), 2 * HOUR);
    }

    #[test]
    fn without_a_date_the_local_clock_is_used() {
        let clock = DdsClock::default();
        let now = SystemTime::now();
        assert_eq!(clock.reconcile(now, now), now);
        assert_eq!(clock.reconcile(shift(now, 5 * HOUR), now), now);
    }
}
