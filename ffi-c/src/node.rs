//! A running node.

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::c_char;
use std::ptr;
use std::time::Duration;

use posemesh_node_registration::error::{Error, ErrorCode};
use posemesh_node_registration::node::{Node, Wait};

use crate::boundary::{borrow, bytes, free, give, guard, invalid, place, required_place, text_out};
use crate::config::pmn_config;
use crate::error::{pmn_error, pmn_result};

/// A node that registers with DDS and stays registered, until it is stopped.
///
/// Every function may be called on it from any thread, also at the same time, and from callbacks (where
/// only pmn_node_stop() is refused). Only pmn_node_free() must be the last one.
pub struct pmn_node(pub(crate) Node);

/// What pmn_node_wait() waits for: PMN_WAIT_...
pub type pmn_wait = i32;

/// Wait until the node is registered.
pub const PMN_WAIT_REGISTERED: pmn_wait = 1;
/// Wait until the node has a secret.
pub const PMN_WAIT_SECRET: pmn_wait = 2;

/// A timeout that never ends.
pub const PMN_NO_TIMEOUT: u32 = u32::MAX;

pub(crate) fn timeout(timeout_ms: u32) -> Option<Duration> {
    (timeout_ms != PMN_NO_TIMEOUT).then(|| Duration::from_millis(timeout_ms.into()))
}

/// Starts a node: checks the configuration, binds the callback port, starts the registrar, and returns
/// without waiting for DDS (see pmn_node_wait()).
///
/// On PMN_OK `*node` is yours: pmn_node_stop(), then pmn_node_free(). `error` may be NULL. May block for a
/// moment: it reads certificates, and looks up the host name in `callback_bind`.
///
/// PMN_ERR_INVALID_CONFIG, PMN_ERR_ALREADY_RUNNING (this process has a node with this wallet and DDS, or with
/// this `state_dir`), PMN_ERR_BIND (the port is taken), PMN_ERR_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_start(
    config: *const pmn_config,
    node: *mut *mut pmn_node,
    error: *mut *mut pmn_error,
) -> pmn_result {
    guard(place!(error), || {
        let (config, node) = (borrow!(config)?, required_place!(node)?);
        node.write(give(pmn_node(Node::start(&config.0)?)));
        Ok(())
    })
}

/// Stops a node: cancels what is in flight, ends every wait with PMN_ERR_STOPPED, delivers the last events
/// and log records, frees the port, ends the library's threads if no other node needs them.
///
/// Blocks until all that is done, at most `timeout_ms` (or PMN_NO_TIMEOUT). After PMN_OK no event callback
/// of this node runs any more. Stopping twice is fine, also from two threads. The node is still to be freed.
/// NULL: PMN_ERR_INVALID_ARGUMENT.
///
/// PMN_ERR_TIMEOUT when a callback does not return in time: call again to go on waiting.
/// PMN_ERR_WOULD_DEADLOCK from inside a callback: call it from another thread, or free the node there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_stop(node: *mut pmn_node, timeout_ms: u32) -> pmn_result {
    // SAFETY: the caller's promises are the same, and NULL asks for no error.
    unsafe { pmn_node_stop_with_error(node, timeout_ms, ptr::null_mut()) }
}

/// As pmn_node_stop(), and on failure says in words what has not ended. Blocks as long; a NULL node is
/// PMN_ERR_INVALID_ARGUMENT.
///
/// `error` may be NULL. On failure `*error` is yours: pmn_error_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_stop_with_error(
    node: *mut pmn_node,
    timeout_ms: u32,
    error: *mut *mut pmn_error,
) -> pmn_result {
    guard(place!(error), || borrow!(node)?.0.stop(timeout(timeout_ms).unwrap_or(Duration::MAX)))
}

/// Stops a node, if that was not done, and frees it. NULL is fine.
///
/// Blocks as pmn_node_stop() does, for at most five seconds: if a callback is stuck for longer, the node goes
/// when that has returned. Inside a callback it does not block: the node goes when the callback has returned,
/// and no event callback of the node begins after that. No other thread may be in a call with this node, nor
/// make one later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_free(node: *mut pmn_node) {
    free!(node);
}

/// Waits until the node is registered (PMN_WAIT_REGISTERED) or has a secret (PMN_WAIT_SECRET).
///
/// Blocks for at most `timeout_ms`; 0 only looks, PMN_NO_TIMEOUT waits for ever. After pmn_node_rearm() a
/// wait for PMN_WAIT_REGISTERED is one for the new registration. Do not wait inside a callback: while it
/// runs, no other event or log record is delivered.
///
/// PMN_ERR_TIMEOUT (pmn_node_wait_with_error() says why), PMN_ERR_STOPPED as soon as the node is stopped, and
/// after that. PMN_ERR_NOT_FOUND at once for PMN_WAIT_SECRET when no secret can arrive, because the node has none
/// and neither `callback_bind` nor `state_dir` is set. NULL: PMN_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_wait(node: *const pmn_node, what: pmn_wait, timeout_ms: u32) -> pmn_result {
    // SAFETY: the caller's promises are the same, and NULL asks for no error.
    unsafe { pmn_node_wait_with_error(node, what, timeout_ms, ptr::null_mut()) }
}

