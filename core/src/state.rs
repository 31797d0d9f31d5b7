//! The state of a registration: status, last health check, secret; in memory, and in a directory that
//! outlives the process.
//!
//! A `Store` is the state of one node. The free functions act on the process-wide default store, for
//! programs that run [`run_registration_loop`](crate::register::run_registration_loop) and
//! [`router_dds`](crate::http::router_dds) themselves; both share this one implementation.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::DdsClock;
use crate::config::CallbackPolicy;
use crate::error::{Error, ErrorCode, Result};
use crate::event::{EventChannel, EventKind};
use crate::fork::PerProcess;
use crate::log::log;
use crate::secret::Secret;
use crate::status::{Role, State, Status, StatusCell};
use crate::token::{Held, TokenState};

#[cfg(target_os = "linux")]
pub(crate) mod record;
#[cfg(target_os = "linux")]
mod replica;

#[cfg(target_os = "linux")]
pub use crate::state_dir::{StateDir, StateDirLock};

/// The status text of a node that tries to register.
pub const STATUS_REGISTERING: &str = State::Registering.name();
/// The status text of a registered node.
pub const STATUS_REGISTERED: &str = State::Registered.name();
/// The status text of a node that is not registered and has not tried yet.
pub const STATUS_DISCONNECTED: &str = State::Disconnected.name();

/// The state as programs exchange it: `{"status": "…", "last_healthcheck": <unix seconds> | null}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegistrationState {
    /// [`STATUS_DISCONNECTED`], [`STATUS_REGISTERING`] or [`STATUS_REGISTERED`].
    pub status: String,
    /// When DDS last probed `/health`.
    #[serde(default, with = "chrono::serde::ts_seconds_option")]
    pub last_healthcheck: Option<DateTime<Utc>>,
}

impl Default for RegistrationState {
    fn default() -> Self {
        Self { status: STATUS_DISCONNECTED.into(), last_healthcheck: None }
    }
}

/// What a caller can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until the node is registered.
    Registered,
    /// Until a node secret is held.
    Secret,
}

/// What became of a secret that DDS sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// It is new; this is its version.
    New(u64),
    /// It is the one already held.
    Same,
    /// The callback policy forbids it: this registration has another one.
    Another,
    /// There is no registration that a callback could confirm, for this reason.
    NotWaiting(&'static str),
}

/// What has become of a signed challenge, with the registration it was for. Of another registration it says
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandIn {
    /// It is on its way, or DDS may have acted on it whatever it answered: it may call back.
    Pending(u64),
    /// DDS has refused it: a callback is not for this registration.
    Refused(u64),
}

/// What the node's tasks and waiters watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signal {
    /// Counts re-arms: an attempt that began under an older number must not count any more.
    pub(crate) registration: u64,
    pub(crate) state: State,
    has_secret: bool,
    pub(crate) stopped: bool,
    /// A sign-in for an access token is wanted.
    pub(crate) token_due: bool,
    /// Counts the ends of sign-ins that waiters are told of.
    token_outcomes: u64,
    /// DDS has probed the node's health since the last time that it fell silent.
    pub(crate) probed: bool,
    /// DDS has called or probed the node since it was registered.
    pub(crate) called: bool,
}

impl Signal {
    /// Whether what has changed since `former` can end a wait. An attempt that begins cannot, and to wake the
    /// host's thread for it would cost a tenth of a registration.
    fn ends_waits(self, former: Self) -> bool {
        self.stopped != former.stopped
            || self.state != former.state && self.state == State::Registered
            || self.has_secret != former.has_secret
            || self.token_outcomes != former.token_outcomes
    }
}

/// The state of one node. Status and secret are read without a lock; writers take turns.
pub(crate) struct Store {
    status: StatusCell,
    secret: ArcSwapOption<Secret>,
    pub(crate) token: ArcSwapOption<Held>,
    clock: DdsClock,
    inner: Mutex<Inner>,
    /// Something may have ended a wait: for threads, and for tasks.
    changed: Condvar,
    changed_for_tasks: watch::Sender<()>,
    signal: watch::Sender<Signal>,
    events: EventChannel,
    /// Counts changes of what outlives the process.
    revision: watch::Sender<u64>,
    /// The newest revision that was kept, or could not be; whatever it is where nothing is kept.
    settled: watch::Sender<u64>,
}

