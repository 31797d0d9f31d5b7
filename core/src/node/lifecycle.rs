//! How a node starts and stops.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::listener::{bind_callback, callback, serve, serve_admin};
use super::registry::Claim;
use super::supervisor::Supervisor;
use crate::config::{Config, Settings};
use crate::dispatcher::{Subscription, after_callback};
use crate::error::{Error, ErrorCode, Result};
use crate::event::{Event, EventChannel};
use crate::http::{Mounted, Tls};
use crate::latch::Latch;
use crate::log::log;
use crate::runtime::Runtime;
use crate::share::Share;
use crate::sign_in::signer::Signer;
use crate::state::store::Store;
use crate::status::Role;
use crate::tenants::Tenants;
use crate::thread::OwnThread;

/// How long dropping a node waits for its end.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

/// A node of this process.
pub(super) struct Inner {
    pub(super) store: Arc<Store>,
    pub(super) tenants: Arc<Tenants>,
    pub(super) settings: Arc<Settings>,
    /// The address of the wallet. `None` for a robot.
    pub(super) wallet: Option<String>,
    /// The routes for a server of the host.
    pub(super) mounted: Arc<Mounted>,
    /// The address of this process's admin server.
    pub(super) admin_address: Option<SocketAddr>,
    lifecycle: Mutex<Lifecycle>,
    ended: Condvar,
}

enum Lifecycle {
    Running(Running),
    /// Another thread is in `stop`.
    Stopping,
    Stopped,
}

/// What `stop` ends.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    /// Opens when the node's task has ended.
    done: Latch,
    runtime: Arc<Runtime>,
    claim: Claim,
}

/// What `stop` does with events that are still queued.
#[derive(Clone, Copy, PartialEq)]
enum Queued {
    Deliver,
    Discard,
}

impl Inner {
    pub(super) fn start(config: &Config, subscription: Option<Arc<Subscription<Event>>>) -> Result<Self> {
        let settings = Arc::new(config.settings()?);
        let wallet = settings.signer.as_ref().map(Signer::address_text);
        let tls = Tls::load(&settings)?.map(Arc::new);
        let name = wallet.clone().unwrap_or_else(|| settings.reg_secret.robot_name());
        let claim = Claim::new(&name, &settings)?;
        let runtime = Runtime::acquire()?;
        log_warnings(config, &settings);
        let _context = runtime.handle().enter();
        let client = runtime.http_clients().get(&settings)?;
        let turns = runtime.http_clients().permits(&settings);
        let store = Arc::new(Store::new(EventChannel::new(Arc::clone(runtime.dispatcher()))));
        store.identify(settings.reg_secret.node_id(), wallet.is_none());
        let (mut share, role) = Share::join(&name, &settings, &store)?;
        let serves = role == Role::Leader || share.has_servers_everywhere();
        let server = match &settings.callback_bind {
            Some(address) if serves => Some(serve(bind_callback(address)?, &store, &settings, tls.as_ref())?),
            _ => None,
        };
        let admin = settings.admin_bind.as_ref().map(|address| serve_admin(address, &store)).transpose()?;
        let (admin, admin_address) = admin.unzip();
        share.announce();
        drop(store.events().replace(subscription));
        claim.publish(&store, &settings);
        if settings.callback_bind.is_some() || settings.node_url.is_some() {
            store.expect_callbacks();
        }
        store.set_running(settings.state_dir.is_some() || settings.state_url.is_some());

        let (stop, stopped) = oneshot::channel::<()>();
        let (tenancy, done) = runtime.tenants().add(&store)?;
        let supervisor = Supervisor {
            store: Arc::clone(&store),
            settings: Arc::clone(&settings),
            client,
            turns,
            tls,
            server,
            admin,
            share,
        };
        let task = runtime.handle().spawn(supervisor.run(stopped));
        let crashed = Arc::clone(&store);
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
        let running = Running { stop: Some(stop), done, runtime, claim };
        let mounted = Mounted::new(callback(&store, &settings), &tenants);
        Ok(Self {
            store,
            tenants,
            mounted,
            settings,
            wallet,
            admin_address,
            lifecycle: Mutex::new(Lifecycle::Running(running)),
            ended: Condvar::new(),
        })
    }

