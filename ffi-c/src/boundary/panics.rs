//! Panics and failures end at the boundary and become numbers.

use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use posemesh_node_registration::error::{Error, ErrorCode, Result};

use super::give;
use crate::error::{PMN_OK, number, pmn_error, pmn_result};

/// Runs the body of an export. A panic ends here; a failure becomes its number, plus an error object if the
/// caller asked for one.
pub(crate) fn guard(
    error: Option<&mut MaybeUninit<*mut pmn_error>>,
    body: impl FnOnce() -> Result<()>,
) -> pmn_result {
    let panicked = |_| Err(Error::new(ErrorCode::Panic, "a bug in this library; please report it"));
    let Err(failure) = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(panicked) else {
        return PMN_OK;
    };
    if let Some(error) = error {
        error.write(give(pmn_error::new(&failure)));
    }
    number(failure.code())
}

/// Like [`guard`], for exports that cannot report a failure: they return `fallback`.
pub(crate) fn guard_or<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}

/// Panics, so that a C program can check that panics end here. Not in the header:
/// cbindgen:ignore
#[cfg(feature = "test-exports")]
#[unsafe(no_mangle)]
unsafe extern "C" fn pmn_test_panic(error: *mut *mut pmn_error) -> pmn_result {
    guard(super::place!(error), || panic!("asked for by a test"))
}
