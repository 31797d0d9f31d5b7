//! The internal tokio runtime: one thread for all nodes of a process, started by the first node and joined after
//! the last one has stopped.
//!
//! It uses the current-thread scheduler, on which a registrar and an occasional callback take half the CPU time that
//! they take on the multi-thread one. Other threads exist only while a host name is resolved or a file is written.

use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::blocking;
use crate::dispatcher::Dispatcher;
use crate::error::{Error, ErrorCode, Result};
use crate::fork::PerProcess;
use crate::http_client::HttpClients;
use crate::latch::{Latch, latch};
use crate::log;
use crate::tenants::Tenants;
use crate::thread::{OwnThread, Thread, spawn_thread};

/// How long the drop of a dead runtime waits for its thread, which may hang.
const DEAD_GRACE: Duration = Duration::from_secs(1);

/// The runtime, while a node uses it.
static RUNTIME: PerProcess<Mutex<Weak<Runtime>>> = PerProcess::new();

pub(crate) struct Runtime {
    handle: Handle,
    dispatcher: Arc<Dispatcher>,
    /// Owned by the runtime, because their pooled connections run on it.
    http_clients: HttpClients,
    tenants: Arc<Tenants>,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<Thread>,
    /// Opens when the thread is about to end.
    ended: Latch,
}

impl Runtime {
    /// Returns the runtime of this process, and starts one if there is none. It runs while a node holds it.
    pub(crate) fn acquire() -> Result<Arc<Self>> {
        let mut slot = RUNTIME.get().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = slot.upgrade()
            && runtime.tenants.runtime_is_alive()
        {
            return Ok(runtime);
        }
        let runtime = Arc::new(Self::start()?);
        log::deliver_through(&runtime.dispatcher);
        *slot = Arc::downgrade(&runtime);
        Ok(runtime)
    }

    fn start() -> Result<Self> {
        let failed = |error: &io::Error| {
            Error::new(ErrorCode::Io, format!("cannot start the library's runtime thread: {error}"))
        };
        let (shutdown, asked_to_shut_down) = oneshot::channel();
        let built = Arc::new(OnceLock::new());
        let (opener, ready) = latch();
        let (running, ended) = latch();
        let to_caller = Arc::clone(&built);
        let pool_user = blocking::use_pool();
        let tenants = Arc::<Tenants>::default();
        let to_evict = Arc::clone(&tenants);
        let thread = spawn_thread(OwnThread::Runtime, move || {
            let _running = running;
            // Built on this thread for the reason that `latch` gives.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
            let handle = runtime.as_ref().map(|runtime| runtime.handle().clone());
            let _ = to_caller.set(handle.map_err(failed));
            drop(opener);
            if let Ok(runtime) = runtime {
                run(runtime, asked_to_shut_down, &to_evict);
            }
            drop(pool_user);
        })
        .map_err(|error| failed(&error))?;
        tenants.watch(&thread);
        ready.wait();
        let handle = built.get().cloned().unwrap_or_else(|| {
            Err(Error::new(
                ErrorCode::Internal,
                "the library's runtime thread ended during its start; please report it",
            ))
        });
        let handle = match handle {
            Ok(handle) => handle,
            Err(error) => {
                thread.join();
                return Err(error);
            }
        };
        Ok(Self {
            dispatcher: Dispatcher::new(handle.clone()),
            handle,
            http_clients: HttpClients::default(),
            tenants,
            shutdown: Some(shutdown),
            thread: Some(thread),
            ended,
        })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn http_clients(&self) -> &HttpClients {
        &self.http_clients
    }

    pub(crate) fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }

    pub(crate) fn tenants(&self) -> &Arc<Tenants> {
        &self.tenants
    }
}

/// Runs on the thread. A panic that gets here is one of tokio itself, because tokio catches those of tasks.
fn run(runtime: tokio::runtime::Runtime, asked_to_shut_down: oneshot::Receiver<()>, tenants: &Tenants) {
    let ran = catch_unwind(AssertUnwindSafe(|| drop(runtime.block_on(asked_to_shut_down))));
    if ran.is_err() {
        tenants.evict();
    }
    // Drops the tasks, and with them sockets and locks.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(runtime)));
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let shutdown = self.shutdown.take();
        let _ = self.tenants.wake(move || drop(shutdown));
        if !self.tenants.runtime_is_alive() && !self.ended.wait_until(Instant::now() + DEAD_GRACE) {
            // The thread was killed, or nothing can wake it. To close its connections would try to wake it again.
            mem::forget(mem::take(&mut self.http_clients));
            self.thread = None;
        }
        if let Some(thread) = self.thread.take()
            && OwnThread::current() != Some(OwnThread::Runtime)
        {
            thread.join();
        }
        self.dispatcher.close();
    }
}
