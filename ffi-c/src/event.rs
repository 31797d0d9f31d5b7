//! What happens to a node, told as it happens.

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::{c_char, c_void};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posemesh_node_registration::event::{Event, EventKind};

use crate::boundary::{Callback, borrow, guard, readable};
use crate::error::{PMN_OK, number, pmn_result};
use crate::node::pmn_node;
use crate::status::{PMN_STATE_DISCONNECTED, pmn_state, state};

/// What a pmn_event tells: PMN_EVENT_...
///
/// Ignore a number that you do not know: a later version may have more events.
pub type pmn_event_type = i32;

/// The node went from `old_state` to `new_state`.
pub const PMN_EVENT_STATUS_CHANGED: pmn_event_type = 1;
/// DDS sent a new secret, of version `secret_version`: pmn_node_read_secret().
pub const PMN_EVENT_SECRET_CHANGED: pmn_event_type = 2;
/// An attempt to register failed with `code` and `message`; the next one is due in `retry_in_ms`.
pub const PMN_EVENT_ATTEMPT_FAILED: pmn_event_type = 3;
/// DDS probed /health.
pub const PMN_EVENT_HEALTHCHECK: pmn_event_type = 4;
/// A new access token is held, until `token_expires_at`: pmn_node_access_token().
pub const PMN_EVENT_TOKEN_REFRESHED: pmn_event_type = 5;
/// DDS does not know the node any more, as `message` tells, and the node registers again.
pub const PMN_EVENT_REGISTRATION_LOST: pmn_event_type = 6;

/// Something that happened to a node. Fields that the type does not speak of are 0, or "".
#[repr(C)]
pub struct pmn_event {
    /// The size of this struct in the library: a field at or past it is not there.
    pub size: usize,
    /// PMN_EVENT_...
    pub r#type: pmn_event_type,
    /// When it happened, in milliseconds since 1970 (UTC).
    pub time_unix_ms: i64,
    /// Events that were lost just before this one, because the callback was too slow.
    pub dropped: u64,
    /// PMN_EVENT_STATUS_CHANGED: the state before.
    pub old_state: pmn_state,
    /// PMN_EVENT_STATUS_CHANGED: the state now.
    pub new_state: pmn_state,
    /// PMN_EVENT_SECRET_CHANGED: 1 for the first secret, one more for each new one.
    pub secret_version: u64,
    /// PMN_EVENT_ATTEMPT_FAILED: PMN_ERR_REJECTED or PMN_ERR_UNAVAILABLE.
    pub code: pmn_result,
    /// PMN_EVENT_ATTEMPT_FAILED, PMN_EVENT_REGISTRATION_LOST: what happened, with DDS's own words. Never NULL.
    pub message: *const c_char,
    /// PMN_EVENT_ATTEMPT_FAILED: the time until the next attempt.
    pub retry_in_ms: u64,
    /// PMN_EVENT_TOKEN_REFRESHED: in seconds since 1970 (UTC), by DDS's clock.
    pub token_expires_at: i64,
}

/// A function that receives a node's events. The event and what it points to are valid until it returns.
pub type pmn_event_fn = Option<unsafe extern "C" fn(event: *const pmn_event, user_data: *mut c_void)>;

/// A function that frees a callback's user_data. Runs exactly once, after the callback's last call.
pub type pmn_destroy_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| milliseconds(since) as i64)
}

pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    unix_ms(time) / 1000
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Callback<pmn_event> {
    fn tell(&self, event: &Event) {
        let mut told = pmn_event {
            size: size_of::<pmn_event>(),
            r#type: 0,
            time_unix_ms: unix_ms(event.at),
            dropped: event.dropped,
            old_state: PMN_STATE_DISCONNECTED,
            new_state: PMN_STATE_DISCONNECTED,
            secret_version: 0,
            code: PMN_OK,
            message: c"".as_ptr(),
            retry_in_ms: 0,
            token_expires_at: 0,
        };
        let text;
        match &event.kind {
            EventKind::StatusChanged { from, to } => {
                told.r#type = PMN_EVENT_STATUS_CHANGED;
                told.old_state = state(*from);
                told.new_state = state(*to);
            }
            EventKind::SecretChanged { version } => {
                told.r#type = PMN_EVENT_SECRET_CHANGED;
                told.secret_version = *version;
            }
            EventKind::AttemptFailed { code, message, retry_in } => {
                text = readable(message);
                told.r#type = PMN_EVENT_ATTEMPT_FAILED;
                told.code = number(*code);
                told.message = text.as_ptr();
                told.retry_in_ms = milliseconds(*retry_in);
            }
            EventKind::Healthcheck => told.r#type = PMN_EVENT_HEALTHCHECK,
            EventKind::TokenRefreshed { expires_at } => {
                told.r#type = PMN_EVENT_TOKEN_REFRESHED;
                told.token_expires_at = unix_seconds(*expires_at);
            }
            EventKind::RegistrationLost { reason } => {
                text = readable(reason);
                told.r#type = PMN_EVENT_REGISTRATION_LOST;
                told.message = text.as_ptr();
            }
            // An event of a newer core that this header has no number for.
            _ => return,
        }
        self.call(&told);
    }
}

/// Sends the node's events to `callback`, in place of the former one; NULL ends that (`user_data` and
/// `destroy` are NULL then, too).
///
/// The callback runs on a thread of the library, one call at a time for all callbacks of the process, under
/// no lock: it may call every function but pmn_node_stop(). What happened before is not told again: read
/// the status after this call. A callback that was replaced is still told what is queued for it.
///
/// `destroy` may be NULL. It is called exactly once, after the last call of `callback`: when the callback
/// was replaced or the node stopped; on the library's thread, or on the one that makes that call. When this
/// function fails it is not called, and `user_data` stays yours. PMN_ERR_STOPPED after a stop. Does not
/// block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_set_event_callback(
    node: *mut pmn_node,
    callback: pmn_event_fn,
    user_data: *mut c_void,
    destroy: pmn_destroy_fn,
) -> pmn_result {
    guard(None, || {
        let node = borrow!(node)?;
        match Callback::new(callback, user_data, destroy)? {
            Some(callback) => {
                callback.install(|callback| node.0.set_event_callback(move |event| callback.tell(event)))
            }
            None => node.0.clear_event_callback(),
        }
    })
}