/// As pmn_node_wait(), and on failure says why in words: PMN_ERR_TIMEOUT comes with the state of the node and
/// with what its last attempt to register failed with. Blocks as long, and ends with a stop as well; a NULL
/// node is PMN_ERR_INVALID_ARGUMENT.
///
/// `error` may be NULL. On failure `*error` is yours: pmn_error_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_wait_with_error(
    node: *const pmn_node,
    what: pmn_wait,
    timeout_ms: u32,
    error: *mut *mut pmn_error,
) -> pmn_result {
    guard(place!(error), || {
        let what = match what {
            PMN_WAIT_REGISTERED => Wait::Registered,
            PMN_WAIT_SECRET => Wait::Secret,
            _ => return Err(invalid("what is none of PMN_WAIT_...")),
        };
        borrow!(node)?.0.wait(what, timeout(timeout_ms))
    })
}

/// Gives what the last attempt to register failed with: what happened, with DDS's own words.
///
/// On PMN_OK `*last_error` is yours: pmn_error_free(). Does not block; answers after a stop, too. NULL:
/// PMN_ERR_INVALID_ARGUMENT. PMN_ERR_NOT_FOUND when no attempt has failed since the last success.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_last_error(
    node: *const pmn_node,
    last_error: *mut *mut pmn_error,
) -> pmn_result {
    guard(None, || {
        let (node, place) = (borrow!(node)?, required_place!(last_error)?);
        pmn_error::hand_out(node.0.last_error()?, "no attempt has failed", place)
    })
}

/// Gives why the state cannot be kept in `state_dir` at present, or the leader there not be followed. The node
/// goes on in memory meanwhile.
///
/// On PMN_OK `*persistence_error` is yours: pmn_error_free(). Does not block; answers after a stop, too. NULL:
/// PMN_ERR_INVALID_ARGUMENT. PMN_ERR_NOT_FOUND when all is well, and without a `state_dir`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_persistence_error(
    node: *const pmn_node,
    persistence_error: *mut *mut pmn_error,
) -> pmn_result {
    guard(None, || {
        let (node, place) = (borrow!(node)?, required_place!(persistence_error)?);
        pmn_error::hand_out(node.0.persistence_error()?, "nothing keeps the state from being kept", place)
    })
}

/// Registers again, such as after the node has lost its secret.
///
/// Does not block. When it returns, the state is PMN_STATE_DISCONNECTED and the registrar awake; a follower
/// asks its leader to, and stays in that state until that one has begun. The secret stays readable until DDS
/// sends another one. After ten calls in a row the node registers at most once a second: calls in between count as
/// one, and the last one is never lost. PMN_ERR_STOPPED after a stop. NULL: PMN_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_rearm(node: *mut pmn_node) -> pmn_result {
    // SAFETY: the caller's promises are the same, and NULL asks for no error.
    unsafe { pmn_node_rearm_with_error(node, ptr::null_mut()) }
}

/// As pmn_node_rearm(), and on failure says why in words, such as after a stop. Does not block; a NULL node is
/// PMN_ERR_INVALID_ARGUMENT.
///
/// `error` may be NULL. On failure `*error` is yours: pmn_error_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_rearm_with_error(
    node: *mut pmn_node,
    error: *mut *mut pmn_error,
) -> pmn_result {
    guard(place!(error), || borrow!(node)?.0.rearm())
}

/// Writes where the callback server listens, such as "127.0.0.1:8080", with the port that a bind to port 0
/// was given. For a follower: where that of its leader does.
///
/// Does not block; answers after a stop, too. `buffer`, `capacity`, `length`: see "Text" at the top; of the
/// pointers only `node` must not be NULL. PMN_ERR_NOT_FOUND when the node has no callback server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_callback_address(
    node: *const pmn_node,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> pmn_result {
    guard(None, || {
        let (node, out) = (borrow!(node)?, text_out!(buffer, capacity, length)?);
        match node.0.callback_address()? {
            Some(address) => out.write(&address.to_string()),
            None => {
                Err(Error::new(ErrorCode::NotFound, "the node has no callback server; set callback_bind"))
            }
        }
    })
}

/// Writes the node's Ethereum address: "0x" and 40 lowercase hex digits.
///
/// Does not block; answers after a stop, too. `buffer`, `capacity`, `length`: see "Text" at the top; of the
/// pointers only `node` must not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_wallet_address(
    node: *const pmn_node,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> pmn_result {
    guard(None, || {
        let (node, out) = (borrow!(node)?, text_out!(buffer, capacity, length)?);
        out.write(node.0.wallet_address()?)
    })
}

/// Signs `length` bytes with the node's key as a wallet does (EIP-191, personal_sign), and writes the
/// signature: "0x" and 130 lowercase hex digits.
///
/// `message` may be NULL when `length` is 0. Does not block; answers after a stop, too. `buffer`,
/// `capacity`, `written`: see "Text" at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_sign(
    node: *const pmn_node,
    message: *const u8,
    length: usize,
    buffer: *mut c_char,
    capacity: usize,
    written: *mut usize,
) -> pmn_result {
    guard(None, || {
        let (node, message) = (borrow!(node)?, bytes!(message, length)?);
        let out = text_out!(buffer, capacity, written)?;
        out.write(&node.0.sign(message)?)
    })
}
