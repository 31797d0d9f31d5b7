//! A running node: start, stop, status, wait, events.

use std::collections::btree_map::{BTreeMap, Entry};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};

use crate::blocking::blocking;
use crate::callback_watch::watch_for_callback;
use crate::config::{Config, Settings};
use crate::credentials::decode_credentials;
use crate::crypto;
use crate::dispatcher::{Subscription, after_callback};
use crate::error::{Error, ErrorCode, Result};
use crate::event::{Event, EventChannel};
use crate::fork::{Generation, PerProcess};
use crate::healthcheck::watch_healthchecks;
use crate::http::{Callback, Server};
use crate::http_client::HttpClient;
use crate::latch::Latch;
use crate::log::log;
use crate::register::registrar::run_registrar;
use crate::runtime::Runtime;
use crate::secret::Secret;
use crate::state::store::Store;
use crate::state::waiters::Delivery;
use crate::state_dir::Leadership;
use crate::status::{Role, Status};
use crate::tenants::Tenants;
use crate::thread::OwnThread;
use crate::token::AccessToken;
use crate::token_refresh::run_token_refresher;

pub use crate::state::wait::Wait;

/// How long dropping a node waits for its end.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause before a node that takes over tries again to bind its callback address. The port of a
/// process that has just died may be taken for a moment longer. Each further pause is twice as long.
const BIND_PAUSE: Duration = Duration::from_millis(5);
/// A port that is taken for longer than this is reported.
const BIND_PATIENCE: Duration = Duration::from_millis(500);
const MAX_BIND_PAUSE: Duration = Duration::from_secs(30);
/// Connections that wait to be accepted, as in the standard library.
const BACKLOG: i32 = 128;

/// A node that registers with DDS and stays registered, until it is stopped.
///
/// All methods may be called from any thread, also at the same time, and from callbacks (only
/// [`stop`](Node::stop) is refused there). Dropping a node stops it first; a drop inside a callback is
/// carried out right after the callback has returned.
///
/// After a `fork`, every method of an inherited node answers [`ErrorCode::Forked`] in the child, and dropping
/// it there does nothing. The child may start a node of its own.
pub struct Node {
    /// Given away only by `drop`.
    inner: Option<Inner>,
    generation: Generation,
}

struct Inner {
    store: Arc<Store>,
    tenants: Arc<Tenants>,
    settings: Arc<Settings>,
    wallet: String,
    life: Mutex<Life>,
    ended: Condvar,
}

enum Life {
    Running(Running),
    /// Another thread is in `stop`.
    Stopping,
    Stopped,
}

/// What `stop` takes down.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    /// Opens when the node's task is over.
    done: Latch,
    runtime: Arc<Runtime>,
    /// Kept in the process's list of running nodes.
    identity: (String, String),
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("wallet", &self.wallet_address())
            .field("status", &self.status())
            .finish()
    }
}

impl Node {
    /// Checks the configuration, binds the callback address and starts the registrar. Does not wait for DDS.
    ///
    /// With a `state_dir` it takes up what is kept there first. If another process leads there, this one
    /// follows: it binds nothing and registers nothing until it takes over.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfig`], [`ErrorCode::AlreadyRunning`], [`ErrorCode::Bind`], [`ErrorCode::Io`].
    pub fn start(config: &Config) -> Result<Self> {
        Self::start_subscribed(config, None)
    }

    /// As [`start`](Node::start) and [`set_event_callback`](Node::set_event_callback) in one: no event can
    /// happen between the two.
    ///
    /// # Errors
    /// As [`start`](Node::start).
    pub fn start_with_event_callback(
        config: &Config,
        callback: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::start_subscribed(config, Some(Subscription::new(callback)))
    }

