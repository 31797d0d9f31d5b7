//! A store as a replica: the record of its state, and what it copies from the record of another process.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::record::Record;
use super::store::{Inner, Store};
use crate::error::Error;
use crate::event::EventKind;
use crate::status::State;

/// Of a persistence error, until it is over. Further ones are only shown.
const MAX_REASONS: usize = 8;

impl Store {
    /// From now on DDS gets its responses only when the state has been written, or the write has failed.
    pub(crate) fn begin_writing(&self) {
        self.settled.send_replace(0);
    }

    /// Changes with everything that is written or shown to followers.
    pub(crate) fn revision(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// The record of the state, and the number of its revision.
    pub(crate) fn record(&self) -> (u64, Record) {
        let inner = self.lock();
        // Under the lock, so that every later change has a greater number.
        (*self.revision.borrow(), self.record_of(&inner))
    }

    pub(super) fn record_of(&self, inner: &Inner) -> Record {
        let status = &inner.status;
        let next_attempt = status.next_attempt_in().map(|left| SystemTime::now() + left);
        Record {
            registration: inner.registration,
            // DDS does not learn of a stop: the process that takes over continues where this one was.
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
            robot_id: status.node_id.filter(|_| inner.robot),
            hand_in: inner.hand_in,
        }
    }

    /// This revision was written, or its write failed.
    pub(crate) fn settle(&self, revision: u64) {
        self.settled.send_replace(revision);
    }

    /// Changes whenever a revision was written, or its write failed.
    pub(crate) fn settlements(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    /// Shows why the state cannot be written or followed at present. `None` when it can. Returns true if that is to be
    /// logged: a reason once, as long as there is one.
    pub(crate) fn set_persistence_error(&self, error: Option<Error>) -> bool {
        self.update(|inner| {
            inner.status.persistence_error = error.as_ref().map(Error::code);
            inner.persistence_error = error;
            let reasons = &mut inner.persistence_reasons;
            let Some(error) = &inner.persistence_error else {
                return !std::mem::take(reasons).is_empty();
            };
            let is_new =
                reasons.len() < MAX_REASONS && reasons.iter().all(|reason| reason != error.message());
            if is_new {
                reasons.push(error.message().to_owned());
            }
            is_new
        })
    }

    /// Continues from the record of another process, with a registration of its own.
    pub(crate) fn restore(&self, record: Record) {
        self.update(|inner| {
            self.copy_secret(inner, &record);
            inner.registration = record.registration + 1;
            inner.secret_registration = record.secret_registration;
            inner.status.registered_at = record.registered_at;
            inner.set_healthcheck(record.last_healthcheck);
            inner.set_node_id(record.robot_id);
        });
    }

    /// Shows the state of the leader.
    pub(crate) fn follow(&self, record: Record) {
        self.update_with_event(|inner| ((), inner.follow_healthcheck(&record)));
        self.update_with_event(|inner| ((), self.follow_registration(inner, record)));
    }

    pub(super) fn follow_registration(&self, inner: &mut Inner, record: Record) -> Option<EventKind> {
        if inner.stopped {
            return None;
        }
        self.copy_secret(inner, &record);
        inner.callback_address = record.callback_address;
        inner.set_node_id(record.robot_id);
        if inner.pending_rearm == Some(record.registration) {
            // The leader has not received the request yet.
            return None;
        }
        inner.pending_rearm = None;
        inner.registration = record.registration;
        inner.secret_registration = record.secret_registration;
        inner.hand_in = record.hand_in;
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

    /// Copies from the record on disk what a leader wrote but could not send to this follower before it ended.
    ///
    /// The record may also be older than what the leader sent, if the leader could not write it.
    pub(crate) fn catch_up(&self, record: Record) {
        let (_, own) = self.record();
        if record.is_as_new_as(&own) {
            self.follow(record);
        } else if record.secret_version > own.secret_version {
            // A re-arm of this follower made its own state the newer one.
            self.update(|inner| self.copy_secret(inner, &record));
        }
    }

    fn copy_secret(&self, inner: &mut Inner, record: &Record) {
        // A leader without a secret may have lost its record. The followers' copy is still the last known one.
        let Some(secret) = &record.secret else { return };
        if inner.status.secret_version != record.secret_version || self.secret.load().as_ref() != Some(secret)
        {
            self.secret.store(Some(Arc::clone(secret)));
            inner.status.has_secret = true;
            inner.status.secret_version = record.secret_version;
        }
    }

    /// The registration that this follower re-armed, until the leader has begun the next one.
    pub(crate) fn pending_rearm(&self) -> Option<u64> {
        self.lock().pending_rearm
    }

    /// A follower asks for the registration after this one. Returns false if that one has begun already.
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
        self.observed.borrow().state
    }
}

impl Inner {
    pub(super) fn follow_healthcheck(&mut self, record: &Record) -> Option<EventKind> {
        let at = record.last_healthcheck?;
        if self.stopped || self.last_healthcheck == Some(at) {
            return None;
        }
        self.set_healthcheck(Some(at));
        // A new leader continues to expect probes, unless there has been none since the registration.
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
