//! Which library is loaded.

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::{CStr, c_char};

/// The version of the ABI in this header.
///
/// It changes only when a program built with an older header would break; additions do not change it.
pub const PMN_ABI_VERSION: u32 = 1;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version number has no NUL"),
};

/// The version of the ABI that the loaded library has.
///
/// A program that loads the library with dlopen() compares it with PMN_ABI_VERSION. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn pmn_abi_version() -> u32 {
    PMN_ABI_VERSION
}

/// The version of the loaded library, such as "1.2.3". Never NULL, static: do not free it. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn pmn_version() -> *const c_char {
    VERSION.as_ptr()
}
