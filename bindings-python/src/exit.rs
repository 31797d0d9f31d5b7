//! The exit of the interpreter, in the two steps of CPython: it joins the threads that are not daemons, and from then
//! on no other thread may run Python code.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::dataclass::Function;

static GET_IDENT: Function = Function::new("_thread", "get_ident");

/// The daemon threads. Set once the main thread has ended.
static DAEMONS: OnceLock<Vec<u64>> = OnceLock::new();
/// The only thread that still runs Python code. Set once all other threads except daemons have ended.
static LAST: OnceLock<u64> = OnceLock::new();
/// How many threads of ours are in a call into Python. Not a lock, because a fork would copy it while it is held.
static CALLBACKS: AtomicUsize = AtomicUsize::new(0);
/// Set when no new call may begin. CPython ends a thread that asks for the GIL during finalization, and an abi3 build
/// cannot ask older versions whether finalization has begun.
static NO_CALLBACKS: AtomicBool = AtomicBool::new(false);

/// How long the exit pauses between two checks whether the last callbacks have returned.
const PAUSE: Duration = Duration::from_millis(1);

thread_local! {
    static THIS_THREAD: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The main thread has ended. The interpreter does not join these threads.
#[pyfunction]
pub(crate) fn begin_exit(daemons: Vec<u64>) {
    DAEMONS.get_or_init(|| daemons);
}

/// All threads that the interpreter joins have ended.
#[pyfunction]
pub(crate) fn leave_threads_behind(py: Python<'_>) -> PyResult<()> {
    let this = this_thread(py)?;
    LAST.get_or_init(|| this);
    Ok(())
}

/// Allows no new callback into Python, and waits for those that are running. Otherwise CPython would end their threads
/// during the call, and the process with them. Only a stuck callback takes until the timeout.
#[pyfunction]
pub(crate) fn end_callbacks(py: Python<'_>, timeout: f64) {
    NO_CALLBACKS.store(true, Ordering::SeqCst);
    let began = Instant::now();
    py.detach(|| {
        while CALLBACKS.load(Ordering::SeqCst) != 0 && began.elapsed().as_secs_f64() < timeout {
            thread::sleep(PAUSE);
        }
    });
}

/// Held by a thread of ours while it calls into Python.
pub(crate) struct CallbackPermit(());

impl CallbackPermit {
    /// None when the interpreter is exiting.
    pub(crate) fn get() -> Option<Self> {
        // Counted before the check, so that either this sees the exit, or the exit sees this.
        CALLBACKS.fetch_add(1, Ordering::SeqCst);
        let permit = Self(());
        (!NO_CALLBACKS.load(Ordering::SeqCst)).then_some(permit)
    }
}

impl Drop for CallbackPermit {
    fn drop(&mut self) {
        CALLBACKS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The `threading.get_ident` of this thread. Stored for [`is_left_behind`].
pub(crate) fn this_thread(py: Python<'_>) -> PyResult<u64> {
    if let Some(this) = THIS_THREAD.get() {
        return Ok(this);
    }
    let this = GET_IDENT.get(py)?.call0()?.extract()?;
    THIS_THREAD.set(Some(this));
    Ok(this)
}

/// Whether the interpreter exits without joining this thread, which has called [`this_thread`] before.
pub(crate) fn is_left_behind() -> bool {
    let Some(this) = THIS_THREAD.get() else { return false };
    LAST.get().is_some_and(|last| *last != this)
        || DAEMONS.get().is_some_and(|daemons| daemons.contains(&this))
}