    fn start_subscribed(config: &Config, subscription: Option<Arc<Subscription<Event>>>) -> Result<Self> {
        let settings = Arc::new(config.settings()?);
        let wallet = crypto::derive_eth_address(&settings.key);
        let identity = Identity::claim(&wallet, &settings)?;
        let runtime = Runtime::acquire()?;
        warn_of(config, &settings);
        let _context = runtime.handle().enter();
        let client = runtime.http_clients().get(&settings)?;
        let turns = runtime.http_clients().turns(&settings);
        let store = Arc::new(Store::new(EventChannel::new(Arc::clone(runtime.dispatcher()))));
        let shared = settings.state_dir.as_deref();
        let shared = shared.map(|path| Leadership::join(path, &wallet, &settings, &store)).transpose()?;
        let (mut shared, role) = shared.map_or((None, Role::Leader), |(shared, role)| (Some(shared), role));
        let server = match &settings.callback_bind {
            Some(address) if role == Role::Leader => Some(serve(bind(address)?, &store, &settings)?),
            _ => None,
        };
        if let (Some(shared), Role::Leader) = (&mut shared, role) {
            shared.announce();
        }
        drop(store.events().replace(subscription));
        identity.publish(&store);
        store.set_running(settings.callback_bind.is_some() || settings.state_dir.is_some());

        let (stop, asked_to_stop) = oneshot::channel::<()>();
        let (tenancy, done) = runtime.tenants().add(&store)?;
        let task = Task {
            store: Arc::clone(&store),
            settings: Arc::clone(&settings),
            client,
            turns,
            server,
            shared,
        };
        let task = task.run(asked_to_stop);
        let crashed = Arc::clone(&store);
        let task = runtime.handle().spawn(task);
        runtime.handle().spawn(async move {
            if let Err(error) = task.await
                && error.is_panic()
            {
                let message =
                    "a bug ended this node's task; please report it, stop the node and start it again";
                log!(Error, "node", "{message}");
                crashed.stop(Some(Error::new(ErrorCode::Panic, message)));
            }
            drop(tenancy);
        });

        let tenants = Arc::clone(runtime.tenants());
        let running = Running { stop: Some(stop), done, runtime, identity: identity.keep() };
        Ok(Self {
            inner: Some(Inner {
                store,
                tenants,
                settings,
                wallet,
                life: Mutex::new(Life::Running(running)),
                ended: Condvar::new(),
            }),
            generation: Generation::current(),
        })
    }

    #[inline]
    fn inner(&self) -> Result<&Inner> {
        if self.generation.is_foreign() {
            return Err(Error::forked());
        }
        Ok(self.inner.as_ref().expect("only drop takes it"))
    }

    /// As `inner`, for what waits: it must not begin to wait for a runtime that is dead.
    fn running_inner(&self) -> Result<&Inner> {
        let inner = self.inner()?;
        inner.tenants.runtime_is_alive();
        Ok(inner)
    }

