//! How long a leader may act.
//!
//! A term begins when a write to the store has succeeded, and is counted from the moment at which that write began. It
//! ends before any other process takes over, whatever becomes of this one: cut off from the store, stopped, asleep.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

/// How long a leader may act after the start of a successful write.
pub(super) const TERM: Duration = Duration::from_secs(7);
/// How long a leader must have been silent before another process takes over.
pub(super) const SILENCE: Duration = Duration::from_secs(10);

/// A clock that is never set, and that also runs while the machine sleeps. (On systems other than Linux it may stand still
/// meanwhile.)
#[derive(Clone, Copy, Debug)]
pub(super) enum Clock {
    System,
    /// The paused clock of a test.
    #[cfg(test)]
    Tokio,
}

impl Clock {
    /// The time since some moment in the past.
    pub(super) fn now(self) -> Duration {
        match self {
            Self::System => system_now(),
            #[cfg(test)]
            Self::Tokio => {
                static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
                let start = *START.get_or_init(|| std::time::Instant::now() - Duration::from_secs(60));
                tokio::time::Instant::now().into_std() - start
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn system_now() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    let now = clock_gettime(ClockId::Boottime);
    let part = |part: i64| u64::try_from(part).unwrap_or_default();
    Duration::from_secs(part(now.tv_sec)) + Duration::from_nanos(part(now.tv_nsec))
}

#[cfg(not(target_os = "linux"))]
fn system_now() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;

    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The current term of this process, if it leads.
#[derive(Debug)]
pub(super) struct Term {
    clock: Clock,
    /// In nanoseconds on the clock.
    end: AtomicU64,
}

impl Term {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, end: AtomicU64::new(0) }
    }

    /// A write that began at this time has succeeded.
    pub(super) fn extend(&self, began: Duration) {
        let end = u64::try_from((began + TERM).as_nanos()).unwrap_or(u64::MAX);
        self.end.fetch_max(end, Ordering::Relaxed);
    }

    /// Another process leads from now on.
    pub(super) fn give_up(&self) {
        self.end.store(0, Ordering::Relaxed);
    }

    fn left(&self) -> Duration {
        Duration::from_nanos(self.end.load(Ordering::Relaxed)).saturating_sub(self.clock.now())
    }

    pub(super) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    pub(super) async fn ended(&self) {
        while !self.is_over() {
            tokio::time::sleep(self.left()).await;
        }
    }

    /// Does this work until it is done or the term is over. Nothing of it is done after that, not even when the process
    /// was stopped at the end of the term and continues later.
    pub(super) async fn within<F: Future>(&self, work: F) -> Option<F::Output> {
        let (mut work, mut ended) = (pin!(work), pin!(self.ended()));
        poll_fn(|context| {
            if self.is_over() || ended.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_term_ends_seven_seconds_after_the_start_of_the_last_write() {
        let term = Term::new(Clock::Tokio);
        assert!(term.is_over() && term.within(async {}).await.is_none());
        let began = Clock::Tokio.now();
        tokio::time::sleep(Duration::from_secs(2)).await;
        term.extend(began);
        assert!(term.within(async {}).await.is_some());
        tokio::time::sleep(Duration::from_secs(4)).await;
        term.extend(Clock::Tokio.now());
        // An older write changes nothing.
        term.extend(began);
        assert_eq!(term.within(std::future::pending::<()>()).await, None);
        assert_eq!((Clock::Tokio.now() - began).as_secs(), 6 + 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_stopped_does_nothing_after_its_term() {
        let term = Term::new(Clock::Tokio);
        term.extend(Clock::Tokio.now());
        let polls = Cell::new(0);
        let work = poll_fn(|_| {
            polls.set(polls.get() + 1);
            Poll::<()>::Pending
        });
        let mut work = pin!(term.within(work));
        let mut poll = || work.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(poll().is_pending() && poll().is_pending());
        assert_eq!(polls.get(), 2);
        tokio::time::advance(TERM).await;
        assert_eq!(poll(), Poll::Ready(None));
        assert_eq!(polls.get(), 2);
    }

    #[test]
    fn the_clock_runs() {
        let before = Clock::System.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(Clock::System.now() > before);
    }
}
