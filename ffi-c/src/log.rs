//! Log records

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::{c_char, c_void};

use posemesh_node_registration::log::{self, Level, Record};

use crate::boundary::{Callback, guard, invalid, readable};
use crate::error::pmn_result;
use crate::event::{pmn_destroy_fn, unix_ms};

/// The severity of a log record: PMN_LOG_...
pub type pmn_log_level = i32;

/// A bug in this library.
pub const PMN_LOG_ERROR: pmn_log_level = 1;
/// Something that an operator should look at.
pub const PMN_LOG_WARN: pmn_log_level = 2;
/// The main events of a node's life: registered, secret received, stopped.
pub const PMN_LOG_INFO: pmn_log_level = 3;
/// Every step.
pub const PMN_LOG_DEBUG: pmn_log_level = 4;

/// One log record. It never contains a key, a credential or a secret.
#[repr(C)]
pub struct pmn_log_record {
    /// The size of this struct in the loaded library, which may lack the last fields of your header.
    pub size: usize,
    /// PMN_LOG_...
    pub level: pmn_log_level,
    /// When it was written, in milliseconds since 1970 (UTC).
    pub time_unix_ms: i64,
    /// The number of records dropped just before this one because the callback was too slow.
    pub dropped: u64,
    /// The part of the library that wrote it, such as "posemesh_node::register". Never NULL.
    pub target: *const c_char,
    /// One line of UTF-8 for people, without a newline. Never NULL.
    pub message: *const c_char,
}

/// A function that receives log records. The record is valid only until the function returns.
pub type pmn_log_fn = Option<unsafe extern "C" fn(record: *const pmn_log_record, user_data: *mut c_void)>;

type LogCallback = Callback<unsafe extern "C" fn(*const pmn_log_record, *mut c_void)>;

impl LogCallback {
    fn deliver(&self, record: &Record) {
        let (target, message) = (readable(record.target), readable(&record.message));
        self.call(&pmn_log_record {
            size: size_of::<pmn_log_record>(),
            level: record.level as pmn_log_level,
            time_unix_ms: unix_ms(record.at),
            dropped: record.dropped,
            target: target.as_ptr(),
            message: message.as_ptr(),
        });
    }
}

/// Sets the callback for the log records of all nodes in this process, up to `max_level`. Replaces the former
/// callback; NULL removes it (then pass NULL for `user_data` and `destroy`, too; `max_level` is ignored).
///
/// Best called before the first node starts. Without a callback the library logs nothing. Threads, locks, and
/// when `destroy` frees `user_data`: as for pmn_node_set_event_callback(). The callback stays set after
/// pmn_node_stop(), and `destroy` does not run when the process ends. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_set_log_callback(
    callback: pmn_log_fn,
    user_data: *mut c_void,
    destroy: pmn_destroy_fn,
    max_level: pmn_log_level,
) -> pmn_result {
    guard(None, || {
        let Some(callback) = Callback::new(callback, user_data, destroy)? else {
            log::clear_callback();
            return Ok(());
        };
        callback.install(|callback| {
            let max_level = Level::ALL.into_iter().find(|level| *level as pmn_log_level == max_level);
            let max_level = max_level.ok_or_else(|| invalid("max_level is not one of PMN_LOG_..."))?;
            log::set_callback(max_level, move |record| callback.deliver(record));
            Ok(())
        })
    })
}
