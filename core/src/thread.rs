//! The library's own threads: their names, and how they start.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::{self, JoinHandle};

use crate::fork::Generation;

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
pub(crate) fn spawn_thread(which: OwnThread, body: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
    let _blocked = BlockedSignals::new();
    let id = Arc::<ThreadId>::default();
    let own_id = Arc::clone(&id);
    let handle = thread::Builder::new().name(which.name().into()).spawn(move || {
        own_id.set();
        OWN_THREAD.set(Some((which, Generation::current())));
        body();
    })?;
    Ok(Thread { handle, id })
}

/// A thread of the library's.
pub(crate) struct Thread {
    handle: JoinHandle<()>,
    id: Arc<ThreadId>,
}

impl Thread {
    /// Whether it ended in the middle of its work: by an `exit` system call that the host made on it, which
    /// runs no destructor.
    pub(crate) fn was_killed(&self) -> bool {
        // In this order: a thread that ends by itself finishes before it is gone.
        self.id.is_gone() && !self.handle.is_finished()
    }

    pub(crate) fn id(&self) -> Arc<ThreadId> {
        Arc::clone(&self.id)
    }

    /// Waits for its end. One that was killed is not joined, because the standard library cannot do that.
    pub(crate) fn join(self) {
        if !self.was_killed() {
            let _ = self.handle.join();
        }
    }
}

/// The system's number of a thread; 0 before it runs.
#[derive(Default)]
pub(crate) struct ThreadId(AtomicI32);

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "threads are known to the kernel by number alone")]
impl ThreadId {
    fn set(&self) {
        // SAFETY: gettid has no preconditions.
        self.0.store(unsafe { libc::gettid() }, Ordering::Release);
    }

    /// Whether no such thread runs any more.
    pub(crate) fn is_gone(&self) -> bool {
        let id = self.0.load(Ordering::Acquire);
        // SAFETY: signal 0 is never delivered; the call only looks for the thread.
        let found = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, 0) };
        id != 0 && found != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
    }
}

#[cfg(not(target_os = "linux"))]
impl ThreadId {
    fn set(&self) {
        self.0.store(1, Ordering::Release);
    }

    pub(crate) fn is_gone(&self) -> bool {
        false
    }
}

/// Writes a file. At the limit on the size of files (`RLIMIT_FSIZE`) that is an error; without this, the signal
/// that comes with it would end the host when the thread is the host's.
#[cfg(target_os = "linux")]
pub(crate) fn without_file_size_signal<R>(write: impl FnOnce() -> R) -> R {
    let _blocked = BlockedSignals::new();
    let was_pending = file_size_signal_is_pending();
    let written = write();
    if !was_pending && file_size_signal_is_pending() {
        take_file_size_signal();
    }
    written
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "pending signals are known through libc")]
fn file_size_signal_is_pending() -> bool {
    // SAFETY: a sigset_t is plain data, which sigpending fills.
    unsafe {
        let mut pending = std::mem::zeroed();
        libc::sigpending(&raw mut pending) == 0 && libc::sigismember(&raw const pending, libc::SIGXFSZ) == 1
    }
}

/// Takes back the signal that is pending.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "pending signals are taken through libc")]
fn take_file_size_signal() {
    // SAFETY: a sigset_t is plain data, which sigemptyset fills before use. The signal is blocked and pending, so
    // sigwait returns at once.
    unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGXFSZ);
        let mut taken = 0;
        libc::sigwait(&raw const signals, &raw mut taken);
    }
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
