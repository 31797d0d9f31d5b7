//! The internal tokio runtime: one thread for all nodes of a process, made by the first start and joined
//! after the last stop.
//!
//! A current-thread scheduler, because a registrar and a rare callback use half the CPU there that they use
//! on the multi-thread one. Others exist only while a host name is being resolved or a file written.

use std::io;
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::dispatcher::Dispatcher;
use crate::error::{Error, ErrorCode, Result};
use crate::gate::gate;
use crate::http_client::HttpClients;
use crate::process;
use crate::thread::{OwnThread, spawn_thread};

pub(crate) struct Runtime {
    handle: Handle,
    dispatcher: Arc<Dispatcher>,
    /// Here, because their pooled connections live on this runtime.
    http_clients: HttpClients,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// The runtime of this process. It lives as long as somebody holds it.
    pub(crate) fn acquire() -> Result<Arc<Self>> {
        let process = process::current();
        let mut slot = process.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = slot.upgrade() {
            return Ok(runtime);
        }
        let runtime = Arc::new(Self::start()?);
        process.log.attach(&runtime.dispatcher);
        *slot = Arc::downgrade(&runtime);
        Ok(runtime)
    }

    fn start() -> Result<Self> {
        let failed = |error: &io::Error| {
            Error::new(ErrorCode::Io, format!("cannot start the library's runtime thread: {error}"))
        };
        let (shutdown, asked_to_shut_down) = oneshot::channel();
        let built = Arc::new(OnceLock::new());
        let (opener, ready) = gate();
        let to_caller = Arc::clone(&built);
        let may_block = process::current().threads_for_blocking.use_by_runtime();
        let thread = spawn_thread(OwnThread::Runtime, move || {
            // Made here, for the same reason for which there is `gate`.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
            let handle = runtime.as_ref().map(|runtime| runtime.handle().clone());
            let _ = to_caller.set(handle.map_err(failed));
            drop(opener);
            if let Ok(runtime) = runtime {
                let _ = runtime.block_on(asked_to_shut_down);
            }
            drop(may_block);
        })
        .map_err(|error| failed(&error))?;
        ready.wait();
        let handle = built
            .get()
            .cloned()
            .unwrap_or_else(|| Err(Error::new(ErrorCode::Internal, "the runtime's thread ended")))?;
        Ok(Self {
            handle,
            dispatcher: Arc::default(),
            http_clients: HttpClients::default(),
            shutdown: Some(shutdown),
            thread: Some(thread),
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
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take()
            && OwnThread::current() != Some(OwnThread::Runtime)
        {
            let _ = thread.join();
        }
        self.dispatcher.close();
    }
}
