//! Calls from the core's dispatcher thread into Python.

use std::sync::atomic::{AtomicU8, Ordering};

use pyo3::prelude::*;

/// How far the end of the interpreter has come.
static EXIT: AtomicU8 = AtomicU8::new(NOT_YET);
const NOT_YET: u8 = 0;
const BEGUN: u8 = 1;
/// From here on no thread of ours may attach: CPython kills or hangs a thread that asks for the GIL during
/// finalization, and an abi3 build cannot ask older versions whether that has begun.
const NO_CALLBACKS: u8 = 2;

/// The interpreter is about to end: the package's `atexit` handler runs.
#[pyfunction]
pub(crate) fn begin_exit() {
    EXIT.store(BEGUN, Ordering::SeqCst);
}

/// Lets no callback into Python from here on.
#[pyfunction]
pub(crate) fn end_callbacks() {
    EXIT.store(NO_CALLBACKS, Ordering::SeqCst);
}

pub(crate) fn exit_has_begun() -> bool {
    EXIT.load(Ordering::SeqCst) != NOT_YET
}

/// Calls `callback` with the arguments that `arguments` makes. There is nobody to raise an exception to: it
/// goes to `sys.unraisablehook`, which shows it.
pub(crate) fn call<A>(callback: &Py<PyAny>, arguments: impl for<'py> FnOnce(Python<'py>) -> PyResult<A>)
where
    A: for<'py> pyo3::call::PyCallArgs<'py>,
{
    if EXIT.load(Ordering::SeqCst) == NO_CALLBACKS {
        return;
    }
    Python::try_attach(|py| {
        let callback = callback.bind(py);
        if let Err(error) = arguments(py).and_then(|arguments| callback.call1(arguments)) {
            error.write_unraisable(py, Some(callback));
        }
    });
}