    /// What the node is doing. A few nanoseconds, without a lock.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn status(&self) -> Result<Status> {
        Ok(self.inner()?.store.status())
    }

    /// Counts the changes of the status, from 2³² on anew. For hosts that keep what they have made of a status:
    /// as long as the number is the one from before that status was read, it holds. Only
    /// [`Status::next_attempt_in`] runs by itself. Read with `Acquire`; only the library may write to it.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn status_changes(&self) -> Result<&Arc<AtomicU32>> {
        Ok(self.inner()?.store.status_changes())
    }

    /// What the last attempt failed with, in DDS's own words; none after a success.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn last_error(&self) -> Result<Option<Error>> {
        Ok(self.inner()?.store.last_error())
    }

    /// Why the state cannot be kept in `state_dir` at present, or its leader not followed; none when it can.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn persistence_error(&self) -> Result<Option<Error>> {
        Ok(self.inner()?.store.persistence_error())
    }

    /// Waits until the node is registered or holds a secret; without a timeout for as long as it takes.
    ///
    /// A secret comes only to a node that DDS can call. See `callback_bind`.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] at once when no secret can come: the node has none, no callback server, and no
    /// `state_dir` that another process could write one to. [`ErrorCode::Timeout`], [`ErrorCode::Stopped`] when the
    /// node stops meanwhile, [`ErrorCode::Forked`].
    pub fn wait(&self, what: Wait, timeout: Option<Duration>) -> Result<()> {
        self.running_inner()?.store.wait(what, deadline(timeout))
    }

    /// As [`wait`](Node::wait), for async code on any runtime. Dropping the future ends the wait.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`], [`ErrorCode::Stopped`] when the node stops meanwhile, [`ErrorCode::Forked`].
    pub fn wait_async(&self, what: Wait) -> Result<impl Future<Output = Result<()>> + Send + 'static> {
        let store = Arc::clone(&self.running_inner()?.store);
        Ok(async move { store.wait_async(what).await })
    }

    /// As [`wait`](Node::wait), for programs that wait by callback: `done` is called once, on the library's
    /// dispatcher thread, unless the returned [`PendingWait`] is dropped first.
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`], also as what `done` gets when the node stops meanwhile; [`ErrorCode::Forked`].
    pub fn wait_then(
        &self,
        what: Wait,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Result<PendingWait> {
        self.wait_then_deliver(what, Delivery::Dispatched, done)
    }

    /// As [`wait_then`](Node::wait_then), for a `done` that only passes the news on to a thread of the host's: it
    /// must not block, nor call this library. While nobody hears events, the thread that ends the wait may call
    /// it at once, which spares the dispatcher's wake-up; else it is called after the events that came before.
    ///
    /// # Errors
    /// As [`wait_then`](Node::wait_then).
    pub fn wait_then_notify(
        &self,
        what: Wait,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Result<PendingWait> {
        self.wait_then_deliver(what, Delivery::AtOnce, done)
    }

    fn wait_then_deliver(
        &self,
        what: Wait,
        delivery: Delivery,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Result<PendingWait> {
        let store = Arc::clone(&self.running_inner()?.store);
        let waiter = store.wait_then(what, delivery, done)?;
        Ok(PendingWait { store, waiter, generation: self.generation })
    }

    /// The node secret; `None` before DDS has sent one. Still answers after a stop.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn read_secret(&self) -> Result<Option<Secret>> {
        self.with_secret(|secret| secret.cloned())
    }

    /// Lends the node secret to `read` instead of copying it.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn with_secret<R>(&self, read: impl FnOnce(Option<&Secret>) -> R) -> Result<R> {
        let secret = self.inner()?.store.secret();
        Ok(read(secret.as_deref()))
    }

    /// An access token for the services behind DDS; without a timeout waits for as long as it takes.
    ///
    /// The first call signs the node in, once it is registered. From then on a token is kept at hand: it is
    /// refreshed in the background at about three quarters of its life, and calls answer from memory, without
    /// a lock. However many callers wait, there is one sign-in at a time. A token is handed out during the
    /// first nine tenths of its life (and until 10 s before its end, if that is later), so that it still gets
    /// to where it is used; after that, calls wait for the next one.
    ///
    /// A DDS that is out of reach is asked again after 2, 4, 8… and at most 60 seconds, while callers wait. A DDS
    /// that does not know the node any more makes it register again, and callers get their token after that.
    ///
    /// # Errors
    /// [`ErrorCode::Rejected`] when DDS refuses the sign-in: at once, and until the next one is due.
    /// [`ErrorCode::Timeout`], with what the last attempt failed with. [`ErrorCode::Stopped`] when the node
    /// stops meanwhile, [`ErrorCode::Forked`].
    pub fn access_token(&self, timeout: Option<Duration>) -> Result<AccessToken> {
        let inner = self.inner()?;
        if let Some(token) = inner.store.usable_token() {
            return Ok(token);
        }
        inner.tenants.wake(|| inner.store.access_token(deadline(timeout)))?
    }

    /// The access token that is held, if there is one that may still be used. Neither signs in nor waits.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn try_access_token(&self) -> Result<Option<AccessToken>> {
        Ok(self.inner()?.store.usable_token())
    }

    /// As [`access_token`](Node::access_token), for async code on any runtime. Dropping the future ends the
    /// wait.
    ///
    /// # Errors
    /// [`ErrorCode::Rejected`], [`ErrorCode::Stopped`], [`ErrorCode::Forked`].
    pub fn access_token_async(&self) -> Result<impl Future<Output = Result<AccessToken>> + Send + 'static> {
        let inner = self.inner()?;
        if inner.store.usable_token().is_none() {
            inner.tenants.runtime_is_alive();
        }
        let store = Arc::clone(&inner.store);
        Ok(async move { store.access_token_async().await })
    }

    /// As [`access_token`](Node::access_token), for programs that wait by callback: `done` is called once, on
    /// the library's dispatcher thread, unless the returned [`PendingWait`] is dropped first.
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`], also as what `done` gets when the node stops meanwhile; [`ErrorCode::Forked`].
    /// `done` may get [`ErrorCode::Rejected`].
    pub fn access_token_then(
        &self,
        done: impl FnOnce(Result<AccessToken>) + Send + 'static,
    ) -> Result<PendingWait> {
        let inner = self.inner()?;
        let store = Arc::clone(&inner.store);
        let waiter = inner.tenants.wake(|| store.access_token_then(done))??;
        Ok(PendingWait { store, waiter, generation: self.generation })
    }

    /// Drops the access token that is held, and what a sign-in under way will bring; then signs in anew, at
    /// once. Only a token that replaced a refused one less than a second ago is replaced when that second is
    /// over, so a service that refuses every token slows its callers to one token a second. Without a token it
    /// does nothing.
    ///
    /// For a service that refuses a token there is [`invalidate_token_if`](Node::invalidate_token_if).
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`], [`ErrorCode::Forked`].
    pub fn invalidate_token(&self) -> Result<()> {
        let inner = self.inner()?;
        inner.tenants.wake(|| inner.store.invalidate_token())?
    }

    /// Drops the access token that is held if it is still this one, such as after a service has answered
    /// it with 401. Many callers with one refused token so cause one sign-in, which comes as soon as with
    /// [`invalidate_token`](Node::invalidate_token). The texts are compared in constant time.
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`], [`ErrorCode::Forked`].
    pub fn invalidate_token_if(&self, value: &str) -> Result<()> {
        let inner = self.inner()?;
        inner.tenants.wake(|| inner.store.invalidate_token_if(value))?
    }

    /// What the last sign-in for an access token failed with, in DDS's own words; none after a success.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn token_error(&self) -> Result<Option<Error>> {
        Ok(self.inner()?.store.token_error())
    }

    /// Registers again. When this returns, the status is `disconnected` and the registrar awake. After ten calls in
    /// a row the node registers at most once a second; calls in between are one. A follower
    /// asks its leader to, and stays `disconnected` until that one has begun.
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`], [`ErrorCode::Forked`].
    pub fn rearm(&self) -> Result<()> {
        let inner = self.inner()?;
        if inner.store.status().running {
            // Before the registrar is awake and writes records of its own.
            log!(Info, "node", "re-armed: registering again");
        }
        inner.tenants.wake(|| inner.store.rearm())?
    }

    /// Where the callback server listens; `None` without one. For a follower: that of its leader.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn callback_address(&self) -> Result<Option<SocketAddr>> {
        Ok(self.inner()?.store.callback_address())
    }

    /// The node's Ethereum address, `0x` and 40 lowercase hex digits.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn wallet_address(&self) -> Result<&str> {
        Ok(&self.inner()?.wallet)
    }

    /// Signs bytes with the node's key as a wallet does (EIP-191 `personal_sign`): `0x` and 130 hex digits.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn sign(&self, message: &[u8]) -> Result<String> {
        Ok(crypto::sign_eip191(&self.inner()?.settings.key, message))
    }

    /// Sends the node's events to `callback`, in place of the former one.
    ///
    /// It runs on the library's dispatcher thread, one event at a time. A replaced callback is dropped once
    /// what is queued for it was delivered. What happened before is not told again: read the status after
    /// this call.
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`], [`ErrorCode::Forked`].
    pub fn set_event_callback(&self, callback: impl Fn(&Event) + Send + Sync + 'static) -> Result<()> {
        self.replace_event_callback(Some(Subscription::new(callback)))
    }

    /// Ends what [`set_event_callback`](Node::set_event_callback) began.
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`], [`ErrorCode::Forked`].
    pub fn clear_event_callback(&self) -> Result<()> {
        self.replace_event_callback(None)
    }

    fn replace_event_callback(&self, fresh: Option<Arc<Subscription<Event>>>) -> Result<()> {
        let inner = self.inner()?;
        let life = inner.life.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*life, Life::Running(_)) {
            return Err(Error::stopped());
        }
        let former = inner.store.events().replace(fresh);
        // The host's code runs when it is dropped: not under the lock.
        drop(life);
        drop(former);
        Ok(())
    }

    /// Ends the node: cancels what is in flight, wakes every wait with *stopped*, delivers the last events,
    /// frees the port, and ends the library's threads if no other node needs them. A second call does
    /// nothing, or waits for the first one.
    ///
    /// A name look-up under way cannot be cancelled: its thread ends when the system's resolver gives up, which
    /// may be seconds after this returns.
    ///
    /// # Errors
    /// [`ErrorCode::Timeout`] when a callback did not return in time (call again to go on waiting),
    /// [`ErrorCode::WouldDeadlock`] from inside a callback, [`ErrorCode::Forked`].
    pub fn stop(&self, timeout: Duration) -> Result<()> {
        let inner = self.inner()?;
        if OwnThread::current().is_some() {
            return Err(Error::new(
                ErrorCode::WouldDeadlock,
                "stop waits for the callback that calls it; call it from a thread of your own, or free the node",
            ));
        }
        let deadline = Instant::now().checked_add(timeout);
        // Without a deadline that a clock can hold, a century does.
        let deadline = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(100 * 365 * 86_400));
        inner.stop(deadline, Deliver::Rest)
    }
}

/// A wait that was begun by [`Node::wait_then`], [`Node::wait_then_notify`] or [`Node::access_token_then`]. Dropping it ends the wait, if it has not finished.
pub struct PendingWait {
    store: Arc<Store>,
    waiter: u64,
    generation: Generation,
}

impl Drop for PendingWait {
    fn drop(&mut self) {
        // After a fork the lock may be held by a thread that only the parent has.
        if !self.generation.is_foreign() {
            self.store.cancel_wait(self.waiter);
        }
    }
}

/// What `stop` does with events that are still queued.
#[derive(Clone, Copy, PartialEq)]
enum Deliver {
    Rest,
    Nothing,
}

impl Inner {
    fn stop(&self, deadline: Instant, deliver: Deliver) -> Result<()> {
        let Some(mut running) = self.begin_stop(deadline)? else { return Ok(()) };
        // When the runtime is dead, the latch is open.
        let _ = self.tenants.wake(|| {
            self.store.stop(None);
            drop(running.stop.take());
        });
        let result = self.take_down(&running, deadline, deliver);
        let life = if result.is_ok() {
            // Joins the library's threads if this was the last node. Not under the lock: a callback that is
            // still running may call this node.
            drop(running);
            Life::Stopped
        } else {
            Life::Running(running)
        };
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = life;
        self.ended.notify_all();
        result
    }

    /// Makes the caller the one who stops the node. `None` when it is stopped already.
    fn begin_stop(&self, deadline: Instant) -> Result<Option<Running>> {
        let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match std::mem::replace(&mut *life, Life::Stopping) {
                Life::Running(running) => return Ok(Some(running)),
                Life::Stopped => {
                    *life = Life::Stopped;
                    return Ok(None);
                }
                Life::Stopping => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(stop_timed_out("another thread is still stopping the node"));
                    }
                    life = self.ended.wait_timeout(life, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn take_down(&self, running: &Running, deadline: Instant, deliver: Deliver) -> Result<()> {
        if !running.done.wait_until(deadline) {
            return Err(stop_timed_out("the node's task has not ended"));
        }
        log!(Info, "node", "stopped");
        if deliver == Deliver::Rest && !running.runtime.dispatcher().flush(deadline) {
            return Err(stop_timed_out("a callback has not returned"));
        }
        self.store.events().close();
        let mut others = RUNNING.get().lock().unwrap_or_else(PoisonError::into_inner);
        others.remove(&running.identity);
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if self.generation.is_foreign() {
            // Threads, sockets and locks behind it are the parent's.
            std::mem::forget(inner);
            return;
        }
        match OwnThread::current() {
            None => {
                if inner.stop(Instant::now() + DROP_TIMEOUT, Deliver::Rest).is_err() {
                    inner.stop_after_callback();
                }
            }
            Some(OwnThread::Dispatcher) => after_callback(move || inner.stop_or_abandon()),
            // A `tracing` subscriber of a Rust host: nobody can wait here for the thread to end.
            Some(OwnThread::Runtime | OwnThread::Io) => inner.abandon(),
        }
    }
}

impl Inner {
    /// For a node that was freed while a callback is stuck: none begins any more, and the dispatcher's thread
    /// takes the node down when that one has returned.
    fn stop_after_callback(self) {
        self.store.events().close();
        let dispatcher = match &*self.life.lock().unwrap_or_else(PoisonError::into_inner) {
            Life::Running(running) => Some(Arc::clone(running.runtime.dispatcher())),
            Life::Stopping | Life::Stopped => None,
        };
        match dispatcher {
            Some(dispatcher) => dispatcher.push(Box::new(move || self.stop_or_abandon())),
            None => self.abandon(),
        }
    }

    fn stop_or_abandon(self) {
        if self.stop(Instant::now() + DROP_TIMEOUT, Deliver::Nothing).is_err() {
            self.abandon();
        }
    }

    /// Lets go of a node whose end nobody can wait for. It runs no callback any more, and what it holds stays.
    fn abandon(self) {
        log!(Warn, "node", "a node was freed that cannot be stopped; its threads stay behind");
        self.store.stop(None);
        self.store.events().close();
        std::mem::forget(self);
    }
}

/// The task of one node.
struct Task {
    store: Arc<Store>,
    settings: Arc<Settings>,
    client: HttpClient,
    turns: Arc<Semaphore>,
    server: Option<Server>,
    shared: Option<Leadership>,
}

impl Task {
    async fn run(mut self, asked_to_stop: oneshot::Receiver<()>) {
        let (store, settings) = (Arc::clone(&self.store), Arc::clone(&self.settings));
        let client = self.client.clone();
        tokio::select! {
            _ = asked_to_stop => {}
            () = self.live() => {}
            () = run_token_refresher(&store, &settings, client) => {}
        }
        self.close_server().await;
        if let Some(shared) = self.shared {
            shared.close().await;
        }
    }

    /// Leads, or follows until it is this node's turn to. Never returns.
    async fn live(&mut self) {
        if let Some(shared) = &mut self.shared
            && self.store.status().role == Role::Follower
        {
            shared.follow().await;
        }
        let share = async {
            match &mut self.shared {
                Some(shared) => shared.lead().await,
                None => std::future::pending().await,
            }
        };
        let register = async {
            if let Some(address) = &self.settings.callback_bind
                && self.server.is_none()
            {
                let listener = bind_patiently(address, &self.store).await;
                match serve(listener, &self.store, &self.settings) {
                    Ok(server) => self.server = Some(server),
                    Err(error) => self.store.report(error),
                }
            }
            let serve = async {
                match &mut self.server {
                    Some(server) => server.run().await,
                    None => std::future::pending().await,
                }
            };
            let watch = async {
                match self.settings.healthcheck_ttl {
                    Some(ttl) => watch_healthchecks(&self.store, ttl).await,
                    None => std::future::pending().await,
                }
            };
            let callback = async {
                match &self.settings.callback_bind {
                    Some(_) => watch_for_callback(&self.store).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = run_registrar(&self.store, &self.settings, &self.client, &self.turns) => {}
                () = watch => {}
                () = callback => {}
                () = serve => {}
            }
        };
        // Followers are served also while the port of a leader that has just died is still taken.
        tokio::select! {
            () = share => {}
            () = register => {}
        }
    }

    async fn close_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.close().await;
        }
    }
}

/// Says in the log what may be a mistake in the configuration. Only from here on does a host hear the log.
fn warn_of(config: &Config, settings: &Settings) {
    for warning in config.warnings() {
        log!(Warn, "config", "{warning}");
    }
    if decode_credentials(settings.reg_secret.expose()).is_none() {
        log!(
            Warn,
            "config",
            "reg_secret is not what the console shows, base64(<node id>:<secret>), so DDS may refuse it with 401; copy \
             the whole text from the console"
        );
    }
}

fn serve(listener: TcpListener, store: &Arc<Store>, settings: &Settings) -> Result<Server> {
    let address = listener.local_addr().map_err(|error| io_error(&error))?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| io_error(&error))?;
    store.set_callback_address(address);
    Ok(Server::new(listener, callback(store, settings)))
}

/// None for no timeout, and for one that no clock can hold.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

fn callback(store: &Arc<Store>, settings: &Settings) -> Callback {
    let node_id = decode_credentials(settings.reg_secret.expose()).map(|(id, _)| id);
    Callback::new(Arc::clone(store), Some(settings.callback_policy), node_id)
}

/// The running nodes, by wallet and DDS. A `BTreeMap`, because memory checkers report the pointer that a `HashMap`
/// keeps into its table as a leak.
static RUNNING: PerProcess<Mutex<BTreeMap<(String, String), Weak<Store>>>> = PerProcess::new();

/// A wallet registered at a DDS, at most once at a time in a process.
struct Identity(Option<(String, String)>);

impl Identity {
    fn claim(wallet: &str, settings: &Settings) -> Result<Self> {
        // A slash at the end makes no other DDS.
        let dds = settings.dds_base_url.as_str().trim_end_matches('/');
        let identity = (wallet.to_owned(), dds.to_owned());
        let mut running = RUNNING.get().lock().unwrap_or_else(PoisonError::into_inner);
        match running.entry(identity.clone()) {
            Entry::Vacant(vacant) => vacant.insert(Weak::new()),
            Entry::Occupied(_) => {
                return Err(Error::new(
                    ErrorCode::AlreadyRunning,
                    format!(
                        "a node with wallet {wallet} and DDS {} already runs in this process; use or stop that one",
                        settings.dds_base_url
                    ),
                ));
            }
        };
        Ok(Self(Some(identity)))
    }

    /// The node is about to run: from now on it can be found.
    fn publish(&self, store: &Arc<Store>) {
        let mut running = RUNNING.get().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = self.0.as_ref().and_then(|identity| running.get_mut(identity)) {
            *node = Arc::downgrade(store);
        }
    }

    /// The start succeeded: `stop` gives it back.
    fn keep(mut self) -> (String, String) {
        self.0.take().expect("kept once")
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        if let Some(identity) = &self.0 {
            RUNNING.get().lock().unwrap_or_else(PoisonError::into_inner).remove(identity);
        }
    }
}

/// The URL of the callback server of the node of this process with this wallet and DDS, for a local DDS in the
/// same process. A server that listens on all interfaces is named by its loopback address.
#[doc(hidden)]
pub fn callback_url(wallet: &str, dds_base_url: &str) -> Option<String> {
    let identity = (wallet.to_ascii_lowercase(), dds_base_url.trim_end_matches('/').to_owned());
    let running = RUNNING.get().lock().unwrap_or_else(PoisonError::into_inner);
    let store = running.get(&identity).and_then(Weak::upgrade);
    drop(running);
    let mut address = store?.callback_address()?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Some(format!("http://{address}"))
}

/// Binds the callback address; names are resolved, and the first address that works is taken.
fn bind(address: &str) -> Result<TcpListener> {
    let failed = |error: io::Error| {
        Error::new(
            ErrorCode::Bind,
            format!("callback_bind {address}: {error}; choose another address or port"),
        )
        .with_os_error(&error)
    };
    if let Some(port) = address.strip_prefix(':') {
        let port = port.parse().expect("checked when the option was set");
        return bind_all_interfaces(port).map_err(failed);
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs().map_err(failed)? {
        match TcpListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// Listens on every address of this machine, IPv6 and IPv4; on IPv4 alone where there is no IPv6.
fn bind_all_interfaces(port: u16) -> io::Result<TcpListener> {
    use socket2::{Domain, Socket, Type};

    let bind = |domain, address: IpAddr| -> io::Result<TcpListener> {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        // As the standard library does: not on Windows, where it would let others share the port.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(address, port).into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    match bind(Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            bind(Domain::IPV4, Ipv4Addr::UNSPECIFIED.into())
        }
        bound => bound,
    }
}

/// As [`bind`], for a node that takes over: it tries until it succeeds.
async fn bind_patiently(address: &str, store: &Store) -> TcpListener {
    let began = Instant::now();
    let mut pause = BIND_PAUSE;
    let mut reported = false;
    loop {
        let owned = address.to_owned();
        let error = match blocking(move || bind(&owned)).await {
            Ok(listener) => return listener,
            Err(error) => error,
        };
        if !reported && began.elapsed() >= BIND_PATIENCE {
            log!(Warn, "node", "{error}; the node tries again");
            store.report(error);
            reported = true;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_BIND_PAUSE);
    }
}

fn io_error(error: &io::Error) -> Error {
    Error::new(ErrorCode::Io, format!("the callback socket failed: {error}")).with_os_error(error)
}

fn stop_timed_out(what: &str) -> Error {
    Error::new(ErrorCode::Timeout, format!("not stopped in time: {what}; call stop again to go on waiting"))
}
