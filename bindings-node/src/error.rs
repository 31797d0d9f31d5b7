//! Core's errors as JavaScript values, and the boundary that no panic crosses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use napi::bindgen_prelude::Either;
use napi_derive::napi;
use posemesh_node_registration::error::{self as core, ErrorCode};

/// Runs a call from JavaScript, and returns a failure as a value. V8 treats an exception that an addon throws as
/// uncaught even if JavaScript catches it, and `--abort-on-uncaught-exception` then ends the process. A panic is also a
/// failure.
pub(crate) fn outcome<T>(body: impl FnOnce() -> core::Result<T>) -> Either<T, Failure> {
    let panicked = |_| {
        let message = "a bug in posemesh-node, caught at its boundary; please report it";
        Err(core::Error::new(ErrorCode::Panic, message))
    };
    match catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(panicked) {
        Ok(value) => Either::A(value),
        Err(error) => Either::B(error.into()),
    }
}

/// The error for a Node-API call that failed while core's code ran.
pub(crate) fn node_api(error: napi::Error) -> core::Error {
    core::Error::new(ErrorCode::Internal, format!("Node-API failed: {}", error.reason))
}

/// An error, as a value.
#[napi(object, object_from_js = false)]
pub struct Failure {
    /// The stable name, such as `ERR_TIMEOUT`.
    pub code: &'static str,
    /// What happened and what to do about it.
    pub message: String,
}

impl From<core::Error> for Failure {
    fn from(error: core::Error) -> Self {
        Self { code: error.code().name(), message: error.message().to_owned() }
    }
}

/// The names of core's error codes.
#[napi]
pub fn error_codes() -> Vec<&'static str> {
    ErrorCode::ALL.iter().map(|code| code.name()).collect()
}

/// Panics, for the test of the boundary.
#[cfg(feature = "test-exports")]
#[napi(skip_typescript)]
pub fn test_panic() -> Either<(), Failure> {
    outcome(|| panic!("a test panics on purpose"))
}