type Job = Box<dyn FnOnce() + Send>;
type Outcome = Box<dyn FnMut(&mut Inner) -> Option<Job> + Send>;

/// A pending [`Store::wait_then`].
struct Waiter {
    number: u64,
    /// Asked after every change, it gives out what to call when it is over.
    done: Outcome,
    tell: Tell,
}

/// How the end of a [`Store::wait_then`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    /// On the dispatcher's thread, after the events that came before.
    Dispatched,
    /// While nobody hears events, at once, by the thread whose change ends the wait: for what only passes the
    /// news on. It spares the wake-up of a thread.
    AtOnce,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) status: Status,
    /// As [`Status::last_healthcheck`], to the nanosecond.
    last_healthcheck: Option<DateTime<Utc>>,
    /// The same on the monotonic clock, for probes of DDS.
    last_probe: Option<tokio::time::Instant>,
    /// As [`Signal::probed`].
    probed: bool,
    /// The registration during which the last probe came.
    probed_registration: Option<u64>,
    pub(crate) last_error: Option<Error>,
    pub(crate) registration: u64,
    /// The registration in which the held secret was accepted.
    secret_registration: Option<u64>,
    /// The last one; none before the first.
    hand_in: Option<HandIn>,
    pub(crate) token: TokenState,
    pub(crate) stopped: bool,
    /// What ended the node, if no call of `stop` did.
    ended_by: Option<Error>,
    /// The state before the stop.
    state_at_stop: Option<State>,
    /// A follower's re-arm that its leader has not followed yet: the registration it was for.
    asked_after: Option<u64>,
    callback_address: Option<SocketAddr>,
    /// No secret can come: DDS cannot call this node, and no other process shares the state.
    unreachable: bool,
    persistence_error: Option<Error>,
    waiters: Vec<Waiter>,
    last_waiter: u64,
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
            inner: Mutex::default(),
            changed: Condvar::new(),
            changed_for_tasks: watch::Sender::default(),
            signal: watch::Sender::default(),
            events,
            revision: watch::Sender::default(),
            settled: watch::Sender::new(u64::MAX),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        self.update_and_tell(|inner| (change(inner), None))
    }

    /// As [`Store::update`], with an event that `change` adds: the cause of what it changed.
    pub(crate) fn update_and_tell<R>(&self, change: impl FnOnce(&mut Inner) -> (R, Option<EventKind>)) -> R {
        let mut inner = self.lock();
        let (result, wakes) = self.change(&mut inner, change);
        drop(inner);
        if let Some(jobs) = wakes {
            self.wake_waits();
            call_at_once(jobs);
        }
        result
    }

    fn wake_waits(&self) {
        self.changed.notify_all();
        self.changed_for_tasks.send_replace(());
    }

    /// The one way to change anything: publishes what the change did to readers, events and waiters, in this
    /// order, so that whoever is told of something also sees it. The caller wakes the others and calls, without the lock,
    /// what comes back; none when no wait can have ended.
    fn change<R>(
        &self,
        inner: &mut Inner,
        change: impl FnOnce(&mut Inner) -> (R, Option<EventKind>),
    ) -> (R, Option<Vec<Job>>) {
        let before = inner.status;
        let (result, event) = change(inner);
        inner.status.clock_skew_ms = self.clock.skew_ms();
        let now = inner.status;
        if now != before {
            self.status.write(&now);
        }
        if let Some(event) = event {
            self.events.publish(event);
        }
        if now.state != before.state {
            self.events.publish(EventKind::StatusChanged { from: before.state, to: now.state });
        }
        if now.secret_version != before.secret_version {
            self.events.publish(EventKind::SecretChanged { version: now.secret_version });
        }
        let signal = Signal {
            registration: inner.registration,
            state: now.state,
            has_secret: now.has_secret,
            stopped: inner.stopped,
            token_due: inner.token.due,
            token_outcomes: inner.token.outcomes,
            probed: inner.probed,
            called: inner.called(),
        };
        let mut wakes = false;
        let signalled = self.signal.send_if_modified(|shown| {
            let former = std::mem::replace(shown, signal);
            wakes = signal.ends_waits(former);
            signal != former
        });
        if signalled || now.kept() != before.kept() {
            self.count_revision();
        }
        (result, wakes.then(|| self.finish_waits(inner)))
    }

    /// Ends the waits that are over. Returns what is to be called at once.
    #[inline(never)]
    fn finish_waits(&self, inner: &mut Inner) -> Vec<Job> {
        let mut at_once = Vec::new();
        for (tell, done) in inner.take_finished_waiters() {
            if tell == Tell::AtOnce && !self.events.are_heard() {
                at_once.push(done);
            } else {
                self.events.call(done);
            }
        }
        at_once
    }

    pub(crate) fn events(&self) -> &EventChannel {
        &self.events
    }

    pub(crate) fn status(&self) -> Status {
        self.status.read()
    }

    pub(crate) fn status_changes(&self) -> &Arc<AtomicU32> {
        self.status.changes()
    }

    pub(crate) fn last_error(&self) -> Option<Error> {
        self.lock().last_error.clone()
    }

    pub(crate) fn persistence_error(&self) -> Option<Error> {
        self.lock().persistence_error.clone()
    }

    pub(crate) fn callback_address(&self) -> Option<SocketAddr> {
        self.lock().callback_address
    }

    pub(crate) fn set_callback_address(&self, address: SocketAddr) {
        self.update(|inner| inner.callback_address = Some(address));
        // No status shows it, but followers do.
        self.count_revision();
    }

    fn count_revision(&self) {
        self.revision.send_if_modified(|revision| {
            *revision += 1;
            // To wake nobody costs as much as to store a secret.
            self.revision.receiver_count() > 0
        });
    }

    pub(crate) fn set_role(&self, role: Role) {
        self.update(|inner| {
            inner.status.role = role;
            if role == Role::Leader {
                // Nobody else is left to ask: the registration that was asked for is this node's to make.
                inner.asked_after = None;
                // DDS could not probe anybody while the port changed hands.
                inner.last_probe = inner.probed.then(tokio::time::Instant::now);
            }
        });
    }

    /// Shows an error that is nobody else's, such as that the callback port is taken.
    pub(crate) fn report(&self, error: Error) {
        self.update(|inner| {
            inner.status.last_error = Some(error.code());
            inner.last_error = Some(error);
        });
    }

    /// Waits until all that has changed so far outlives the process, or could not be made to.
    pub(crate) async fn settled(&self) {
        let now = *self.revision.borrow();
        if *self.settled.borrow() >= now {
            return;
        }
        let mut settled = self.settled.subscribe();
        // The sender is this store's.
        let _ = settled.wait_for(|settled| *settled >= now).await;
    }

    pub(crate) fn secret(&self) -> arc_swap::Guard<Option<Arc<Secret>>> {
        self.secret.load()
    }

    pub(crate) fn clock(&self) -> &DdsClock {
        &self.clock
    }

    pub(crate) fn signal(&self) -> watch::Receiver<Signal> {
        self.signal.subscribe()
    }

    /// The node runs from now on. `reachable` tells whether a secret can come.
    pub(crate) fn set_running(&self, reachable: bool) {
        self.update(|inner| {
            inner.status.running = true;
            inner.unreachable = !reachable;
        });
    }

    /// An attempt begins. Returns the registration that it is for; `None` after a stop, or when somebody else,
    /// such as a callback, has just confirmed it.
    pub(crate) fn begin_attempt(&self) -> Option<u64> {
        self.update(|inner| {
            if inner.stopped || inner.status.state == State::Registered {
                return None;
            }
            inner.status.state = State::Registering;
            inner.status.attempts += 1;
            inner.status.set_next_attempt(None);
            Some(inner.registration)
        })
    }

    /// The next attempt begins only after `wait`.
    pub(crate) fn hold_back(&self, wait: Duration) {
        self.update(|inner| inner.status.set_next_attempt(Instant::now().checked_add(wait)));
    }

    /// The signed challenge goes out: from here on DDS may call back to confirm this registration, until it
    /// refuses the challenge.
    pub(crate) fn hand_in(&self, registration: u64) {
        self.update(|inner| inner.hand_in = Some(HandIn::Pending(registration)));
    }

    /// DDS has refused the signed challenge. A callback that came before the refusal still counts.
    pub(crate) fn hand_in_refused(&self, registration: u64) {
        self.update(|inner| inner.hand_in = Some(HandIn::Refused(registration)));
    }

    /// An attempt succeeded. False when a re-arm has overtaken it, and it does not count.
    pub(crate) fn finish_attempt(&self, registration: u64) -> bool {
        self.update(|inner| {
            let counts = inner.registration == registration && !inner.stopped;
            if counts {
                inner.mark_registered();
            }
            counts
        })
    }

    /// An attempt failed, and the next one is due after `retry_in`. False when it does not count: a re-arm
    /// has overtaken it, or DDS has called back meanwhile and so has confirmed the registration.
    pub(crate) fn fail_attempt(&self, registration: u64, error: &Error, retry_in: Duration) -> bool {
        self.update_and_tell(|inner| {
            if inner.registration != registration || inner.stopped || inner.status.state == State::Registered
            {
                return (false, None);
            }
            inner.status.consecutive_failures = inner.status.consecutive_failures.saturating_add(1);
            inner.status.last_error = Some(error.code());
            inner.status.set_next_attempt(Instant::now().checked_add(retry_in));
            inner.last_error = Some(error.clone());
            let (code, message) = (error.code(), error.message().to_owned());
            (true, Some(EventKind::AttemptFailed { code, message, retry_in }))
        })
    }

    /// Begins a new registration: the status is `disconnected` when this returns, and the registrar awake.
    pub(crate) fn rearm(&self) -> Result<()> {
        self.update(|inner| {
            if inner.stopped {
                return Err(inner.stopped_error());
            }
            inner.rearm();
            Ok(())
        })
    }

    /// DDS has lost this registration, so a new one begins. False when that has been seen to already.
    pub(crate) fn lose_registration(&self, registration: u64, reason: &str) -> bool {
        let lost = self.update_and_tell(|inner| {
            let current = inner.registration == registration && inner.status.state == State::Registered;
            if !current || inner.stopped {
                return (false, None);
            }
            inner.rearm();
            (true, Some(EventKind::RegistrationLost { reason: reason.to_owned() }))
        });
        if lost {
            log!(Warn, "node", "the registration is lost, registering again: {reason}");
        }
        lost
    }

    /// Takes a secret that DDS sent, if the policy allows it; DDS has thereby confirmed the registration.
    /// Without a policy every secret is taken, at any time.
    pub(crate) fn accept_secret(&self, policy: Option<CallbackPolicy>, secret: Secret) -> Acceptance {
        self.update(|inner| {
            if policy.is_some()
                && let Some(why) = inner.awaits_no_callback()
            {
                return Acceptance::NotWaiting(why);
            }
            let same = self.secret.load().as_deref() == Some(&secret);
            let has_one = inner.secret_registration == Some(inner.registration);
            if policy == Some(CallbackPolicy::PerRegistration) && has_one && !same {
                return Acceptance::Another;
            }
            inner.secret_registration = Some(inner.registration);
            inner.status.callback_overdue = false;
            if inner.status.state != State::Registered {
                inner.mark_registered();
            }
            if same {
                return Acceptance::Same;
            }
            Acceptance::New(self.put_secret(inner, secret))
        })
    }

    fn put_secret(&self, inner: &mut Inner, secret: Secret) -> u64 {
        self.secret.store(Some(Arc::new(secret)));
        inner.status.has_secret = true;
        inner.status.secret_version += 1;
        inner.status.secret_version
    }

    pub(crate) fn touch_healthcheck(&self) {
        self.update_and_tell(|inner| {
            inner.set_healthcheck(Some(Utc::now()));
            inner.last_probe = Some(tokio::time::Instant::now());
            inner.probed = true;
            inner.probed_registration = Some(inner.registration);
            inner.status.callback_overdue = false;
            ((), Some(EventKind::Healthcheck))
        });
    }

    /// When DDS last probed the node's health, on the monotonic clock.
    pub(crate) fn last_probe(&self) -> Option<tokio::time::Instant> {
        self.lock().last_probe
    }

    /// Shows that DDS should have called by now. False if it has, or if the registration is over.
    pub(crate) fn set_callback_overdue(&self) -> bool {
        self.update(|inner| {
            let overdue = inner.status.state == State::Registered && !inner.called();
            inner.status.callback_overdue = overdue;
            overdue
        })
    }

    /// DDS has fallen silent: the next probe is the first again.
    pub(crate) fn forget_probes(&self) {
        self.update(|inner| inner.probed = false);
    }

    /// Wakes every waiter with *stopped*, or with the error that ended the node; nothing changes the state after
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
    }

    /// Ends the waits of a stopped node again, in case its stop could not.
    pub(crate) fn end_waits(&self) {
        let jobs = self.finish_waits(&mut self.lock());
        self.wake_waits();
        call_at_once(jobs);
    }

    /// Blocks until it is so, the node stops, or the deadline passes.
    pub(crate) fn wait(&self, what: Wait, deadline: Option<Instant>) -> Result<()> {
        self.wait_for(deadline, |inner| inner.reached(what), |inner| inner.wait_timed_out(what))
    }

    /// As [`Store::wait`], but calls `done`. Returns a number to cancel it with.
    pub(crate) fn wait_then(
        &self,
        what: Wait,
        tell: Tell,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Result<u64> {
        self.wait_for_then(tell, move |inner| inner.reached(what), done)
    }

    /// As [`Store::wait`], for any async runtime and without a timer of its own.
    pub(crate) async fn wait_async(&self, what: Wait) -> Result<()> {
        self.wait_for_async(|inner| inner.reached(what)).await
    }

    /// Blocks until there is an outcome, or the deadline passes.
    pub(crate) fn wait_for<T>(
        &self,
        deadline: Option<Instant>,
        mut outcome: impl FnMut(&mut Inner) -> Option<Result<T>>,
        timed_out: impl FnOnce(&Inner) -> Error,
    ) -> Result<T> {
        let mut inner = self.lock();
        loop {
            let (found, wakes) = self.change(&mut inner, |inner| (outcome(inner), None));
            if let Some(jobs) = wakes {
                self.wake_waits();
                // Under the lock, nothing of the host's is called.
                jobs.into_iter().for_each(|job| self.events.call(job));
            }
            if let Some(result) = found {
                return result;
            }
            inner = match deadline {
                None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(timed_out(&inner));
                    }
                    self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// As [`Store::wait_for`], but calls `done`. Returns a number to cancel it with.
    pub(crate) fn wait_for_then<T: Send + 'static>(
        &self,
        tell: Tell,
        mut outcome: impl FnMut(&mut Inner) -> Option<Result<T>> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Result<u64> {
        let mut done = Some(done);
        let mut waiter = move |inner: &mut Inner| {
            let result = outcome(inner)?;
            let done = done.take()?;
            Some(Box::new(move || done(result)) as Job)
        };
        self.update(|inner| {
            if inner.stopped {
                return Err(inner.stopped_error());
            }
            inner.last_waiter += 1;
            match waiter(inner) {
                Some(done) => self.events.call(done),
                None => {
                    let number = inner.last_waiter;
                    inner.waiters.push(Waiter { number, done: Box::new(waiter), tell });
                }
            }
            Ok(inner.last_waiter)
        })
    }

    /// As [`Store::wait_for`], for any async runtime and without a timer of its own.
    pub(crate) async fn wait_for_async<T>(
        &self,
        mut outcome: impl FnMut(&mut Inner) -> Option<Result<T>>,
    ) -> Result<T> {
        let mut changed = self.changed_for_tasks.subscribe();
        loop {
            if let Some(result) = self.update(&mut outcome) {
                return result;
            }
            if changed.changed().await.is_err() {
                return Err(Error::stopped());
            }
        }
    }

    /// Forgets a wait that has not finished; its callback is dropped on the calling thread.
    pub(crate) fn cancel_wait(&self, waiter: u64) {
        let mut inner = self.lock();
        let at = inner.waiters.iter().position(|pending| pending.number == waiter);
        let cancelled = at.map(|at| inner.waiters.swap_remove(at));
        // The host's code runs in this drop: not under the lock.
        drop(inner);
        drop(cancelled);
    }
}

/// Calls what a host has asked for: a panic in it is reported by its panic hook, and no reason to end the registrar.
#[inline(never)]
fn call_at_once(jobs: Vec<Job>) {
    for job in jobs {
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

impl Inner {
    /// Why a stopped node does not do what it is asked for.
    pub(crate) fn stopped_error(&self) -> Error {
        self.ended_by.clone().unwrap_or_else(Error::stopped)
    }

    fn mark_registered(&mut self) {
        self.status.state = State::Registered;
        self.status.registered_at = u64::try_from(Utc::now().timestamp()).ok();
        self.status.consecutive_failures = 0;
        self.status.last_error = None;
        self.status.set_next_attempt(None);
        self.last_error = None;
    }

    /// Why a callback confirms nothing at present; none when it confirms this registration.
    fn awaits_no_callback(&self) -> Option<&'static str> {
        if self.stopped {
            return Some("the node is not waiting for a callback: it was stopped");
        }
        match self.status.state {
            State::Registered => None,
            State::Disconnected => {
                Some("the node is not waiting for a callback: it has not begun to register")
            }
            State::Registering => match self.hand_in {
                Some(HandIn::Pending(registration)) if registration == self.registration => None,
                Some(HandIn::Refused(registration)) if registration == self.registration => {
                    Some("the node is not waiting for a callback: DDS has refused its registration")
                }
                _ => Some("the node is not waiting for a callback: it has not sent DDS its registration yet"),
            },
        }
    }

    fn rearm(&mut self) {
        if self.status.role == Role::Follower {
            if self.asked_after.is_some() {
                return;
            }
            self.asked_after = Some(self.registration);
        }
        self.registration += 1;
        self.status.state = State::Disconnected;
        self.status.callback_overdue = false;
        self.status.set_next_attempt(None);
    }

    /// Whether DDS has called or probed the node in this registration.
    fn called(&self) -> bool {
        [self.secret_registration, self.probed_registration].contains(&Some(self.registration))
    }

    fn set_healthcheck(&mut self, at: Option<DateTime<Utc>>) {
        self.last_healthcheck = at;
        self.status.last_healthcheck = at.and_then(|at| u64::try_from(at.timestamp()).ok());
    }

    /// How a wait for this ends at present, if it does.
    fn reached(&self, what: Wait) -> Option<Result<()>> {
        if self.stopped {
            return Some(Err(self.stopped_error()));
        }
        if what == Wait::Secret && self.unreachable && !self.status.has_secret {
            return Some(Err(Error::new(
                ErrorCode::NotFound,
                "no secret can come, because DDS cannot call this node; set callback_bind if DDS knows the node's \
                 URL, or use an access token, which needs no callback",
            )));
        }
        let reached = match what {
            Wait::Registered => self.status.state == State::Registered,
            Wait::Secret => self.status.has_secret,
        };
        reached.then_some(Ok(()))
    }

    fn take_finished_waiters(&mut self) -> Vec<(Tell, Job)> {
        let mut finished = Vec::new();
        for mut waiter in std::mem::take(&mut self.waiters) {
            match (waiter.done)(self) {
                Some(done) => finished.push((waiter.tell, done)),
                None => self.waiters.push(waiter),
            }
        }
        finished
    }

    fn wait_timed_out(&self, what: Wait) -> Error {
        let missing = match what {
            Wait::Registered => "not registered in time",
            Wait::Secret => "no secret from DDS in time",
        };
        let reason =
            self.last_error.as_ref().map_or_else(String::new, |error| format!("; last attempt: {error}"));
        Error::new(ErrorCode::Timeout, format!("{missing} (status {}){reason}", self.status.state))
    }
}

static DEFAULT_STORE: PerProcess<Arc<Store>> = PerProcess::new();

fn default_store() -> &'static Store {
    default_store_handle()
}

/// The store that the free functions act on.
pub(crate) fn default_store_handle() -> &'static Arc<Store> {
    DEFAULT_STORE.get()
}

pub(crate) fn parse_status(status: &str) -> Result<State> {
    State::from_name(status).ok_or_else(|| {
        Error::new(
            ErrorCode::InvalidArgument,
            format!("status {status:?} is none of disconnected, registering, registered"),
        )
    })
}

/// Reads the default store's state.
///
/// # Errors
/// None at present; the signature is its predecessor's.
pub fn read_state() -> Result<RegistrationState> {
    let inner = default_store().lock();
    Ok(RegistrationState {
        status: inner.status.state.name().into(),
        last_healthcheck: inner.last_healthcheck,
    })
}

/// Replaces the default store's state.
///
/// # Errors
/// [`ErrorCode::InvalidArgument`] when the status is none of the three.
pub fn write_state(st: &RegistrationState) -> Result<()> {
    let state = parse_status(&st.status)?;
    default_store().update(|inner| {
        inner.set_state(state);
        inner.set_healthcheck(st.last_healthcheck);
    });
    Ok(())
}

/// Sets the default store's status. `disconnected` wakes a parked registration loop at once.
///
/// # Errors
/// [`ErrorCode::InvalidArgument`] when the status is none of the three.
pub fn set_status(new_status: &str) -> Result<()> {
    let state = parse_status(new_status)?;
    default_store().update(|inner| inner.set_state(state));
    Ok(())
}

impl Inner {
    /// A state that the host decided on. `disconnected` is its way to re-arm.
    fn set_state(&mut self, state: State) {
        match state {
            State::Disconnected => self.rearm(),
            State::Registering => self.status.state = State::Registering,
            State::Registered => self.mark_registered(),
        }
    }
}

/// Notes that DDS has just probed the node's health.
///
/// # Errors
/// None at present; the signature is its predecessor's.
pub fn touch_healthcheck_now() -> Result<()> {
    default_store().touch_healthcheck();
    Ok(())
}

/// Keeps a node secret in the default store.
///
/// # Errors
/// None at present; the signature is its predecessor's.
pub fn write_node_secret(secret: &str) -> Result<()> {
    let store = default_store();
    store.update(|inner| store.put_secret(inner, Secret::new(secret)));
    Ok(())
}

/// Reads the default store's node secret; `None` before DDS has sent one.
///
/// # Errors
/// None at present; the signature is its predecessor's.
pub fn read_node_secret() -> Result<Option<String>> {
    Ok(default_store().secret().as_ref().map(|secret| secret.expose().to_owned()))
}

/// Forgets the default store's node secret.
///
/// # Errors
/// None at present; the signature is its predecessor's.
pub fn clear_node_secret() -> Result<()> {
    let store = default_store();
    store.update(|inner| {
        store.secret.store(None);
        inner.status.has_secret = false;
        inner.secret_registration = None;
    });
    Ok(())
}

/// Lets one registrar at a time make an attempt in this process. Released on drop.
#[derive(Debug)]
pub struct LockGuard {
    token: u64,
}

/// Who holds the lock, and since when.
#[derive(Debug, Default)]
struct RegistrationLock {
    holder: Option<(u64, Instant)>,
    last_token: u64,
}

static REGISTRATION_LOCK: PerProcess<Mutex<RegistrationLock>> = PerProcess::new();

fn lock_registration() -> MutexGuard<'static, RegistrationLock> {
    REGISTRATION_LOCK.get().lock().unwrap_or_else(PoisonError::into_inner)
}

