//! The life of a registration: attempts, callbacks and probes of DDS, re-arms.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::callback::Moment;
pub(crate) use super::callback::{Acceptance, HandIn, STOPPED};
use super::store::{Inner, Store};
use crate::config::CallbackPolicy;
use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::log::log;
use crate::metrics::counters::{CallbackOutcome, LossReason};
use crate::secret::Secret;
use crate::status::{Role, State};
use crate::token::cached::CachedToken;

impl Store {
    /// Begins an attempt. Returns the registration that it is for. `None` after a stop, or when something else,
    /// such as a callback, has just confirmed the registration.
    pub(crate) fn begin_attempt(&self) -> Option<u64> {
        self.update(|inner| {
            if inner.stopped || inner.status.state == State::Registered {
                return None;
            }
            inner.status.state = State::Registering;
            inner.begin_attempt();
            Some(inner.registration)
        })
    }

    /// The next attempt begins only after `pause`.
    pub(crate) fn hold_back(&self, pause: Duration) {
        self.update(|inner| inner.status.set_next_attempt(Instant::now().checked_add(pause)));
    }

    /// The signed challenge is about to be sent. From now on DDS may call back to confirm this registration, until
    /// it rejects the challenge.
    pub(crate) fn hand_in(&self, registration: u64) {
        self.set_hand_in(HandIn::Pending(registration));
    }

    /// DDS rejected the signed challenge. A callback that came before still counts.
    pub(crate) fn hand_in_refused(&self, registration: u64) {
        self.set_hand_in(HandIn::Refused(registration));
    }

    fn set_hand_in(&self, hand_in: HandIn) {
        if self.update(|inner| inner.hand_in.replace(hand_in) != Some(hand_in)) {
            // It is not part of the status, but the processes on other machines decide about callbacks, too.
            self.count_revision_if_remote();
        }
    }

    /// Waits until a write to the store on another machine has shown that this process still leads. Returns at once
    /// where there is no such store.
    pub(crate) async fn confirm_leadership(&self) {
        if self.count_revision_if_remote() {
            self.settled().await;
        }
    }

    fn count_revision_if_remote(&self) -> bool {
        let remote = self.lock().remote;
        if remote {
            self.count_revision();
        }
        remote
    }

    /// An attempt succeeded, and may have brought a token. Returns false when it does not count because a re-arm
    /// overtook it.
    pub(crate) fn finish_attempt(&self, registration: u64, token: Option<CachedToken>) -> bool {
        self.update_with_event(|inner| {
            if inner.registration != registration || inner.stopped {
                return (false, None);
            }
            inner.mark_registered();
            (true, token.and_then(|token| self.put_registration_token(inner, token)))
        })
    }

    /// An attempt failed, and the next one is due after `retry_in`. Returns false when the failure does not count:
    /// a re-arm overtook the attempt, or DDS has called back meanwhile, which confirms the registration.
    pub(crate) fn fail_attempt(&self, registration: u64, error: &Error, retry_in: Duration) -> bool {
        self.update_with_event(|inner| {
            if inner.registration != registration || inner.stopped || inner.status.state == State::Registered
            {
                return (false, None);
            }
            (true, Some(inner.fail(error, retry_in)))
        })
    }

    /// Begins an attempt in the background to confirm this registration again. Returns false when it is over.
    pub(crate) fn begin_reregistration(&self, registration: u64) -> bool {
        self.update(|inner| {
            let current = inner.is_registered(registration);
            if current {
                inner.begin_attempt();
            }
            current
        })
    }

    /// Such an attempt failed, and the next one is due after `retry_in`. The node stays registered. Returns false when
    /// the failure does not count, because the registration is over.
    pub(crate) fn fail_reregistration(&self, registration: u64, error: &Error, retry_in: Duration) -> bool {
        self.update_with_event(|inner| {
            if !inner.is_registered(registration) {
                return (false, None);
            }
            (true, Some(inner.fail(error, retry_in)))
        })
    }

    /// Begins a new registration. When this returns, the status is `disconnected` and the registrar is awake.
    pub(crate) fn rearm(&self) -> Result<()> {
        self.update(|inner| {
            inner.check_running()?;
            inner.rearm();
            Ok(())
        })
    }

