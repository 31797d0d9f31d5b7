//! Versions

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::{CStr, c_char};

/// The version of the ABI in this header.
///
/// It changes only when programs built with an older header would break. Additions do not change it.
pub const PMN_ABI_VERSION: u32 = 1;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version number has no NUL"),
};

/// Returns the version of the loaded library's ABI. Does not block.
///
/// Programs that load the library with dlopen() compare it with PMN_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn pmn_abi_version() -> u32 {
    PMN_ABI_VERSION
}

/// Returns the version of the loaded library, such as "1.2.3". Never NULL. The text is static: do not free it.
/// Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn pmn_version() -> *const c_char {
    VERSION.as_ptr()
}
