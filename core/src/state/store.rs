//! The state of one node, and the one way to change it.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::callback::HandIn;
use super::observed::{Observed, until};
use super::requests::Requests;
use super::waiters::{Delivery, Job, Waiters};
use crate::clock::DdsClock;
use crate::error::{Error, Result};
use crate::event::{EventChannel, EventKind};
use crate::metrics::counters::Counters;
use crate::node_id::NodeId;
use crate::secret::Secret;
use crate::status::{Role, State, Status, StatusCell};
use crate::token::cached::CachedToken;

/// The state of one node. Status, secret and token are read without a lock; writers take turns.
pub(crate) struct Store {
    status: StatusCell,
    pub(super) secret: ArcSwapOption<Secret>,
    /// The same token as in [`TokenState`].
    pub(super) token: ArcSwapOption<CachedToken>,
    clock: DdsClock,
    counters: Counters,
    inner: Mutex<Inner>,
    /// Signalled when something may have ended a wait: once for threads, once for tasks.
    pub(super) changed: Condvar,
    pub(super) changed_for_tasks: watch::Sender<()>,
    pub(super) observed: watch::Sender<Observed>,
    events: EventChannel,
    /// Callbacks that other processes have to decide.
    requests: Requests,
    /// Counts the changes to what is replicated.
    pub(super) revision: watch::Sender<u64>,
    /// The newest revision that was written or whose write failed. The greatest number where nothing is written.
    pub(super) settled: watch::Sender<u64>,
}

/// What the lock of a [`Store`] protects.
#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) status: Status,
    /// As [`Status::last_healthcheck`], with nanoseconds.
    pub(super) last_healthcheck: Option<DateTime<Utc>>,
    /// When DDS last probed this process, on the monotonic clock.
    pub(super) last_probe: Option<tokio::time::Instant>,
    /// As [`Observed::probed`].
    pub(super) probed: bool,
    /// The registration during which the last probe came.
    pub(super) probed_registration: Option<u64>,
    pub(super) last_error: Option<Error>,
    /// Counts re-arms.
    pub(super) registration: u64,
    /// The registration in which the current secret was accepted.
    pub(super) secret_registration: Option<u64>,
    /// The last signed challenge that was sent, if any.
    pub(super) hand_in: Option<HandIn>,
    pub(super) token: TokenState,
    /// The node is a robot: DDS names its id with every token.
    pub(super) robot: bool,
    pub(super) stopped: bool,
    /// The error that ended the node. `None` if a call of `stop` did.
    pub(super) ended_by: Option<Error>,
    /// The state before the stop.
    pub(super) state_at_stop: Option<State>,
    /// The state is in a store on another machine, and every process writes there.
    pub(super) remote: bool,
    /// The registration that a follower re-armed, until its leader has begun the next one.
    pub(super) pending_rearm: Option<u64>,
    pub(super) callback_address: Option<SocketAddr>,
    /// DDS may call this process: it has a callback server, a URL that it registers, or routes in the host's server.
    pub(super) expects_callbacks: bool,
    /// Other processes share the state, so a secret may arrive through them.
    pub(super) shares_state: bool,
    pub(super) persistence_error: Option<Error>,
    /// Why the state could not be shared or kept, since it last could: what was logged.
    pub(super) persistence_reasons: Vec<String>,
    pub(super) waiters: Waiters<Inner>,
}

/// What a node knows about its token.
#[derive(Default)]
pub(super) struct TokenState {
    pub(super) cached: Option<Arc<CachedToken>>,
    /// A sign-in is wanted. Never true before the first caller asks for a token.
    pub(super) due: bool,
    /// The last token was invalidated by its user.
    pub(super) refused: bool,
    /// Counts the sign-ins whose outcome waiters receive.
    pub(super) outcomes: u64,
    /// Counts invalidations. A token of a sign-in that began under an older number is not used.
    pub(super) invalidations: u64,
    /// The same at the beginning of the last registration attempt.
    pub(super) invalidations_at_attempt: u64,
    /// Counts the tokens that came with a registration.
    pub(super) from_registration: u64,
    /// The rejection by DDS, until the next sign-in.
    pub(super) refusal: Option<Error>,
    pub(super) last_failure: Option<Error>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new(EventChannel::default())
    }
}