impl LockGuard {
    /// Takes the lock if nobody holds it, or if its holder took it longer than `stale_after` ago. `None`
    /// when another registrar is at work.
    ///
    /// # Errors
    /// None at present; the signature is its predecessor's.
    pub fn try_acquire(stale_after: Duration) -> io::Result<Option<Self>> {
        let mut lock = lock_registration();
        let now = Instant::now();
        if let Some((_, since)) = lock.holder
            && now.duration_since(since) <= stale_after
        {
            return Ok(None);
        }
        lock.last_token += 1;
        let token = lock.last_token;
        lock.holder = Some((token, now));
        Ok(Some(Self { token }))
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        let mut lock = lock_registration();
        // A holder that was taken for stale must not release the lock of the one after it.
        if lock.holder.is_some_and(|(token, _)| token == self.token) {
            lock.holder = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_does_not_begin_over_a_registration() {
        let store = Store::default();
        let registration = store.begin_attempt().expect("not registered");
        store.hand_in(registration);
        let accepted = store.accept_secret(Some(CallbackPolicy::PerRegistration), Secret::new("s"));
        assert_eq!(accepted, Acceptance::New(1));
        assert_eq!(store.begin_attempt(), None);
        assert_eq!((store.status().state, store.status().attempts), (State::Registered, 1));
        store.rearm().expect("not stopped");
        assert_eq!(store.begin_attempt(), Some(registration + 1));
    }

    #[test]
    fn a_task_is_woken_only_for_what_may_end_its_wait() {
        use std::pin::pin;
        use std::sync::atomic::{AtomicUsize, Ordering};
        use std::task::{Context, Poll, Wake, Waker};

        #[derive(Default)]
        struct Count(AtomicUsize);

        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let (store, wakes) = (Store::default(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&wakes));
        let mut wait = pin!(store.wait_async(Wait::Registered));
        let mut poll = || wait.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll().is_pending());
        let registration = store.begin_attempt().expect("not registered");
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
        assert!(store.finish_attempt(registration));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(matches!(poll(), Poll::Ready(Ok(()))));
    }
}
