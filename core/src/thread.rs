//! The library's own threads: their names, and how they start.

use std::cell::Cell;
use std::io;
use std::thread::{self, JoinHandle};

use crate::process::Generation;

/// The threads that belong to the library. Each is named, so that a host sees whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnThread {
    Runtime,
    Dispatcher,
    Io,
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
            OwnThread::Io => "posemesh-io",
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
