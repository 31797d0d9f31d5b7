//! Results and errors

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;

use posemesh_node_registration::error::{Error, ErrorCode, Result};

use crate::boundary::{borrow, free, give, readable};

/// The outcome of a call: PMN_OK, or one of PMN_ERR_...
///
/// The numbers never change and are never reused. A later version may add some: treat one that you do not
/// know as PMN_ERR_INTERNAL.
pub type pmn_result = i32;

/// Success.
pub const PMN_OK: pmn_result = 0;
/// An argument is unusable: NULL, not UTF-8, an unknown constant.
pub const PMN_ERR_INVALID_ARGUMENT: pmn_result = 1;
/// An option is unknown, missing, or has a value that is not allowed.
pub const PMN_ERR_INVALID_CONFIG: pmn_result = 2;
/// What was asked for does not exist: no secret yet, no callback server.
pub const PMN_ERR_NOT_FOUND: pmn_result = 3;
/// The caller's buffer is too small; the length of the text was reported.
pub const PMN_ERR_BUFFER_TOO_SMALL: pmn_result = 4;
/// The call's timeout expired.
pub const PMN_ERR_TIMEOUT: pmn_result = 5;
/// The node was stopped.
pub const PMN_ERR_STOPPED: pmn_result = 6;
/// This process already runs a node with this wallet and DDS, or with this `state_dir`.
pub const PMN_ERR_ALREADY_RUNNING: pmn_result = 7;
/// The callback server cannot bind its address.
pub const PMN_ERR_BIND: pmn_result = 8;
/// A local file or socket failed.
pub const PMN_ERR_IO: pmn_result = 9;
/// The node belongs to the parent process: this one was forked.
pub const PMN_ERR_FORKED: pmn_result = 10;
/// The call would wait for the callback it was made from.
pub const PMN_ERR_WOULD_DEADLOCK: pmn_result = 11;
/// DDS rejected the request.
pub const PMN_ERR_REJECTED: pmn_result = 12;
/// DDS could not be reached, or gave no usable response.
pub const PMN_ERR_UNAVAILABLE: pmn_result = 13;
/// A bug in this library, caught at its boundary. Please report it.
pub const PMN_ERR_PANIC: pmn_result = 14;
/// A bug in this library. Please report it.
pub const PMN_ERR_INTERNAL: pmn_result = 15;

/// The name of every result, indexed by its number.
static NAMES: [&CStr; 16] = [
    c"PMN_OK",
    c"PMN_ERR_INVALID_ARGUMENT",
    c"PMN_ERR_INVALID_CONFIG",
    c"PMN_ERR_NOT_FOUND",
    c"PMN_ERR_BUFFER_TOO_SMALL",
    c"PMN_ERR_TIMEOUT",
    c"PMN_ERR_STOPPED",
    c"PMN_ERR_ALREADY_RUNNING",
    c"PMN_ERR_BIND",
    c"PMN_ERR_IO",
    c"PMN_ERR_FORKED",
    c"PMN_ERR_WOULD_DEADLOCK",
    c"PMN_ERR_REJECTED",
    c"PMN_ERR_UNAVAILABLE",
    c"PMN_ERR_PANIC",
    c"PMN_ERR_INTERNAL",
];

pub(crate) fn name(result: pmn_result) -> Option<&'static CStr> {
    NAMES.get(usize::try_from(result).ok()?).copied()
}

/// The number of a core error; an error that this header does not know is an internal one.
pub(crate) fn number(code: ErrorCode) -> pmn_result {
    if name(code.number()).is_some() { code.number() } else { PMN_ERR_INTERNAL }
}

/// Why a call failed: a number for programs, a message for people.
///
/// Functions with a `pmn_error **` parameter write one there when they fail, and leave it alone when they
/// succeed. You free it with pmn_error_free(). It is independent of any node, and for one thread at a time. It
/// never contains a key, a credential or a secret.
pub struct pmn_error {
    code: pmn_result,
    message: CString,
}

impl pmn_error {
    pub(crate) fn new(error: &Error) -> Self {
        Self { code: number(error.code()), message: readable(error.message()) }
    }

    /// Gives the caller an earlier error; `none` says that there was none.
    pub(crate) fn hand_out(
        error: Option<Error>,
        none: &str,
        place: &mut MaybeUninit<*mut pmn_error>,
    ) -> Result<()> {
        place.write(give(Self::new(&found(error, none)?)));
        Ok(())
    }
}

/// What the caller asked for; PMN_ERR_NOT_FOUND with the text `none` if it does not exist.
pub(crate) fn found<T>(value: Option<T>, none: &str) -> Result<T> {
    value.ok_or_else(|| Error::new(ErrorCode::NotFound, none))
}

/// Returns the name of a result, such as "PMN_ERR_TIMEOUT"; "PMN_ERR_UNKNOWN" for a number that has none.
///
/// Never NULL. The text is static: do not free it. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn pmn_result_name(result: pmn_result) -> *const c_char {
    name(result).unwrap_or(c"PMN_ERR_UNKNOWN").as_ptr()
}

/// Returns the number of an error, which is what the failed call returned; PMN_OK for NULL. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_error_code(error: *const pmn_error) -> pmn_result {
    borrow!(error).map_or(PMN_OK, |error| error.code)
}

/// Returns what went wrong and what to do next, as UTF-8 for people. Never NULL; "" for a NULL error.
///
/// The text is valid until the error is freed: do not free it yourself. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_error_message(error: *const pmn_error) -> *const c_char {
    borrow!(error).map_or(c"", |error| error.message.as_c_str()).as_ptr()
}

/// Frees an error. NULL is allowed. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_error_free(error: *mut pmn_error) {
    free!(error);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_error_code_has_its_name_and_number_in_the_header() {
        for code in ErrorCode::ALL {
            let name = name(code.number()).expect("a name").to_str().expect("ASCII");
            assert_eq!(name, format!("PMN_{}", code.name()));
            assert_eq!(number(*code), code.number());
        }
        assert_eq!(NAMES.len(), ErrorCode::ALL.len() + 1);
    }
}
