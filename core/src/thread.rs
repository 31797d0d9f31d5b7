//! The threads of the library: their names, and how they start.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::{self, JoinHandle};

use crate::fork::Generation;

/// The kinds of threads that the library starts. Each has a name, so that a host can see who started it.
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
    /// The kind of the calling thread. `None` for a thread of the host.
    pub(crate) fn current() -> Option<Self> {
        let (thread, generation) = OWN_THREAD.get()?;
        // A callback that forks continues in the child, where this is the host's only thread.
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

/// Starts a thread that receives no signals of the process.
///
/// Signals belong to the host: its handlers expect to run on its own threads, a Ctrl-C must interrupt the thread
/// that waits, and SIGPIPE from a connection that the peer has closed must not end the process.
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

/// A running thread of the library.
pub(crate) struct Thread {
    handle: JoinHandle<()>,
    id: Arc<ThreadId>,
}

impl Thread {
    /// Whether it ended without returning: by an `exit` system call of the host on this thread, which runs no
    /// destructors.
    pub(crate) fn was_killed(&self) -> bool {
        // In this order, because a thread that returns is finished before it is gone.
        self.id.is_gone() && !self.handle.is_finished()
    }

    pub(crate) fn id(&self) -> Arc<ThreadId> {
        Arc::clone(&self.id)
    }

    /// Waits for its end, unless it was killed: the standard library cannot join such a thread.
    pub(crate) fn join(self) {
        if !self.was_killed() {
            let _ = self.handle.join();
        }
    }
}

/// The thread id of the operating system; 0 before the thread runs.
#[derive(Default)]
pub(crate) struct ThreadId(AtomicI32);

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the kernel identifies a thread by its number alone")]
impl ThreadId {
    fn set(&self) {
        // glibc has a function for it only since 2.30, and releases run with 2.28.
        // SAFETY: the call has no parameters.
        let id = unsafe { libc::syscall(libc::SYS_gettid) };
        self.0.store(id as i32, Ordering::Release);
    }

    /// Whether the thread has ended.
    pub(crate) fn is_gone(&self) -> bool {
        let id = self.0.load(Ordering::Acquire);
        // SAFETY: signal 0 is never delivered; the call only checks that the thread exists.
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

/// Calls `write`, which writes a file, without SIGXFSZ. At the limit on the size of files (`RLIMIT_FSIZE`) the kernel
/// sends that signal to the thread besides failing the call, and on a thread of the host it would end the host.
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

/// Only Linux sends the signal to the thread that writes.
#[cfg(not(target_os = "linux"))]
pub(crate) fn without_file_size_signal<R>(write: impl FnOnce() -> R) -> R {
    write()
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "pending signals are read through libc")]
fn file_size_signal_is_pending() -> bool {
    // SAFETY: a sigset_t is plain data, which sigpending fills.
    unsafe {
        let mut pending = std::mem::zeroed();
        libc::sigpending(&raw mut pending) == 0 && libc::sigismember(&raw const pending, libc::SIGXFSZ) == 1
    }
}

/// Consumes the pending signal.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "pending signals are consumed through libc")]
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

/// Blocks signals on the calling thread, and so on threads that it starts, until it is dropped.
struct BlockedSignals {
    #[cfg(unix)]
    previous: libc::sigset_t,
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "the signal mask of a thread is set through libc")]
impl BlockedSignals {
    fn new() -> Self {
        // SAFETY: a sigset_t is plain data; sigfillset and pthread_sigmask fill both sets before use.
        unsafe {
            let mut all = std::mem::zeroed();
            let mut previous = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            // Except signals that a fault of the thread itself raises: to block those would hide crashes.
            for fault in
                [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT]
            {
                libc::sigdelset(&raw mut all, fault);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut previous);
            Self { previous }
        }
    }
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "the signal mask of a thread is set through libc")]
impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: `previous` is the mask that `new` read from this same thread.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.previous, std::ptr::null_mut());
        }
    }
}

#[cfg(not(unix))]
impl BlockedSignals {
    fn new() -> Self {
        Self {}
    }
}