    /// DDS has lost this registration, so a new one begins. Returns false if one has begun already.
    pub(crate) fn lose_registration(&self, registration: u64, reason: LossReason, words: &str) -> bool {
        let lost = self.update_with_event(|inner| {
            if !inner.is_registered(registration) {
                return (false, None);
            }
            inner.rearm();
            (true, Some(EventKind::RegistrationLost { reason: words.to_owned() }))
        });
        if lost {
            self.counters().registrations_lost.count(reason);
            log!(Warn, "node", "the registration is lost, registering again: {words}");
        }
        lost
    }

    /// Accepts a secret that DDS sent, if the policy allows it. The callback confirms the registration. Without a
    /// policy every secret is accepted, at any time.
    pub(crate) fn accept_secret(&self, policy: Option<CallbackPolicy>, secret: Secret) -> Acceptance {
        self.accept_secret_after(policy, secret, |_| {})
    }

    /// As [`Store::accept_secret`]. Calls `before` with the verdict, before anybody can see its effect.
    fn accept_secret_after(
        &self,
        policy: Option<CallbackPolicy>,
        secret: Secret,
        before: impl FnOnce(Acceptance),
    ) -> Acceptance {
        self.update(|inner| {
            let same = self.secret.load().as_deref() == Some(&secret);
            let verdict = if inner.stopped {
                Acceptance::Unavailable(STOPPED)
            } else if let Some(refusal) = inner.moment().refusal(policy, same) {
                refusal
            } else if same {
                Acceptance::Same
            } else {
                Acceptance::New(inner.status.secret_version + 1)
            };
            before(verdict);
            if !verdict.is_kept() {
                return verdict;
            }
            inner.secret_registration = Some(inner.registration);
            inner.status.callback_overdue = false;
            if inner.status.state != State::Registered {
                inner.mark_registered();
            }
            if !same {
                self.put_secret(inner, secret);
            }
            verdict
        })
    }

    /// As [`Store::accept_secret`], wherever that is decided. Returns when the secret is safe: written, or its write has
    /// failed. A stop ends the wait for that, and DDS has to call again.
    pub(crate) async fn receive_secret(&self, policy: Option<CallbackPolicy>, secret: Secret) -> Acceptance {
        if self.decides_elsewhere() {
            let acceptance = self.requests().ask(policy, secret).await;
            self.count_callback(acceptance);
            return acceptance;
        }
        // Who has seen the secret finds it counted.
        let acceptance =
            self.accept_secret_after(policy, secret, |acceptance| self.count_callback(acceptance));
        if acceptance.is_kept() && !self.settled_before_stop().await {
            return Acceptance::Unavailable(STOPPED);
        }
        acceptance
    }

    fn count_callback(&self, acceptance: Acceptance) {
        self.counters().callbacks.count(match acceptance {
            Acceptance::New(_) => CallbackOutcome::Accepted,
            Acceptance::Same => CallbackOutcome::Unchanged,
            Acceptance::Another => CallbackOutcome::Forbidden,
            Acceptance::NotWaiting(_) => CallbackOutcome::NotWaiting,
            Acceptance::Unavailable(_) => CallbackOutcome::Unavailable,
        });
    }

    /// Replaces the secret.
    pub(super) fn put_secret(&self, inner: &mut Inner, secret: Secret) {
        self.secret.store(Some(Arc::new(secret)));
        inner.status.has_secret = true;
        inner.status.secret_version += 1;
    }

    /// Decides the requests that were left when this process began to lead. Never returns.
    pub(crate) async fn decide_requests(&self) {
        loop {
            self.requests().take_probes().into_iter().for_each(|probe| {
                self.touch_healthcheck();
                probe.decide(Acceptance::Same);
            });
            for request in self.requests().take() {
                let acceptance = self.accept_secret(request.policy, request.secret.clone());
                if acceptance.is_kept() {
                    self.settled().await;
                }
                request.decide(acceptance);
            }
            self.requests().added().await;
        }
    }