impl Store {
    pub(crate) fn new(events: EventChannel) -> Self {
        Self {
            status: StatusCell::default(),
            secret: ArcSwapOption::empty(),
            token: ArcSwapOption::empty(),
            clock: DdsClock::default(),
            counters: Counters::default(),
            inner: Mutex::default(),
            changed: Condvar::new(),
            changed_for_tasks: watch::Sender::default(),
            observed: watch::Sender::default(),
            events,
            requests: Requests::default(),
            revision: watch::Sender::default(),
            settled: watch::Sender::new(u64::MAX),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn update<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        self.update_with_event(|inner| (change(inner), None))
    }

    /// As [`Store::update`]. `change` also returns an event: the cause of the change, if there is one to publish.
    pub(super) fn update_with_event<R>(
        &self,
        change: impl FnOnce(&mut Inner) -> (R, Option<EventKind>),
    ) -> R {
        let mut inner = self.lock();
        let (result, wakes) = self.change(&mut inner, change);
        drop(inner);
        if let Some(jobs) = wakes {
            self.wake_waits();
            call(jobs);
        }
        result
    }

    /// The one way to change anything. Publishes the change to readers, then as events, then to waiters, so that
    /// everything that an event or a wait announces is visible to its receiver.
    ///
    /// Returns `None` when no wait can have ended. Otherwise the caller wakes the waits and calls the returned
    /// jobs, both without the lock.
    pub(super) fn change<R>(
        &self,
        inner: &mut Inner,
        change: impl FnOnce(&mut Inner) -> (R, Option<EventKind>),
    ) -> (R, Option<Vec<Job>>) {
        let before = inner.status;
        let (result, event) = change(inner);
        (result, self.publish(inner, &before, event))
    }

    /// Apart from [`Store::change`], which is compiled for each kind of change.
    #[inline(never)]
    fn publish(&self, inner: &mut Inner, before: &Status, event: Option<EventKind>) -> Option<Vec<Job>> {
        inner.status.clock_skew_ms = self.clock.skew_ms();
        let now = inner.status;
        if now != *before {
            self.status.write(&now);
        }
        if let Some(event) = event {
            self.events.publish(event);
        }
        if now.state != before.state {
            self.events.publish(EventKind::StatusChanged { previous: before.state, state: now.state });
        }
        if now.secret_version != before.secret_version {
            self.events.publish(EventKind::SecretChanged { version: now.secret_version });
        }
        let observed = inner.observed();
        let mut wakes = false;
        let differs = self.observed.send_if_modified(|shown| {
            let former = std::mem::replace(shown, observed);
            wakes = observed.ends_waits(former);
            observed != former
        });
        if differs || now.replicated() != before.replicated() {
            self.count_revision();
        }
        wakes.then(|| self.finish_waits(inner))
    }

    /// Ends the waits that are over. Returns what the current thread has to call.
    #[inline(never)]
    pub(super) fn finish_waits(&self, inner: &mut Inner) -> Vec<Job> {
        let mut at_once = Vec::new();
        let mut waiters = std::mem::take(&mut inner.waiters);
        for (delivery, done) in waiters.take_finished(inner) {
            if delivery == Delivery::AtOnce && !self.events.are_heard() {
                at_once.push(done);
            } else {
                self.events.call(done);
            }
        }
        inner.waiters = waiters;
        at_once
    }

    pub(super) fn wake_waits(&self) {
        self.changed.notify_all();
        // Notifying takes time even if no task waits. A task that subscribes later looks at the state after that.
        if self.changed_for_tasks.receiver_count() > 0 {
            self.changed_for_tasks.send_replace(());
        }
    }

    /// Ends the waits of a stopped node again, in case its stop could not.
    pub(crate) fn end_waits(&self) {
        let jobs = self.finish_waits(&mut self.lock());
        self.wake_waits();
        call(jobs);
    }

    pub(super) fn count_revision(&self) {
        self.revision.send_if_modified(|revision| {
            *revision += 1;
            // Waking no receiver costs as much as storing a secret.
            self.revision.receiver_count() > 0
        });
    }

    pub(crate) fn events(&self) -> &EventChannel {
        &self.events
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    pub(crate) fn clock(&self) -> &DdsClock {
        &self.clock
    }

    /// What this process has counted. See [`crate::metrics`].
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    #[inline]
    pub(crate) fn status(&self) -> Status {
        self.status.read()
    }

    pub(crate) fn status_changes(&self) -> &Arc<AtomicU32> {
        self.status.changes()
    }

    #[inline]
    pub(crate) fn secret(&self) -> arc_swap::Guard<Option<Arc<Secret>>> {
        self.secret.load()
    }

    pub(crate) fn observe(&self) -> watch::Receiver<Observed> {
        self.observed.subscribe()
    }

    pub(crate) fn last_error(&self) -> Option<Error> {
        self.lock().last_error.clone()
    }

    /// Shows an error of this process alone, such as that the callback port is taken.
    pub(crate) fn report(&self, error: Error) {
        self.update(|inner| {
            inner.status.last_error = Some(error.code());
            inner.last_error = Some(error);
        });
    }

    /// As [`Store::settled`], or until the node is stopped. Returns false if that came first.
    pub(super) async fn settled_before_stop(&self) -> bool {
        let mut observed = self.observe();
        tokio::select! {
            biased;
            () = self.settled() => true,
            () = until(&mut observed, |observed| observed.stopped) => false,
        }
    }

    /// Waits until everything that has changed so far was written, or its write failed.
    pub(crate) async fn settled(&self) {
        let now = *self.revision.borrow();
        if *self.settled.borrow() >= now {
            return;
        }
        let mut settled = self.settled.subscribe();
        // The sender is a field of this store, so it outlives the wait.
        let _ = settled.wait_for(|settled| *settled >= now).await;
    }

    pub(crate) fn persistence_error(&self) -> Option<Error> {
        self.lock().persistence_error.clone()
    }

    pub(crate) fn cut_off(&self) -> Option<Error> {
        self.lock().cut_off().cloned()
    }

    /// The error that a call on a stopped node fails with.
    pub(crate) fn stopped_error(&self) -> Error {
        self.lock().stopped_error()
    }

    /// Whether no secret can arrive.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.lock().is_unreachable()
    }

    pub(crate) fn callback_address(&self) -> Option<SocketAddr> {
        self.lock().callback_address
    }

    pub(crate) fn set_callback_address(&self, address: SocketAddr) {
        self.update(|inner| inner.callback_address = Some(address));
        // It is not part of the status, but followers show it.
        self.count_revision();
    }

    /// The id of the node that starts, if its credentials hold one. A robot has the id that DDS names.
    pub(crate) fn identify(&self, id: Option<NodeId>, robot: bool) {
        self.update(|inner| {
            inner.robot = robot;
            inner.status.node_id = id;
        });
    }

    /// The node is running from now on. `shares_state` says whether other processes have the same state.
    pub(crate) fn set_running(&self, shares_state: bool) {
        self.update(|inner| {
            inner.status.running = true;
            inner.shares_state = shares_state;
        });
    }

    /// From now on DDS may call this process.
    pub(crate) fn expect_callbacks(&self) {
        self.update(|inner| inner.expects_callbacks = true);
    }

    pub(crate) fn expects_callbacks(&self) -> bool {
        self.observed.borrow().expects_callbacks
    }

    pub(crate) fn set_role(&self, role: Role) {
        self.update(|inner| {
            inner.status.role = role;
            if role == Role::Leader {
                // There is no other leader to ask, so this node itself makes the registration that is pending.
                inner.pending_rearm = None;
                // While the port changed hands, DDS could not probe any process.
                inner.last_probe = inner.probed.then(tokio::time::Instant::now);
            }
        });
    }

    /// Wakes every waiter with *stopped*, or with the error that ended the node. Nothing changes the state after
    /// this.
    pub(crate) fn stop(&self, error: Option<Error>) {
        self.update(|inner| {
            inner.state_at_stop.get_or_insert(inner.status.state);
            inner.stopped = true;
            inner.status.running = false;
            inner.status.state = State::Disconnected;
            inner.status.callback_overdue = false;
            inner.status.set_next_attempt(None);
            self.put_token(inner, None);
            if let Some(error) = error {
                inner.status.last_error = Some(error.code());
                inner.last_error = Some(error.clone());
                inner.ended_by = Some(error);
            }
        });
        self.requests.close();
    }

    /// Caches another token, or none.
    pub(super) fn put_token(&self, inner: &mut Inner, token: Option<Arc<CachedToken>>) {
        inner.status.token_expires_at = token.as_ref().and_then(|token| token.expires_at_unix());
        inner.token.cached.clone_from(&token);
        self.token.store(token);
    }
}

/// Calls what the host asked for. A panic is reported by the host's panic hook, and must not end the registrar.
#[inline(never)]
fn call(jobs: Vec<Job>) {
    for job in jobs {
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

impl Inner {
    fn observed(&self) -> Observed {
        Observed {
            registration: self.registration,
            state: self.status.state,
            has_secret: self.status.has_secret,
            stopped: self.stopped,
            token_due: self.token.due,
            token_outcomes: self.token.outcomes,
            registration_tokens: self.token.from_registration,
            probed: self.probed,
            called: self.called(),
            expects_callbacks: self.expects_callbacks,
        }
    }

    /// DDS or a token names this id. It never replaces the one in the credentials of a node with a wallet.
    pub(super) fn set_node_id(&mut self, id: Option<NodeId>) {
        if self.robot || self.status.node_id.is_none() {
            self.status.node_id = id.or(self.status.node_id);
        }
    }

    /// Whether DDS has called or probed the node in this registration.
    pub(super) fn called(&self) -> bool {
        [self.secret_registration, self.probed_registration].contains(&Some(self.registration))
    }

    /// Whether no secret can arrive.
    pub(super) fn is_unreachable(&self) -> bool {
        !self.expects_callbacks && !self.shares_state
    }

    /// Why this process can neither follow a leader nor lead.
    pub(super) fn cut_off(&self) -> Option<&Error> {
        self.persistence_error.as_ref().filter(|_| self.status.role == Role::Follower)
    }

    /// The error that a call on a stopped node fails with.
    pub(super) fn stopped_error(&self) -> Error {
        self.ended_by.clone().unwrap_or_else(Error::stopped)
    }

    pub(super) fn check_running(&self) -> Result<()> {
        if self.stopped { Err(self.stopped_error()) } else { Ok(()) }
    }
}
