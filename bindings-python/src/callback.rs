//! Calls from the core's dispatcher thread into Python.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};

use pyo3::prelude::*;

/// The thread that ends the interpreter, once that has begun.
static EXITING: OnceLock<ThreadId> = OnceLock::new();
/// Set when no thread of ours may attach any more: CPython kills or hangs a thread that asks for the GIL during
/// finalization, and an abi3 build cannot ask older versions whether that has begun.
static NO_CALLBACKS: AtomicBool = AtomicBool::new(false);

/// The interpreter is about to end: the package's `atexit` handler runs, on this thread.
#[pyfunction]
pub(crate) fn begin_exit() {
    EXITING.get_or_init(|| thread::current().id());
}

/// Lets no callback into Python from here on.
#[pyfunction]
pub(crate) fn end_callbacks() {
    NO_CALLBACKS.store(true, Ordering::SeqCst);
}

/// Whether the interpreter is about to end, and this thread will not see it.
pub(crate) fn is_left_behind() -> bool {
    EXITING.get().is_some_and(|exiting| *exiting != thread::current().id())
}

/// Calls `callback` with the arguments that `arguments` makes. There is nobody to raise an exception to: it
/// goes to `sys.unraisablehook`, which shows it.
pub(crate) fn call<A>(callback: &Py<PyAny>, arguments: impl for<'py> FnOnce(Python<'py>) -> PyResult<A>)
where
    A: for<'py> pyo3::call::PyCallArgs<'py>,
{
    if NO_CALLBACKS.load(Ordering::SeqCst) {
        return;
    }
    Python::try_attach(|py| {
        let callback = callback.bind(py);
        if let Err(error) = arguments(py).and_then(|arguments| callback.call1(arguments)) {
            error.write_unraisable(py, Some(callback));
        }
    });
}
