//! Core errors as Python exceptions, and the boundary that no panic crosses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use posemesh_node_registration::error::{Error, ErrorCode, Result};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use crate::dataclass::Function;

/// Runs `work`, which must neither block nor take long.
pub(crate) fn run<T>(py: Python<'_>, work: impl FnOnce() -> Result<T>) -> PyResult<T> {
    guarded(work).map_err(|error| exception(py, &error))
}

/// Runs `work` while other Python threads run.
///
/// Needed for everything that blocks, and for everything that takes a lock that another thread may hold while it waits
/// for a callback, because the callback waits for the GIL.
pub(crate) fn run_detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(|| guarded(work)).map_err(|error| exception(py, &error))
}

/// The text of a `str`. A lone surrogate is an error of ours, because Python's UnicodeEncodeError contains the whole
/// text, which may be a secret.
pub(crate) fn utf8(text: &Bound<'_, PyString>, name: &str, code: ErrorCode) -> PyResult<String> {
    text.to_str().map(str::to_owned).map_err(|_| {
        let message = format!("{name} contains a lone surrogate; expected well-formed Unicode text");
        exception(text.py(), &Error::new(code, message))
    })
}

/// A panic becomes an error: PyO3 would raise a `PanicException`, which no `except Exception` catches.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // Core's state survives a panic, because its locks are not poisoned.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Error::new(
            ErrorCode::Panic,
            "a bug in posemesh_node; please report it, with the output on stderr",
        ))
    })
}

static EXC_INFO: Function = Function::new("sys", "exc_info");

/// The Python exception for an error, to raise.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    match exception_object(py, error).and_then(|exception| in_context(py, exception)) {
        Ok(exception) => PyErr::from_value(exception),
        Err(failed) => failed,
    }
}

/// Sets the exception that is being handled as its context, as `raise` does and PyO3 does not.
fn in_context<'py>(py: Python<'py>, exception: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let handled = EXC_INFO.get(py)?.call0()?.get_item(1)?;
    if !handled.is_none() {
        exception.setattr("__context__", handled)?;
    }
    Ok(exception)
}

pub(crate) fn exception_object<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    // Without a function of the package, which would be Python code: see `dataclass`.
    let errors = py.import("posemesh_node._error")?;
    let internal = errors.getattr("InternalError")?;
    let class = errors.getattr("CLASSES")?.call_method1("get", (error.code().number(), internal))?;
    match error.os_error() {
        // The arguments of an `OSError`.
        Some(errno) if class.cast::<PyType>()?.is_subclass_of::<PyOSError>()? => {
            class.call1((errno, error.message()))
        }
        _ => class.call1((error.message(),)),
    }
}

/// The number and the name of every error code.
#[pyfunction]
pub(crate) fn error_codes() -> Vec<(i32, &'static str)> {
    ErrorCode::ALL.iter().map(|code| (code.number(), code.name())).collect()
}

/// Panics, for the test of how a bug in this library looks from Python.
#[pyfunction]
pub(crate) fn panic(py: Python<'_>) -> PyResult<()> {
    run_detached(py, || panic!("requested by a test"))
}
