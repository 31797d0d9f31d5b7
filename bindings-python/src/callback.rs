//! Calls from the library's threads into Python.

use std::thread;

use pyo3::prelude::*;

use crate::dataclass::Function;
use crate::exit::CallbackPermit;

static CURRENT_THREAD: Function = Function::new("threading", "current_thread");

/// Calls `callback` with the arguments that `arguments` makes. There is nobody to raise an exception to: it
/// goes to `sys.unraisablehook`, which shows it.
pub(crate) fn call<A>(callback: &Py<PyAny>, arguments: impl for<'py> FnOnce(Python<'py>) -> PyResult<A>)
where
    A: for<'py> pyo3::call::PyCallArgs<'py>,
{
    let Some(_permit) = CallbackPermit::get() else { return };
    Python::try_attach(|py| {
        let callback = callback.bind(py);
        let called =
            name_thread(py).and_then(|()| arguments(py)).and_then(|arguments| callback.call1(arguments));
        if let Err(error) = called {
            error.write_unraisable(py, Some(callback));
        }
    });
}

/// Gives the thread its name in Python, too. To `threading` it is a foreign one, `Dummy-1`, and so it would be in the
/// records that a listener writes. Each time, because newer versions forget such a thread when it detaches.
fn name_thread(py: Python<'_>) -> PyResult<()> {
    match thread::current().name() {
        Some(name) if name.starts_with("posemesh-") => CURRENT_THREAD.get(py)?.call0()?.setattr("name", name),
        // A thread of the host's that ends what it waits for itself.
        _ => Ok(()),
    }
}
