//! The status of a node.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use napi::bindgen_prelude::{ArrayBuffer, Env};
use napi_derive::napi;
use posemesh_node_registration::error as core;
use posemesh_node_registration::status;

use crate::error::Failure;
use crate::time::whole_millis;

/// A consistent snapshot of a node. Times are in seconds since 1970 (UTC).
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Status {
    /// The state of the registration.
    #[napi(ts_type = "'disconnected' | 'registering' | 'registered'")]
    pub state: &'static str,
    /// False once the node was stopped.
    pub running: bool,
    /// Whether the node has a node secret.
    pub has_secret: bool,
    /// 0 if there is no secret yet; each new secret adds one.
    pub secret_version: i64,
    /// When DDS last probed the node.
    pub last_healthcheck: Option<i64>,
    /// When DDS last confirmed a registration.
    pub registered_at: Option<i64>,
    /// Registration attempts since the start.
    pub attempts: i64,
    /// Attempts that failed since the last success.
    pub consecutive_failures: u32,
    /// The error of the last attempt; none after a success.
    pub last_error: Option<Failure>,
    /// The time until the next attempt, while the registrar waits for it.
    pub next_attempt_in_ms: Option<i64>,
    /// The role of the node among those that share its `state_dir` or `state_url`.
    #[napi(ts_type = "'leader' | 'follower'")]
    pub role: &'static str,
    /// Why the state cannot currently be written to `state_dir`, or shared through `state_url`.
    pub persistence_error: Option<Failure>,
    /// When the current access token expires.
    pub token_expires_at: Option<i64>,
    /// Sign-ins for an access token that failed since the last success.
    pub sign_in_failures: u32,
    /// How far the clock of DDS is ahead of this machine's clock.
    pub clock_skew_ms: i64,
    /// The id by which DDS knows the node.
    pub node_id: Option<String>,
    /// Whether DDS has not called the callback server within a minute of the registration.
    pub callback_overdue: bool,
}

impl Status {
    pub(crate) fn new(
        status: &status::Status,
        last_error: Option<core::Error>,
        persistence_error: Option<core::Error>,
    ) -> Self {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Self {
            state: status.state.name(),
            running: status.running,
            has_secret: status.has_secret,
            secret_version: number(status.secret_version),
            last_healthcheck: status.last_healthcheck.map(number),
            registered_at: status.registered_at.map(number),
            attempts: number(status.attempts),
            consecutive_failures: status.consecutive_failures,
            last_error: last_error.map(Failure::from),
            next_attempt_in_ms: status.next_attempt_in().map(whole_millis),
            role: status.role.name(),
            persistence_error: persistence_error.map(Failure::from),
            token_expires_at: status.token_expires_at.map(number),
            sign_in_failures: status.sign_in_failures,
            clock_skew_ms: status.clock_skew_ms,
            node_id: status.node_id.map(|id| id.to_string()),
            callback_overdue: status.callback_overdue,
        }
    }
}

/// Lets JavaScript read core's count of changes without a call. `None` if the engine does not allow external memory, as
/// in Electron.
#[expect(unsafe_code, reason = "JavaScript reads this memory through its address")]
pub(crate) fn share<'env>(
    env: &'env Env,
    changes: Arc<AtomicU32>,
) -> napi::Result<Option<ArrayBuffer<'env>>> {
    let memory = changes.as_ptr().cast::<u8>();
    // SAFETY: the finalizer owns `changes`, which keeps the memory alive for as long as the buffer. JavaScript only reads
    // it, atomically, and no Rust code accesses it through the buffer.
    let buffer = unsafe {
        ArrayBuffer::from_external(env, memory, size_of::<AtomicU32>(), changes, |_, changes| drop(changes))
    }?;
    // If external memory is not allowed, napi-rs makes a copy, which would never change.
    Ok(std::ptr::eq(buffer.as_ptr(), memory).then_some(buffer))
}
