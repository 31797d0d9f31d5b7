//! Which interpreter of the process this is.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

const MAIN: i64 = 0;

/// Refuses every interpreter but the main one.
///
/// The library's threads attach to the main interpreter, whichever one imported the module: callbacks of another
/// would run in the wrong one, and its end would wait for them. CPython 3.12 and later ask the module's slots first,
/// but not for the legacy interpreters of `mod_wsgi` and others.
#[expect(unsafe_code, reason = "PyO3 has no safe function for the interpreter's id")]
pub(crate) fn require_main() -> PyResult<()> {
    // SAFETY: called while a module is initialized, so this thread is attached to an interpreter.
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if id == MAIN {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "posemesh_node works only in the main interpreter, and this is a subinterpreter; \
         with mod_wsgi, set WSGIApplicationGroup %{GLOBAL}",
    ))
}
