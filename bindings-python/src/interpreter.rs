//! The check that this is the main interpreter of the process.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

const MAIN: i64 = 0;

/// Refuses every interpreter except the main one.
///
/// The library's threads attach to the main interpreter, whichever one imported the module. Callbacks of another
/// interpreter would run in the wrong one, and its exit would wait for them. CPython 3.12 and later check the module's
/// slots before, but not in legacy subinterpreters such as those of `mod_wsgi`.
#[expect(unsafe_code, reason = "PyO3 has no safe function for the id of the interpreter")]
pub(crate) fn require_main() -> PyResult<()> {
    // SAFETY: this is called while a module is initialized, so this thread is attached to an interpreter.
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if id == MAIN {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "posemesh_node works only in the main interpreter, and this is a subinterpreter; \
         with mod_wsgi, set WSGIApplicationGroup %{GLOBAL}",
    ))
}
