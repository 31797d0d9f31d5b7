//! Errors of core as values and errors of JavaScript, and the border that no panic crosses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use napi::Status;
use napi::bindgen_prelude::Either;
use napi_derive::napi;
use posemesh_node_registration::error::{self as core, ErrorCode};

/// What a function that throws returns. The code becomes the `code` of the thrown error.
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

/// Runs what JavaScript asked for, and returns a failure as a value: V8 takes an exception that an addon throws
/// for uncaught, even where JavaScript catches it, and `--abort-on-uncaught-exception` then ends the process.
pub(crate) fn outcome<T>(body: impl FnOnce() -> core::Result<T>) -> Either<T, Failure> {
    match caught(body) {
        Ok(value) => Either::A(value),
        Err(error) => Either::B(error.into()),
    }
}

/// As [`outcome`], for what can only throw.
pub(crate) fn guard<T>(body: impl FnOnce() -> core::Result<T>) -> Result<T> {
    caught(body).map_err(|error| Error::new(Code(error.code()), error.message().to_owned()))
}

/// A panic comes back as `ERR_PANIC` instead of ending the process.
fn caught<T>(body: impl FnOnce() -> core::Result<T>) -> core::Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(core::Error::new(
            ErrorCode::Panic,
            "a bug in posemesh-node, caught at its border; please report it",
        ))
    })
}

/// Node-API failed while core's code ran.
pub(crate) fn node_api(error: napi::Error) -> core::Error {
    core::Error::new(ErrorCode::Internal, format!("Node-API failed: {}", error.reason))
}

/// Node-API failed where core was not asked.
pub(crate) fn internal(error: napi::Error) -> Error {
    Error::new(error.status.into(), error.reason.clone())
}

/// Something that failed, as a value.
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
#[cfg(feature = "test-exports")]
#[napi(skip_typescript)]
pub fn test_panic() -> Either<(), Failure> {
    outcome(|| panic!("a test panics on purpose"))
}
