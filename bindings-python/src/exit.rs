//! The end of the interpreter, in the two steps of CPython: it waits for the threads that are not daemons, and then
//! no other thread may run Python code any more.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;

use crate::dataclass::Function;

static GET_IDENT: Function = Function::new("_thread", "get_ident");

/// The daemon threads, once the main thread has ended.
static DAEMONS: OnceLock<Vec<u64>> = OnceLock::new();
/// The only thread that still runs Python code, once all that are waited for have ended.
static LAST: OnceLock<u64> = OnceLock::new();
/// How many threads of ours are in a call into Python. No lock: a fork would copy one that is held.
static CALLBACKS: AtomicUsize = AtomicUsize::new(0);
/// Set when none may begin any more: CPython ends a thread that asks for the GIL during finalization, and an abi3
/// build cannot ask older versions whether that has begun.
static NO_CALLBACKS: AtomicBool = AtomicBool::new(false);

/// How often, and how long, the end of the interpreter looks for the end of the last callbacks. Only one that is stuck
/// takes a second.
const LOOKS: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(1);

thread_local! {
    static THIS_THREAD: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The main thread has ended. These threads are not waited for.
#[pyfunction]
pub(crate) fn begin_exit(daemons: Vec<u64>) {
    DAEMONS.get_or_init(|| daemons);
}

/// All threads that are waited for have ended.
#[pyfunction]
pub(crate) fn leave_threads_behind(py: Python<'_>) -> PyResult<()> {
    let this = this_thread(py)?;
    LAST.get_or_init(|| this);
    Ok(())
}

/// Lets no callback into Python from here on, and waits for those that are there: CPython would end their threads in
/// the middle of it, and the process with them.
#[pyfunction]
pub(crate) fn end_callbacks(py: Python<'_>) {
    NO_CALLBACKS.store(true, Ordering::SeqCst);
    py.detach(|| {
        for _ in 0..LOOKS {
            if CALLBACKS.load(Ordering::SeqCst) == 0 {
                break;
            }
            thread::sleep(PAUSE);
        }
    });
}

/// What a thread of ours holds while it calls into Python.
pub(crate) struct CallbackPermit(());

impl CallbackPermit {
    /// None when the interpreter ends.
    pub(crate) fn get() -> Option<Self> {
        // Counted before it looks: so either this sees the end, or the end sees this.
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

/// What `threading.get_ident` returns in this thread. Noted for [`is_left_behind`].
pub(crate) fn this_thread(py: Python<'_>) -> PyResult<u64> {
    if let Some(this) = THIS_THREAD.get() {
        return Ok(this);
    }
    let this = GET_IDENT.get(py)?.call0()?.extract()?;
    THIS_THREAD.set(Some(this));
    Ok(this)
}

/// Whether the interpreter ends without this thread, which has called [`this_thread`] before.
pub(crate) fn is_left_behind() -> bool {
    let Some(this) = THIS_THREAD.get() else { return false };
    LAST.get().is_some_and(|last| *last != this)
        || DAEMONS.get().is_some_and(|daemons| daemons.contains(&this))
}
