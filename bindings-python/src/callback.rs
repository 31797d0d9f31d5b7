//! Calls from the library's threads into Python.

use std::thread;

use pyo3::prelude::*;

use crate::dataclass::Function;
use crate::exit::CallbackPermit;

static CURRENT_THREAD: Function = Function::new("threading", "current_thread");

/// Calls `callback` with the result of `arguments`. An exception has no caller to propagate to, so it is passed to
/// `sys.unraisablehook`, which prints it.
pub(crate) fn call<A>(callback: &Py<PyAny>, arguments: impl for<'py> FnOnce(Python<'py>) -> PyResult<A>)
where
    A: for<'py> pyo3::call::PyCallArgs<'py>,
{
    ask(callback, arguments, |_| Ok(()));
}

/// As [`call`], and converts what `callback` returns. None after an exception, and when the interpreter is exiting.
pub(crate) fn ask<A, R>(
    callback: &Py<PyAny>,
    arguments: impl for<'py> FnOnce(Python<'py>) -> PyResult<A>,
    convert: impl for<'py> FnOnce(Bound<'py, PyAny>) -> PyResult<R>,
) -> Option<R>
where
    A: for<'py> pyo3::call::PyCallArgs<'py>,
{
    let _permit = CallbackPermit::get()?;
    let returned = Python::try_attach(|py| {
        let callback = callback.bind(py);
        let called = name_thread(py)
            .and_then(|()| arguments(py))
            .and_then(|arguments| callback.call1(arguments))
            .and_then(convert);
        called.map_err(|error| error.write_unraisable(py, Some(callback))).ok()
    });
    returned.flatten()
}

/// Gives the thread its name in Python, too. `threading` does not know the thread and calls it `Dummy-1`, also in the
/// log records that a listener writes. Done for each call, because newer versions of Python forget such a thread when
/// it detaches.
fn name_thread(py: Python<'_>) -> PyResult<()> {
    match thread::current().name() {
        Some(name) if name.starts_with("posemesh-") => CURRENT_THREAD.get(py)?.call0()?.setattr("name", name),
        // A thread of the host, which completes its own wait.
        _ => Ok(()),
    }
}
