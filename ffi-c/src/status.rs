//! Status

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::c_char;

use posemesh_node_registration::NodeId;
use posemesh_node_registration::status::{Role, State, Status};

use crate::boundary::{borrow, guard, text_out, write_sized};
use crate::error::{PMN_OK, found, number, pmn_result};
use crate::node::pmn_node;

/// The state of a node's registration: PMN_STATE_...
pub type pmn_state = i32;

/// Not registered, and not yet tried since the start or the last pmn_node_rearm().
pub const PMN_STATE_DISCONNECTED: pmn_state = 0;
/// Trying to register.
pub const PMN_STATE_REGISTERING: pmn_state = 1;
/// Registered with DDS.
pub const PMN_STATE_REGISTERED: pmn_state = 2;

/// A node's role among the processes that share its `state_dir` or `state_url`: PMN_ROLE_...
pub type pmn_role = i32;

/// This node registers, and DDS calls it. Every node without a `state_dir` or `state_url` is a leader.
pub const PMN_ROLE_LEADER: pmn_role = 0;
/// Another process leads, and this node shows its state. It takes over when the leader ends.
pub const PMN_ROLE_FOLLOWER: pmn_role = 1;

fn role(role: Role) -> pmn_role {
    match role {
        Role::Leader => PMN_ROLE_LEADER,
        Role::Follower => PMN_ROLE_FOLLOWER,
    }
}

pub(crate) fn state(state: State) -> pmn_state {
    match state {
        State::Disconnected => PMN_STATE_DISCONNECTED,
        State::Registering => PMN_STATE_REGISTERING,
        State::Registered => PMN_STATE_REGISTERED,
    }
}

/// The capacity of a buffer that fits a node id and its NUL.
pub const PMN_NODE_ID_CAPACITY: usize = 37;

/// A consistent snapshot of a node.
///
/// Later versions may add fields at the end; `size` tells the library which ones your header has.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct pmn_status {
    /// Set this to sizeof(pmn_status) before the call.
    pub size: usize,
    /// PMN_STATE_...
    pub state: pmn_state,
    /// False after a stop.
    pub running: bool,
    /// Whether the node has a secret.
    pub has_secret: bool,
    /// 1 for the first secret, one more for each new one; 0 = no secret so far.
    pub secret_version: u64,
    /// When DDS last sent a health check, in seconds since 1970 (UTC); 0 = never.
    pub last_healthcheck_unix_s: i64,
    /// When DDS last confirmed a registration, in seconds since 1970 (UTC); 0 = never.
    pub registered_at_unix_s: i64,
    /// Attempts to register since the start.
    pub attempts: u64,
    /// Attempts that failed since the last success.
    pub consecutive_failures: u32,
    /// Why the last attempt failed; PMN_OK after a success.
    pub last_error: pmn_result,
    /// The time until the next attempt; 0 = none is scheduled.
    pub next_attempt_in_ms: u64,
    /// PMN_ROLE_...
    pub role: pmn_role,
    /// Why the node currently cannot write its state to `state_dir`, cannot follow the leader there, or cannot use
    /// `state_url`; PMN_OK if there is no such error.
    pub persistence_error: pmn_result,
    /// When the held access token expires, in seconds since 1970 (UTC) by DDS's clock; 0 = none is held.
    pub token_expires_at_unix_s: i64,
    /// Sign-ins for an access token that failed since the last success.
    pub sign_in_failures: u32,
    /// How far DDS's clock is ahead of this machine's; negative if it is behind. DDS reports whole seconds: this is
    /// 0 unless they contradict it.
    pub clock_skew_ms: i64,
    /// True if DDS has not called the callback server within a minute of the registration. DDS only calls a node
    /// whose URL it knows and can reach.
    pub callback_overdue: bool,
    /// The id that DDS knows the node by: the 16 bytes of a UUID, all 0 as long as it is not known. pmn_node_id()
    /// writes it as text.
    pub node_id: [u8; 16],
}

/// The size of `pmn_status` in the first version of the ABI: the least that a caller may have.
const FIRST_SIZE: usize = 64;

const _: () = {
    assert!(std::mem::offset_of!(pmn_status, state) == size_of::<usize>());
    assert!(cfg!(not(target_pointer_width = "64")) || std::mem::offset_of!(pmn_status, role) == FIRST_SIZE);
};

fn seconds(time: Option<u64>) -> i64 {
    time.map_or(0, |time| i64::try_from(time).unwrap_or(i64::MAX))
}

impl pmn_status {
    #[inline]
    fn new(size: usize, status: &Status) -> Self {
        // An attempt that is due now differs from none.
        let next_attempt = status.next_attempt_in().map(|pause| (pause.as_millis() as u64).max(1));
        Self {
            size,
            state: state(status.state),
            running: status.running,
            has_secret: status.has_secret,
            secret_version: status.secret_version,
            last_healthcheck_unix_s: seconds(status.last_healthcheck),
            registered_at_unix_s: seconds(status.registered_at),
            attempts: status.attempts,
            consecutive_failures: status.consecutive_failures,
            last_error: status.last_error.map_or(PMN_OK, number),
            next_attempt_in_ms: next_attempt.unwrap_or(0),
            role: role(status.role),
            persistence_error: status.persistence_error.map_or(PMN_OK, number),
            token_expires_at_unix_s: seconds(status.token_expires_at),
            sign_in_failures: status.sign_in_failures,
            clock_skew_ms: status.clock_skew_ms,
            callback_overdue: status.callback_overdue,
            node_id: status.node_id.map_or([0; 16], NodeId::as_bytes),
        }
    }
}

/// Writes the id that DDS knows the node by: a UUID in lowercase, from the registration credentials, from DDS, or from
/// the access token.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; PMN_NODE_ID_CAPACITY is always enough. `node` must not be
/// NULL. Does not block. Works after a stop. PMN_ERR_NOT_FOUND as long as the id is not known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_id(
    node: *const pmn_node,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> pmn_result {
    guard(None, || {
        let (node, out) = (borrow!(node)?, text_out!(buffer, capacity, length)?);
        let none = "the node's id is not known yet; DDS tells it when the node registers or signs in";
        out.write(&found(node.0.node_id()?, none)?.to_string())
    })
}

/// Fills `*status`, whose `size` you have set to sizeof(pmn_status).
///
/// Does not block, and takes a few nanoseconds: call it as often as you like. Works after a stop.
/// PMN_ERR_INVALID_ARGUMENT for NULL, and if `size` is smaller than in the first version of the ABI. If it is
/// larger than the library knows, the fields that the library does not know are left unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_status(node: *const pmn_node, status: *mut pmn_status) -> pmn_result {
    guard(None, || {
        let node = borrow!(node)?;
        write_sized!(status, FIRST_SIZE, |size, place| {
            place.write(pmn_status::new(size, &node.0.status()?));
            Ok(())
        })
    })
}
