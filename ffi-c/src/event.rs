//! Events

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::{c_char, c_void};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posemesh_node_registration::event::{Event, EventKind};

use crate::boundary::{Callback, borrow, guard, readable};
use crate::error::{PMN_OK, number, pmn_result};
use crate::node::pmn_node;
use crate::status::{PMN_STATE_DISCONNECTED, pmn_state, state};

/// The type of an event: PMN_EVENT_...
///
/// Ignore a number that you do not know: a later version may add events.
pub type pmn_event_type = i32;

/// The state changed from `previous` to `state`.
pub const PMN_EVENT_STATUS_CHANGED: pmn_event_type = 1;
/// DDS sent a new secret, number `secret_version`: see pmn_node_read_secret().
pub const PMN_EVENT_SECRET_CHANGED: pmn_event_type = 2;
/// An attempt to register failed, with `code` and `message`; the next one is due in `retry_in_ms`.
pub const PMN_EVENT_ATTEMPT_FAILED: pmn_event_type = 3;
/// DDS sent a health check.
pub const PMN_EVENT_HEALTHCHECK: pmn_event_type = 4;
/// The node has a new access token, which expires at `token_expires_at_unix_s`: see pmn_node_access_token().
pub const PMN_EVENT_TOKEN_REFRESHED: pmn_event_type = 5;
/// DDS no longer knows the node, as `message` explains, and the node registers again.
pub const PMN_EVENT_REGISTRATION_LOST: pmn_event_type = 6;

/// Something that happened to a node. Fields that the event's type does not use are 0 or "".
#[repr(C)]
pub struct pmn_event {
    /// The size of this struct in the loaded library, which may lack the last fields of your header.
    pub size: usize,
    /// PMN_EVENT_...
    pub r#type: pmn_event_type,
    /// When it happened, in milliseconds since 1970 (UTC).
    pub time_unix_ms: i64,
    /// The number of events dropped just before this one because the callback was too slow.
    pub dropped: u64,
    /// PMN_EVENT_STATUS_CHANGED: the state before.
    pub previous: pmn_state,
    /// PMN_EVENT_STATUS_CHANGED: the state now.
    pub state: pmn_state,
    /// PMN_EVENT_SECRET_CHANGED: 1 for the first secret, one more for each new one.
    pub secret_version: u64,
    /// PMN_EVENT_ATTEMPT_FAILED: PMN_ERR_REJECTED or PMN_ERR_UNAVAILABLE.
    pub code: pmn_result,
    /// PMN_EVENT_ATTEMPT_FAILED, PMN_EVENT_REGISTRATION_LOST: what happened, including DDS's own words. Never
    /// NULL.
    pub message: *const c_char,
    /// PMN_EVENT_ATTEMPT_FAILED: the time until the next attempt.
    pub retry_in_ms: u64,
    /// PMN_EVENT_TOKEN_REFRESHED: when the token expires, in seconds since 1970 (UTC) by DDS's clock.
    pub token_expires_at_unix_s: i64,
}

/// A function that receives a node's events. The event is valid only until the function returns.
pub type pmn_event_fn = Option<unsafe extern "C" fn(event: *const pmn_event, user_data: *mut c_void)>;

/// A function that frees a callback's user_data. It runs exactly once, after the callback's last call.
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

type EventCallback = Callback<unsafe extern "C" fn(*const pmn_event, *mut c_void)>;

impl EventCallback {
    fn deliver(&self, event: &Event) {
        let mut converted = pmn_event {
            size: size_of::<pmn_event>(),
            r#type: 0,
            time_unix_ms: unix_ms(event.at),
            dropped: event.dropped,
            previous: PMN_STATE_DISCONNECTED,
            state: PMN_STATE_DISCONNECTED,
            secret_version: 0,
            code: PMN_OK,
            message: c"".as_ptr(),
            retry_in_ms: 0,
            token_expires_at_unix_s: 0,
        };
        let text;
        match &event.kind {
            EventKind::StatusChanged { previous, state: current } => {
                converted.r#type = PMN_EVENT_STATUS_CHANGED;
                converted.previous = state(*previous);
                converted.state = state(*current);
            }
            EventKind::SecretChanged { version } => {
                converted.r#type = PMN_EVENT_SECRET_CHANGED;
                converted.secret_version = *version;
            }
            EventKind::AttemptFailed { code, message, retry_in } => {
                text = readable(message);
                converted.r#type = PMN_EVENT_ATTEMPT_FAILED;
                converted.code = number(*code);
                converted.message = text.as_ptr();
                converted.retry_in_ms = milliseconds(*retry_in);
            }
            EventKind::Healthcheck => converted.r#type = PMN_EVENT_HEALTHCHECK,
            EventKind::TokenRefreshed { expires_at } => {
                converted.r#type = PMN_EVENT_TOKEN_REFRESHED;
                converted.token_expires_at_unix_s = unix_seconds(*expires_at);
            }
            EventKind::RegistrationLost { reason } => {
                text = readable(reason);
                converted.r#type = PMN_EVENT_REGISTRATION_LOST;
                converted.message = text.as_ptr();
            }
            // An event of the core for which this header has no number.
            _ => return,
        }
        self.call(&converted);
    }
}

/// Sets the callback for a node's events. Replaces the former callback; NULL removes it (then pass NULL for
/// `user_data` and `destroy`, too).
///
/// The callback runs on a thread of the library, one call at a time for all callbacks of the process, and holds
/// no lock: it may call every function except pmn_node_stop(). Earlier events are not repeated: read the status
/// after this call. A callback that was replaced still receives the events that are queued for it.
///
/// `destroy` may be NULL. It runs exactly once, after the last call of `callback`, when the callback was replaced
/// or the node stopped: on the library's thread, or on the thread that made that call. If this function fails,
/// `destroy` does not run and `user_data` remains yours. PMN_ERR_STOPPED after a stop. Does not block.
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
                callback.install(|callback| node.0.set_event_callback(move |event| callback.deliver(event)))
            }
            None => node.0.clear_event_callback(),
        }
    })
}
