//! The clock of DDS, as the `Date` of its answers shows it.
//!
//! Many things can write a `Date`: a proxy, a cache, a load balancer whose clock was never set. So only an answer
//! that is a success counts, and only as long as nothing contradicts it. The time at which a challenge was issued
//! can: it was written by DDS itself, a moment ago.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::log::log;

/// `Date` has whole seconds: the clock of DDS was somewhere in the second that it names.
const DATE_RESOLUTION: Duration = Duration::from_secs(1);
/// Two clocks that are further apart than this contradict each other, and a warning is due.
const MAX_SILENT_SKEW_MS: u64 = 60_000;
/// A challenge is signed within this of its time of issue.
pub(crate) const MAX_CHALLENGE_SKEW: Duration = Duration::from_secs(5 * 60);

/// How far the clock of DDS is ahead of this machine's.
#[derive(Debug, Default)]
pub(crate) struct DdsClock(Mutex<Skews>);

/// In milliseconds; negative when DDS is behind.
#[derive(Debug, Default)]
struct Skews {
    /// What is believed.
    believed: i64,
    /// By the last `Date`.
    date: Option<i64>,
    /// By the last challenge.
    challenge: Option<i64>,
    warned: bool,
}

impl DdsClock {
    /// The time by the clock of DDS.
    pub(crate) fn now(&self) -> SystemTime {
        shift(SystemTime::now(), self.skew_ms())
    }

    /// In milliseconds; negative when DDS is behind.
    pub(crate) fn skew_ms(&self) -> i64 {
        self.lock().believed
    }

    /// Notes the `Date` of a success, to a request that went out at `sent`.
    pub(crate) fn observe(&self, date: SystemTime, sent: SystemTime, received: SystemTime) {
        let mut skews = self.lock();
        let date = skew_ms(date, sent, received);
        skews.date = Some(date);
        if skews.challenge.is_none_or(|challenge| agree(challenge, date)) {
            skews.believe(date);
        }
    }

    /// Notes when a challenge was issued that has just come, and returns the time to judge it by: that of the
    /// local clock if it agrees with the challenge, else that of the last `Date` if that one does.
    pub(crate) fn reconcile(&self, issued_at: SystemTime, now: SystemTime) -> SystemTime {
        let mut skews = self.lock();
        let challenge = skew_ms(issued_at, now, now);
        let near = |skew: i64| challenge.abs_diff(skew) <= MAX_CHALLENGE_SKEW.as_millis() as u64;
        skews.challenge = Some(challenge);
        match skews.date {
            Some(date) if agree(challenge, date) => skews.believe(date),
            _ if near(0) => skews.believe(0),
            Some(date) if near(date) => skews.believe(date),
            _ => {
                // Three clocks, three times: there is nothing to go by.
                (skews.date, skews.challenge) = (None, None);
                skews.believe(0);
            }
        }
        shift(now, skews.believed)
    }

    fn lock(&self) -> MutexGuard<'_, Skews> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Skews {
    fn believe(&mut self, skew_ms: i64) {
        self.believed = skew_ms;
        let off = skew_ms.unsigned_abs() > MAX_SILENT_SKEW_MS;
        if off && !self.warned {
            log!(
                Warn,
                "clock",
                "the clock of this machine is {:.0} s {} that of DDS; the node goes by the latter, but check the \
                 clock",
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

    const HOUR: i64 = 3_600_000;

    /// A clock that has seen a `Date` that is off by so many milliseconds.
    fn dated(skew_ms: i64) -> (DdsClock, SystemTime) {
        let clock = DdsClock::default();
        let now = SystemTime::now();
        clock.observe(shift(now, skew_ms), now, now);
        (clock, now)
    }

    #[test]
    fn the_corrected_time_follows_the_last_date() {
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
    fn a_challenge_is_judged_by_the_clock_that_agrees_with_it() {
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
            let judged_by = clock.reconcile(shift(now, issued_at), now);
            // `Date` hides less than two seconds.
            assert!(agree(clock.skew_ms(), by) && (clock.skew_ms() - by).abs() < 2000, "{date} {issued_at}");
            assert_eq!(judged_by, shift(now, clock.skew_ms()));
        }
    }

    #[test]
    fn a_date_that_the_last_challenge_contradicts_is_not_believed() {
        let (clock, now) = dated(2 * HOUR);
        clock.reconcile(now, now);
        clock.observe(shift(now, 2 * HOUR), now, now);
        assert_eq!(clock.skew_ms(), 0);
        // The local clock has been set back, and the next challenge agrees with the `Date`.
        clock.reconcile(shift(now, 2 * HOUR), now);
        assert_eq!(clock.skew_ms(), 2 * HOUR);
    }

    #[test]
    fn without_a_date_the_local_clock_counts() {
        let clock = DdsClock::default();
        let now = SystemTime::now();
        assert_eq!(clock.reconcile(now, now), now);
        assert_eq!(clock.reconcile(shift(now, 5 * HOUR), now), now);
    }
}
