//! Results and errors.

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;

use posemesh_node_registration::error::{Error, ErrorCode, Result};

use crate::boundary::{borrow, free, give, readable};

/// The outcome of a call: PMN_OK, or one of PMN_ERR_...
///
/// The numbers never change and are never used again for something else. A later version may add some:
/// treat one that you do not know as PMN_ERR_INTERNAL.
pub type pmn_result = i32;

/// The call did what it says.
pub const PMN_OK: pmn_result = 0;
/// An argument is not usable: NULL, not UTF-8, an unknown constant.
pub const PMN_ERR_INVALID_ARGUMENT: pmn_result = 1;
/// An option is unknown, missing, or has a value that it cannot have.
pub const PMN_ERR_INVALID_CONFIG: pmn_result = 2;
/// What was asked for is not there: no secret yet, no callback server.
pub const PMN_ERR_NOT_FOUND: pmn_result = 3;
/// The caller's buffer is too small; the length that it needs was reported.
pub const PMN_ERR_BUFFER_TOO_SMALL: pmn_result = 4;
/// The time given for the call is over.
pub const PMN_ERR_TIMEOUT: pmn_result = 5;
/// The node was stopped.
pub const PMN_ERR_STOPPED: pmn_result = 6;
/// A node with this wallet and DDS, or with this `state_dir`, already runs in this process.
pub const PMN_ERR_ALREADY_RUNNING: pmn_result = 7;
/// The callback server cannot bind its address.
pub const PMN_ERR_BIND: pmn_result = 8;
/// A file or socket of this machine failed.
pub const PMN_ERR_IO: pmn_result = 9;
/// The node belongs to the process before a fork().
pub const PMN_ERR_FORKED: pmn_result = 10;
/// The call would wait for the callback that makes it.
pub const PMN_ERR_WOULD_DEADLOCK: pmn_result = 11;
/// DDS said no.
pub const PMN_ERR_REJECTED: pmn_result = 12;
/// DDS is out of reach, or gave no usable answer.
pub const PMN_ERR_UNAVAILABLE: pmn_result = 13;
/// A bug in this library, caught at its border. Please report it.
pub const PMN_ERR_PANIC: pmn_result = 14;
/// A bug in this library. Please report it.
pub const PMN_ERR_INTERNAL: pmn_result = 15;

/// Every result with its name; the number is the place.
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

fn name(result: pmn_result) -> Option<&'static CStr> {
    NAMES.get(usize::try_from(result).ok()?).copied()
}

/// The number of a core error; one that this header does not know is an internal one.
pub(crate) fn number(code: ErrorCode) -> pmn_result {
    if name(code.number()).is_some() { code.number() } else { PMN_ERR_INTERNAL }
}

/// Why a call failed: a number for programs, a text for people.
///
/// Functions that tell more than a number write one to their last parameter when they fail, and leave it
/// alone when they succeed. It is yours then: pmn_error_free(). Belongs to no node, and to one thread at a
/// time. It never holds a key, a credential or a secret.
pub struct pmn_error {
    code: pmn_result,
    message: CString,
}

impl pmn_error {
    pub(crate) fn new(error: &Error) -> Self {
        Self { code: number(error.code()), message: readable(error.message()) }
    }

    /// Gives the caller what went wrong earlier; `none` says that nothing has.
    pub(crate) fn hand_out(
        error: Option<Error>,
        none: &str,
        place: &mut MaybeUninit<*mut pmn_error>,
    ) -> Result<()> {
        let error = error.ok_or_else(|| Error::new(ErrorCode::NotFound, none))?;
        place.write(give(Self::new(&error)));
        Ok(())
    }
}

/// The name of a result, such as "PMN_ERR_TIMEOUT"; "PMN_ERR_UNKNOWN" for a number that has none.
///
/// Never NULL. The text is static: do not free it. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn pmn_result_name(result: pmn_result) -> *const c_char {
    name(result).unwrap_or(c"PMN_ERR_UNKNOWN").as_ptr()
}

/// The number of an error: what the failed call returned. PMN_OK for NULL. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_error_code(error: *const pmn_error) -> pmn_result {
    borrow!(error).map_or(PMN_OK, |error| error.code)
}

/// What went wrong and what to do next, as UTF-8 for people. Never NULL; "" for a NULL error.
///
/// The text lives as long as the error: do not free it. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_error_message(error: *const pmn_error) -> *const c_char {
    borrow!(error).map_or(c"", |error| error.message.as_c_str()).as_ptr()
}

/// Frees an error. NULL is fine. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_error_free(error: *mut pmn_error) {
    free!(error);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_every_code_of_the_core() {
        for code in ErrorCode::ALL {
            let name = name(code.number()).expect("a name").to_str().expect("ASCII");
            assert_eq!(name, format!("PMN_{}", code.name()));
            assert_eq!(number(*code), code.number());
        }
        assert_eq!(NAMES.len(), ErrorCode::ALL.len() + 1);
    }
}