    /// As [`Store::touch_healthcheck`], wherever that is recorded. [`Acceptance::Same`] if it is.
    pub(crate) async fn receive_probe(&self) -> Acceptance {
        if self.leader_records_probes() {
            return self.requests().ask_to_record_probe().await;
        }
        self.touch_healthcheck();
        Acceptance::Same
    }

    /// Whether another process, or a store on another machine, decides about callbacks.
    fn decides_elsewhere(&self) -> bool {
        let inner = self.lock();
        inner.remote || inner.status.role == Role::Follower
    }

    /// Whether another process records probes. A store on another machine takes them from every process.
    fn leader_records_probes(&self) -> bool {
        let inner = self.lock();
        inner.status.role == Role::Follower && !inner.remote
    }

    /// DDS has just probed the node's health.
    pub(crate) fn touch_healthcheck(&self) {
        self.counters().count_health_probe();
        self.update_with_event(|inner| {
            // Each process takes the latest, and the clock of the one that had the last may be ahead.
            let last = inner.last_healthcheck.filter(|_| inner.remote);
            let after = last.and_then(|last| last.checked_add_signed(TimeDelta::nanoseconds(1)));
            inner.set_healthcheck(Some(Utc::now()).max(after));
            inner.last_probe = Some(tokio::time::Instant::now());
            inner.probed = true;
            inner.probed_registration = Some(inner.registration);
            inner.status.callback_overdue = false;
            ((), Some(EventKind::Healthcheck))
        });
    }

    /// When DDS last probed this process, on the monotonic clock.
    pub(crate) fn last_probe(&self) -> Option<tokio::time::Instant> {
        self.lock().last_probe
    }

    /// The probes of DDS have stopped: the next one counts as the first.
    pub(crate) fn forget_probes(&self) {
        self.update(|inner| inner.probed = false);
    }

    /// Marks the callback as overdue. Returns false if DDS has called, or if the registration is over.
    pub(crate) fn set_callback_overdue(&self) -> bool {
        self.update(|inner| {
            let overdue = inner.status.state == State::Registered && !inner.called();
            inner.status.callback_overdue = overdue;
            overdue
        })
    }
}

impl Inner {
    fn begin_attempt(&mut self) {
        self.status.attempts += 1;
        self.status.set_next_attempt(None);
        self.token.invalidations_at_attempt = self.token.invalidations;
    }

    fn is_registered(&self, registration: u64) -> bool {
        self.registration == registration && self.status.state == State::Registered && !self.stopped
    }

    /// Records a failed attempt. Returns its event.
    fn fail(&mut self, error: &Error, retry_in: Duration) -> EventKind {
        self.status.consecutive_failures = self.status.consecutive_failures.saturating_add(1);
        self.status.last_error = Some(error.code());
        self.status.set_next_attempt(Instant::now().checked_add(retry_in));
        self.last_error = Some(error.clone());
        EventKind::AttemptFailed { code: error.code(), message: error.message().to_owned(), retry_in }
    }

    pub(super) fn mark_registered(&mut self) {
        self.status.state = State::Registered;
        self.status.registered_at = u64::try_from(Utc::now().timestamp()).ok();
        self.status.consecutive_failures = 0;
        self.status.last_error = None;
        self.status.set_next_attempt(None);
        self.last_error = None;
    }

    pub(super) fn rearm(&mut self) {
        if self.status.role == Role::Follower && !self.remote {
            if self.pending_rearm.is_some() {
                return;
            }
            self.pending_rearm = Some(self.registration);
        }
        self.registration += 1;
        self.status.state = State::Disconnected;
        self.status.callback_overdue = false;
        self.status.set_next_attempt(None);
    }

    pub(super) fn set_healthcheck(&mut self, at: Option<DateTime<Utc>>) {
        self.last_healthcheck = at;
        self.status.last_healthcheck = at.and_then(|at| u64::try_from(at.timestamp()).ok());
    }

    fn moment(&self) -> Moment {
        Moment {
            registration: self.registration,
            state: self.status.state,
            hand_in: self.hand_in,
            secret_registration: self.secret_registration,
        }
    }
}

#[cfg(test)]
mod tests;
