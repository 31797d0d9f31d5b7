//! The options of a node to start.

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::c_char;
use std::ptr;

use posemesh_node_registration::config::Config;

use crate::boundary::{borrow_mut, c_bytes, free, give, guard, guard_or, place, text};
use crate::error::{pmn_error, pmn_result};

/// The options of a node to start.
///
/// For one thread at a time. pmn_node_start() only reads it: it may be used for other nodes, changed, or
/// freed afterwards, without a change to nodes that run.
pub struct pmn_config(pub(crate) Config);

/// A configuration with every option at its default.
///
/// Yours to free with pmn_config_free(). NULL only if a bug in this library was caught. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn pmn_config_new() -> *mut pmn_config {
    guard_or(ptr::null_mut(), || give(pmn_config(Config::new())))
}

/// Frees a configuration, and wipes the secrets in it from memory. NULL is fine. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_config_free(config: *mut pmn_config) {
    free!(config);
}

/// Sets an option, named as in the table at the top, from its text form. The text is copied.
///
/// PMN_ERR_INVALID_CONFIG when there is no such option or it cannot have that value: the message says what
/// is expected, and never repeats a secret. Then nothing has changed. `error` may be NULL; what it gets is
/// yours to free. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_config_set(
    config: *mut pmn_config,
    name: *const c_char,
    value: *const c_char,
    error: *mut *mut pmn_error,
) -> pmn_result {
    guard(place!(error), || {
        borrow_mut!(config)?.0.set_bytes(text!(name)?, c_bytes!(value)?)?;
        Ok(())
    })
}

/// Sets every option that the environment has a variable for; the others stay as they are.
///
/// Fails as pmn_config_set() does, naming the variable; then nothing has changed. `error` may be NULL; what
/// it gets is yours to free. Blocks no longer than it takes to read the files that REG_SECRET_FILE and
/// SECP256K1_PRIVHEX_FILE name. No other thread may change the environment meanwhile (setenv() and getenv()
/// are not thread-safe).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_config_load_env(
    config: *mut pmn_config,
    error: *mut *mut pmn_error,
) -> pmn_result {
    guard(place!(error), || {
        borrow_mut!(config)?.0.load_env()?;
        Ok(())
    })
}
