//! Errors of core as errors of JavaScript, and the border that no panic crosses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use napi::bindgen_prelude::Env;
use napi::{JsError, Status};
use napi_derive::napi;
use posemesh_node_registration::error::{self as core, ErrorCode};

/// What a function that JavaScript calls returns. The code becomes the `code` of the thrown error.
pub type Result<T> = std::result::Result<T, Error>;

/// An error on its way to JavaScript.
pub type Error = napi::Error<Code>;

/// An [`ErrorCode`], shown to JavaScript by its name.
#[derive(Debug)]
pub struct Code(ErrorCode);

impl AsRef<str> for Code {
    fn as_ref(&self) -> &str {
        self.0.name()
    }
}

impl From<Status> for Code {
    /// Node-API itself failed: nothing that a caller could have done differently.
    fn from(_: Status) -> Self {
        Self(ErrorCode::Internal)
    }
}

/// Runs what JavaScript asked for. A panic comes back as `ERR_PANIC` instead of ending the process.
pub(crate) fn guard<T>(body: impl FnOnce() -> core::Result<T>) -> Result<T> {
    let caught = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(core::Error::new(
            ErrorCode::Panic,
            "a bug in posemesh-node, caught at its border; please report it",
        ))
    });
    caught.map_err(|error| Error::new(Code(error.code()), error.message().to_owned()))
}

/// An error with its code, for a promise: the tasks of napi-rs can only reject with codes of Node-API.
pub(crate) fn rejection(env: Env, error: Error) -> napi::Error {
    JsError::from(error).into_unknown(env).into()
}

/// Node-API failed where core was not asked.
pub(crate) fn internal(error: napi::Error) -> Error {
    Error::new(error.status.into(), error.reason.clone())
}

/// Something that failed, where it is told and not thrown.
#[napi(object, object_from_js = false)]
pub struct Failure {
    /// The stable name, such as `ERR_TIMEOUT`.
    #[napi(ts_type = "import('./error.js').ErrorCode")]
    pub code: &'static str,
    /// What happened and what to do about it.
    pub message: String,
}

impl From<core::Error> for Failure {
    fn from(error: core::Error) -> Self {
        Self { code: error.code().name(), message: error.message().to_owned() }
    }
}

/// The name of every error code that core knows.
#[napi]
pub fn error_codes() -> Vec<&'static str> {
    ErrorCode::ALL.iter().map(|code| code.name()).collect()
}

/// Panics, for the test of the border.
///
/// # Errors
/// Always.
#[cfg(feature = "test-exports")]
#[napi(skip_typescript)]
pub fn test_panic() -> Result<()> {
    guard(|| panic!("a test panics on purpose"))
}