    pub(super) fn replace_subscription(&self, fresh: Option<Arc<Subscription<Event>>>) -> Result<()> {
        let lifecycle = self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*lifecycle, Lifecycle::Running(_)) {
            return Err(Error::stopped());
        }
        let former = self.store.events().replace(fresh);
        // Dropping it runs code of the host, which must not happen under the lock.
        drop(lifecycle);
        drop(former);
        Ok(())
    }

    /// Runs a task on the runtime. Returns false if the node is stopped, without a call of `task`.
    pub(super) fn spawn<F>(&self, task: impl FnOnce() -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let lifecycle = self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner);
        let Lifecycle::Running(running) = &*lifecycle else { return false };
        let task = task();
        // If the runtime is dead, the task is dropped.
        let _ = self.tenants.wake(|| drop(running.runtime.handle().spawn(task)));
        true
    }

    pub(super) fn stop(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now().checked_add(timeout);
        // For a deadline that the clock cannot represent, a century is enough.
        let deadline = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(100 * 365 * 86_400));
        self.stop_until(deadline, Queued::Deliver)
    }

    fn stop_until(&self, deadline: Instant, queued: Queued) -> Result<()> {
        let Some(mut running) = self.begin_stop(deadline)? else { return Ok(()) };
        // If the runtime is dead, `done` is open.
        let _ = self.tenants.wake(|| {
            self.store.stop(None);
            drop(running.stop.take());
        });
        let result = self.wait_for_end(&running, deadline, queued);
        let lifecycle = if result.is_ok() {
            // Joins the library's threads if this was the last node. Not under the lock: a callback that is
            // still running may call this node.
            let Running { runtime, claim, .. } = running;
            drop(claim);
            drop(runtime);
            Lifecycle::Stopped
        } else {
            Lifecycle::Running(running)
        };
        *self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner) = lifecycle;
        self.ended.notify_all();
        result
    }

    /// Makes the calling thread the one that stops the node. `None` when the node is already stopped.
    fn begin_stop(&self, deadline: Instant) -> Result<Option<Running>> {
        let mut lifecycle = self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match std::mem::replace(&mut *lifecycle, Lifecycle::Stopping) {
                Lifecycle::Running(running) => return Ok(Some(running)),
                Lifecycle::Stopped => {
                    *lifecycle = Lifecycle::Stopped;
                    return Ok(None);
                }
                Lifecycle::Stopping => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(stop_timed_out("another thread is still stopping the node"));
                    }
                    lifecycle =
                        self.ended.wait_timeout(lifecycle, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn wait_for_end(&self, running: &Running, deadline: Instant, queued: Queued) -> Result<()> {
        if !running.done.wait_until(deadline) {
            return Err(stop_timed_out("the node's task has not ended"));
        }
        log!(Info, "node", "stopped");
        if queued == Queued::Deliver && !running.runtime.dispatcher().flush(deadline) {
            return Err(stop_timed_out("a callback has not returned"));
        }
        self.store.events().close();
        Ok(())
    }

    /// Ends a node that its owner has dropped.
    pub(super) fn end(self) {
        match OwnThread::current() {
            None => {
                if self.stop_until(Instant::now() + DROP_TIMEOUT, Queued::Deliver).is_err() {
                    self.stop_after_callback();
                }
            }
            Some(OwnThread::Dispatcher) => after_callback(move || self.stop_or_abandon()),
            // In a `tracing` subscriber of a Rust host: this thread cannot wait for its own end.
            Some(OwnThread::Runtime | OwnThread::Io) => self.abandon(),
        }
    }

    /// For a node that is dropped while a callback does not return: no other callback begins, and the dispatcher's
    /// thread stops the node when that callback has returned.
    fn stop_after_callback(self) {
        self.store.events().close();
        let dispatcher = match &*self.lifecycle.lock().unwrap_or_else(PoisonError::into_inner) {
            Lifecycle::Running(running) => Some(Arc::clone(running.runtime.dispatcher())),
            Lifecycle::Stopping | Lifecycle::Stopped => None,
        };
        match dispatcher {
            Some(dispatcher) => dispatcher.push(Box::new(move || self.stop_or_abandon())),
            None => self.abandon(),
        }
    }

    fn stop_or_abandon(self) {
        if self.stop_until(Instant::now() + DROP_TIMEOUT, Queued::Discard).is_err() {
            self.abandon();
        }
    }

    /// Leaks a node whose end no thread can wait for. It calls no callback any more, and its threads remain.
    fn abandon(self) {
        log!(Warn, "node", "a node was freed that cannot be stopped; its threads remain");
        self.store.stop(None);
        self.store.events().close();
        std::mem::forget(self);
    }
}

/// Logs likely mistakes in the configuration. Before the runtime runs, a host would not receive the log.
fn log_warnings(config: &Config, settings: &Settings) {
    for warning in config.warnings() {
        log!(Warn, "config", "{warning}");
    }
    if settings.signer.is_none() && settings.max_concurrency.is_some() {
        log!(Warn, "config", "max_concurrency is not sent, because DDS does not take it from robots");
    }
    for (option, needed) in settings.ineffective() {
        log!(Warn, "config", "{option} has no effect, because {needed} is not set");
    }
    if settings.signer.is_some() && settings.reg_secret.node_id().is_none() {
        log!(
            Warn,
            "config",
            "reg_secret is not what the console shows, base64(<node id>:<secret>), so DDS may refuse it with 401; copy \
             the whole text from the console"
        );
    }
}

fn stop_timed_out(what: &str) -> Error {
    Error::new(
        ErrorCode::Timeout,
        format!("not stopped in time: {what}; call stop again to continue waiting"),
    )
}
