//! A store as a replica: the record of its state, and what it takes over from the record of another process.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::record::Record;
use super::{Inner, Store};
use crate::error::Error;
use crate::event::EventKind;
use crate::status::State;

impl Store {
    /// From now on DDS gets its answers only when the state has been kept, or could not be.
    pub(crate) fn begin_keeping(&self) {
        self.settled.send_replace(0);
    }

    /// Changes with everything that there is to keep and to show.
    pub(crate) fn revision(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// What is to be kept, and the number of that revision.
    pub(crate) fn record(&self) -> (u64, Record) {
        let inner = self.lock();
        let status = &inner.status;
        let next_attempt = status.next_attempt_in().map(|left| SystemTime::now() + left);
        let record = Record {
            registration: inner.registration,
            // A stop is nothing that DDS hears of: whoever takes over goes on where this node was.
            state: inner.state_at_stop.unwrap_or(status.state),
            registered_at: status.registered_at,
            last_healthcheck: inner.last_healthcheck,
            attempts: status.attempts,
            consecutive_failures: status.consecutive_failures,
            last_error: inner.last_error.clone(),
            next_attempt_at: next_attempt.map(unix_ms),
            callback_address: inner.callback_address,
            secret: self.secret.load_full(),
            secret_version: status.secret_version,
            secret_registration: inner.secret_registration,
        };
        // Under the lock: what changes from here on has a greater number.
        (*self.revision.borrow(), record)
    }

    /// This revision was kept, or could not be.
    pub(crate) fn settle(&self, revision: u64) {
        self.settled.send_replace(revision);
    }

    /// Changes whenever a revision was kept, or could not be.
    pub(crate) fn settlements(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    /// Shows why state cannot be kept or followed at present; none when it can. True when that is news.
    pub(crate) fn set_persistence_error(&self, error: Option<Error>) -> bool {
        self.update(|inner| {
            inner.status.persistence_error = error.as_ref().map(Error::code);
            let former = std::mem::replace(&mut inner.persistence_error, error);
            former.is_some() != inner.persistence_error.is_some()
        })
    }

    /// Takes up where another process has left off, for a registration of its own.
    pub(crate) fn restore(&self, record: Record) {
        self.update(|inner| {
            self.take_secret(inner, &record);
            inner.registration = record.registration + 1;
            inner.secret_registration = record.secret_registration;
            inner.status.registered_at = record.registered_at;
            inner.set_healthcheck(record.last_healthcheck);
        });
    }

    /// Shows the state of the leader.
    pub(crate) fn follow(&self, record: Record) {
        self.update_and_tell(|inner| ((), inner.follow_healthcheck(&record)));
        self.update_and_tell(|inner| ((), self.follow_registration(inner, record)));
    }

    fn follow_registration(&self, inner: &mut Inner, record: Record) -> Option<EventKind> {
        if inner.stopped {
            return None;
        }
        self.take_secret(inner, &record);
        inner.callback_address = record.callback_address;
        if inner.asked_after == Some(record.registration) {
            // The leader has not heard of it yet.
            return None;
        }
        inner.asked_after = None;
        inner.registration = record.registration;
        inner.secret_registration = record.secret_registration;
        let status = &mut inner.status;
        let attempt = (record.attempts, record.consecutive_failures);
        let failed = attempt != (status.attempts, status.consecutive_failures);
        status.state = record.state;
        status.registered_at = record.registered_at;
        (status.attempts, status.consecutive_failures) = attempt;
        status.last_error = record.last_error.as_ref().map(Error::code);
        let retry_in = record.next_attempt_at.map(time_until);
        status.set_next_attempt(retry_in.and_then(|left| Instant::now().checked_add(left)));
        inner.last_error = record.last_error;
        let (error, retry_in) = (inner.last_error.as_ref()?, retry_in?);
        let (code, message) = (error.code(), error.message().to_owned());
        failed.then_some(EventKind::AttemptFailed { code, message, retry_in })
    }

    /// Takes from the record on the disk what a leader had written and not told this follower before it ended.
    ///
    /// The record may also be older than what this follower was told, if the leader could not write it.
    pub(crate) fn catch_up(&self, record: Record) {
        let (_, held) = self.record();
        if record.is_as_new_as(&held) {
            self.follow(record);
        } else if record.secret_version > held.secret_version {
            // A re-arm of this follower made its own state the newer one.
            self.update(|inner| self.take_secret(inner, &record));
        }
    }

    fn take_secret(&self, inner: &mut Inner, record: &Record) {
        // A leader that has none may have lost its record; what followers hold is still the last one known.
        let Some(secret) = &record.secret else { return };
        if inner.status.secret_version != record.secret_version || self.secret.load().as_ref() != Some(secret)
        {
            self.secret.store(Some(Arc::clone(secret)));
            inner.status.has_secret = true;
            inner.status.secret_version = record.secret_version;
        }
    }

    /// The registration that a follower's re-arm was for, as long as the leader has not followed.
    pub(crate) fn asked_after(&self) -> Option<u64> {
        self.lock().asked_after
    }

    /// A follower asks for the registration after this one. Not if that has begun meanwhile.
    pub(crate) fn rearm_after(&self, registration: u64) -> bool {
        self.update(|inner| {
            let current = !inner.stopped && inner.registration == registration;
            if current {
                inner.rearm();
            }
            current
        })
    }

    pub(crate) fn state(&self) -> State {
        self.signal.borrow().state
    }
}

impl Inner {
    fn follow_healthcheck(&mut self, record: &Record) -> Option<EventKind> {
        let at = record.last_healthcheck?;
        if self.stopped || self.last_healthcheck == Some(at) {
            return None;
        }
        self.set_healthcheck(Some(at));
        // A new leader keeps waiting for the next one, unless DDS has been silent since the registration.
        let registered_at = record.registered_at.and_then(|at| i64::try_from(at).ok());
        self.probed = registered_at.is_some_and(|registered_at| registered_at <= at.timestamp());
        Some(EventKind::Healthcheck)
    }
}

fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn time_until(at_ms: u64) -> Duration {
    Duration::from_millis(at_ms.saturating_sub(unix_ms(SystemTime::now())))
}
