//! A state that several processes write: what each of them adds to the record in a store on another machine, and what it
//! takes from there.
//!
//! A process never loses what it knows: of two records, the newer registration counts, and the newer secret. Within a
//! registration the state only rises. So a store that is older than a process, or empty, is mended by that process.

use std::sync::Arc;

use chrono::Utc;

use super::callback::{Acceptance, Moment};
use super::record::Record;
use super::store::{Inner, Store};
use crate::config::CallbackPolicy;
use crate::event::EventKind;
use crate::secret::Secret;
use crate::status::{Role, State};

impl Record {
    /// Accepts a secret that DDS sent, if the policy allows it, as [`Store::accept_secret`] does.
    pub(crate) fn accept_secret(&mut self, policy: Option<CallbackPolicy>, secret: &Secret) -> Acceptance {
        let same = self.secret.as_deref() == Some(secret);
        let moment = Moment {
            registration: self.registration,
            state: self.state,
            hand_in: self.hand_in,
            secret_registration: self.secret_registration,
        };
        if let Some(refusal) = moment.refusal(policy, same) {
            return refusal;
        }
        self.secret_registration = Some(self.registration);
        if self.state != State::Registered {
            self.state = State::Registered;
            self.registered_at = u64::try_from(Utc::now().timestamp()).ok();
            self.consecutive_failures = 0;
            self.last_error = None;
            self.next_attempt_at = None;
        }
        if same {
            return Acceptance::Same;
        }
        self.secret = Some(Arc::new(secret.clone()));
        self.secret_version += 1;
        Acceptance::New(self.secret_version)
    }

    /// What every process of the node must know, and what only grows.
    fn facts(&self) -> impl PartialEq + use<> {
        let Self { registration, secret_version, secret_registration, last_healthcheck, .. } = *self;
        (registration, self.state == State::Registered, secret_version, secret_registration, last_healthcheck)
    }

    /// Whether the other record has the same registration, secret and health check.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        self.facts() == other.facts() && self.secret == other.secret
    }

    /// This record with what is newer in the other one.
    fn with(mut self, other: &Self) -> Self {
        let secret = self.newer_secret(other);
        let last_healthcheck = self.last_healthcheck.max(other.last_healthcheck);
        let robot_id = self.robot_id.or(other.robot_id);
        if other.registration > self.registration {
            self = other.clone();
        } else if other.registration == self.registration
            && other.state == State::Registered
            && self.state != State::Registered
        {
            self.state = other.state;
            self.registered_at = other.registered_at;
            self.consecutive_failures = 0;
            self.last_error = None;
            self.next_attempt_at = None;
        }
        (self.secret, self.secret_version, self.secret_registration) = secret;
        Self { last_healthcheck, robot_id, ..self }
    }

    fn secret_text(&self) -> Option<&str> {
        self.secret.as_ref().map(|secret| secret.expose())
    }

    /// The secret with the greater version, that version, and the registration in which it was accepted. Two secrets have
    /// one version only after a store was set back; then the choice is the same in every process.
    fn newer_secret(&self, other: &Self) -> (Option<Arc<Secret>>, u64, Option<u64>) {
        let age = |record: &Self| (record.secret_version, record.secret_registration);
        let newer = match age(self).cmp(&age(other)) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Equal if self.secret_text() < other.secret_text() => other,
            _ => self,
        };
        (newer.secret.clone(), newer.secret_version, newer.secret_registration)
    }
}

impl Store {
    /// The state is shared through a store on another machine: every process writes there, and has a callback server of
    /// its own.
    pub(crate) fn share_remotely(&self) {
        self.update(|inner| inner.remote = true);
        self.begin_writing();
    }

    /// Takes from the record in the store what is newer there. The leader keeps its own attempts, a follower shows those
    /// of the leader. Returns the state's revision before and after, and its record.
    pub(crate) fn reconcile(&self, stored: Option<&Record>) -> Reconciled {
        let before = *self.revision.borrow();
        if let Some(stored) = stored {
            self.update_with_event(|inner| ((), inner.take_healthcheck(stored)));
            self.update_with_event(|inner| ((), self.take(inner, stored)));
        }
        let (after, record) = self.record();
        Reconciled { before, after, record: Record { callback_address: None, ..record } }
    }

    fn take(&self, inner: &mut Inner, stored: &Record) -> Option<EventKind> {
        if inner.stopped {
            return None;
        }
        let own = self.record_of(inner);
        let address = own.callback_address;
        let merged = match inner.status.role {
            Role::Leader => own.clone().with(stored),
            Role::Follower => stored.clone().with(&own),
        };
        if inner.status.role == Role::Leader && merged.says_the_same_as(&own) {
            return None;
        }
        let called = merged.secret_registration == Some(merged.registration);
        if called {
            inner.status.callback_overdue = false;
        }
        self.follow_registration(inner, Record { callback_address: address, ..merged })
    }

    /// Whether the node has registered, or tried to, before.
    pub(crate) fn has_history(&self) -> bool {
        let inner = self.lock();
        inner.registration > 0 || inner.status.attempts > 0 || inner.status.state != State::Disconnected
    }

    /// Begins a new registration, because the state is that of processes that have ended.
    pub(crate) fn begin_anew(&self) {
        self.update(|inner| {
            if !inner.stopped {
                inner.rearm();
            }
        });
    }
}

/// What [`Store::reconcile`] returns.
pub(crate) struct Reconciled {
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) record: Record,
}

impl Inner {
    /// A probe that another process has received counts here, too.
    fn take_healthcheck(&mut self, stored: &Record) -> Option<EventKind> {
        let at = stored.last_healthcheck?;
        if self.stopped || self.last_healthcheck.is_some_and(|own| own >= at) {
            return None;
        }
        let event = self.follow_healthcheck(stored);
        if self.probed {
            self.last_probe = Some(tokio::time::Instant::now());
            self.probed_registration = Some(stored.registration);
            self.status.callback_overdue = false;
        }
        event
    }
}

#[cfg(test)]
mod tests;
