//! Configuration

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::c_char;
use std::ptr;

use posemesh_node_registration::config::Config;

use crate::boundary::{borrow_mut, c_bytes, free, give, guard, guard_or, place, text};
use crate::error::{pmn_error, pmn_result};

/// The options of a node to start.
///
/// For one thread at a time. pmn_node_start() copies what it needs: afterwards you may change the configuration,
/// start other nodes with it, or free it, without affecting running nodes.
pub struct pmn_config(pub(crate) Config);

/// Creates a configuration in which every option has its default.
///
/// You free it with pmn_config_free(). NULL only if a bug in this library was caught. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn pmn_config_new() -> *mut pmn_config {
    guard_or(ptr::null_mut(), || give(pmn_config(Config::new())))
}

/// Frees a configuration and wipes the secrets in it from memory. NULL is allowed. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_config_free(config: *mut pmn_config) {
    free!(config);
}

/// Sets an option, named as in the table at the top, from text. The text is copied.
///
/// PMN_ERR_INVALID_CONFIG if there is no such option or the value is not allowed: the message says what is
/// expected and never repeats a secret, and the configuration is unchanged. `error` may be NULL; you free what it
/// receives. Does not block.
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

/// Sets every option for which the environment has a variable; the others are unchanged.
///
/// Fails as pmn_config_set() does, with a message that names the variable, and then the configuration is
/// unchanged. `error` may be NULL; you free what it receives. Blocks only to read the files named by the
/// variables that end in _FILE. No other thread may change the environment meanwhile (setenv() and getenv() are
/// not thread-safe).
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
