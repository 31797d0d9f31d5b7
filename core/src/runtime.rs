//! The internal tokio runtime: one thread for all nodes of a process, made by the first start and joined
//! after the last stop.
//!
//! A current-thread scheduler, because a registrar and a rare callback use half the CPU there that they use
//! on the multi-thread one. Others exist only while a host name is being resolved or a file written.

use std::cell::Cell;
use std::io;
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::dds::HttpClients;
use crate::dispatcher::Dispatcher;
use crate::error::{Error, ErrorCode, Result};
use crate::gate::gate;
use crate::process::{self, Generation};

/// How long the end of the runtime waits for a name look-up or a file that the system does not give back.
const IO_GRACE: Duration = Duration::from_millis(100);

/// More than one, so that a name server that does not answer holds up no file.
const MAX_IO_THREADS: usize = 4;

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
        let thread = spawn_thread(OwnThread::Runtime, move || {
            // Made here, for the same reason for which there is `gate`.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .max_blocking_threads(MAX_IO_THREADS)
                .thread_name("posemesh-io")
                .thread_keep_alive(Duration::from_secs(1))
                .build();
            let handle = runtime.as_ref().map(|runtime| runtime.handle().clone());
            let _ = to_caller.set(handle.map_err(failed));
            drop(opener);
            if let Ok(runtime) = runtime {
                let _ = runtime.block_on(asked_to_shut_down);
                runtime.shutdown_timeout(IO_GRACE);
            }
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

/// The threads that belong to the library. Each is named, so that a host sees whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnThread {
    Runtime,
    Dispatcher,
}

thread_local! {
    static OWN_THREAD: Cell<Option<(OwnThread, Generation)>> = const { Cell::new(None) };
}

impl OwnThread {
    /// Which of the library's threads the calling one is; none for a thread of the host's.
    pub(crate) fn current() -> Option<Self> {
        let (thread, generation) = OWN_THREAD.get()?;
        // A callback that forks goes on in the child, where this thread is the host's only one.
        (!generation.is_foreign()).then_some(thread)
    }

    const fn name(self) -> &'static str {
        match self {
            OwnThread::Runtime => "posemesh-rt",
            OwnThread::Dispatcher => "posemesh-events",
        }
    }
}

/// Starts a thread that no signal of the process is delivered to.
///
/// Signals are the host's: its handlers expect its own threads, a Ctrl-C must interrupt the thread that
/// waits, and SIGPIPE from a connection that the peer has closed must not end the process.
pub(crate) fn spawn_thread(
    which: OwnThread,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let _blocked = BlockedSignals::new();
    thread::Builder::new().name(which.name().into()).spawn(move || {
        OWN_THREAD.set(Some((which, Generation::current())));
        body();
    })
}

/// Blocks the signals of the calling thread, and so of the threads it starts, until it is dropped.
struct BlockedSignals {
    #[cfg(unix)]
    former: libc::sigset_t,
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "the signal mask of a thread is set through libc")]
impl BlockedSignals {
    fn new() -> Self {
        // SAFETY: a sigset_t is plain data; sigfillset and pthread_sigmask fill both sets before use.
        unsafe {
            let mut all = std::mem::zeroed();
            let mut former = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            // Those that a fault of the thread itself raises are left alone: blocking them hides crashes.
            for fault in
                [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT]
            {
                libc::sigdelset(&raw mut all, fault);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut former);
            Self { former }
        }
    }
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "the signal mask of a thread is set through libc")]
impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: `former` is the mask that `new` read from this same thread.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.former, std::ptr::null_mut());
        }
    }
}

#[cfg(not(unix))]
impl BlockedSignals {
    fn new() -> Self {
        Self {}
    }
}
