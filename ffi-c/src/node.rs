//! A running node

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::c_char;
use std::ptr;
use std::time::Duration;

use posemesh_node_registration::node::{Node, Wait};

use crate::boundary::{borrow, bytes, free, give, guard, invalid, place, required_place, text_out};
use crate::config::pmn_config;
use crate::error::{found, pmn_error, pmn_result};

/// A node that registers with DDS, and stays registered until it is stopped.
///
/// Any number of threads may use it at the same time, and callbacks may too (except for pmn_node_stop()). Only
/// pmn_node_free() must be the last call.
pub struct pmn_node(pub(crate) Node);

/// What pmn_node_wait() waits for: PMN_WAIT_...
pub type pmn_wait = i32;

/// The node is registered.
pub const PMN_WAIT_REGISTERED: pmn_wait = 1;
/// The node has a secret.
pub const PMN_WAIT_SECRET: pmn_wait = 2;

/// No timeout: wait as long as it takes.
pub const PMN_NO_TIMEOUT: u32 = u32::MAX;

pub(crate) fn timeout(timeout_ms: u32) -> Option<Duration> {
    (timeout_ms != PMN_NO_TIMEOUT).then(|| Duration::from_millis(timeout_ms.into()))
}

/// Starts a node: checks the configuration, binds the callback port, starts to register, and returns without
/// waiting for DDS (see pmn_node_wait()).
///
/// On PMN_OK you own `*node`: call pmn_node_stop(), then pmn_node_free(). `error` may be NULL. May block briefly,
/// to read certificates and to look up the host name in `callback_bind`.
///
/// PMN_ERR_INVALID_CONFIG, PMN_ERR_ALREADY_RUNNING (this process has a node with this wallet and DDS, or with
/// this `state_dir`), PMN_ERR_BIND (the port is in use), PMN_ERR_IO.
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

/// Stops a node: cancels its requests, ends every wait with PMN_ERR_STOPPED, delivers the remaining events and
/// log records, closes the port, and ends the library's threads unless another node needs them.
///
/// Blocks until all of that is done, for at most `timeout_ms` (or PMN_NO_TIMEOUT). After PMN_OK no event callback
/// of this node runs. You may stop a node twice, and from several threads; you still have to free it. NULL
/// returns PMN_ERR_INVALID_ARGUMENT.
///
/// PMN_ERR_TIMEOUT if a callback does not return in time: call again to continue waiting.
/// PMN_ERR_WOULD_DEADLOCK from inside a callback: call it on another thread, or free the node instead.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_stop(node: *mut pmn_node, timeout_ms: u32) -> pmn_result {
    // SAFETY: the same requirements; NULL asks for no error.
    unsafe { pmn_node_stop_with_error(node, timeout_ms, ptr::null_mut()) }
}

/// Like pmn_node_stop(), with an error that says what has not ended. Blocks as long.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_stop_with_error(
    node: *mut pmn_node,
    timeout_ms: u32,
    error: *mut *mut pmn_error,
) -> pmn_result {
    guard(place!(error), || borrow!(node)?.0.stop(timeout(timeout_ms).unwrap_or(Duration::MAX)))
}

/// Stops a node, unless it is stopped already, and frees it. NULL is allowed.
///
/// Blocks as pmn_node_stop() does, for at most five seconds: if a callback takes longer, the node is freed when it
/// returns. Inside a callback this does not block: the node is freed when the callback returns, and no further
/// event callback of the node runs. No other thread may be using the node, nor use it later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_free(node: *mut pmn_node) {
    free!(node);
}

/// Waits until the node is registered (PMN_WAIT_REGISTERED) or has a secret (PMN_WAIT_SECRET).
///
/// Blocks for at most `timeout_ms`; 0 only checks, PMN_NO_TIMEOUT waits indefinitely. After pmn_node_rearm(), a
/// wait for PMN_WAIT_REGISTERED waits for the new registration. Do not wait inside a callback: no other event or
/// log record is delivered until the callback returns.
///
/// The wait does not end when DDS refuses the node, because the node tries again: pmn_node_last_error() and
/// PMN_EVENT_ATTEMPT_FAILED say why.
///
/// PMN_ERR_TIMEOUT (pmn_node_wait_with_error() says why); PMN_ERR_STOPPED as soon as the node is stopped, and
/// from then on; PMN_ERR_NOT_FOUND immediately for PMN_WAIT_SECRET if no secret can arrive, because the node has
/// none, none of `callback_bind`, `node_url`, `state_dir` and `state_url` is set, and pmn_node_handle_request() was not
/// called yet.
/// NULL returns PMN_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_wait(node: *const pmn_node, what: pmn_wait, timeout_ms: u32) -> pmn_result {
    // SAFETY: the same requirements; NULL asks for no error.
    unsafe { pmn_node_wait_with_error(node, what, timeout_ms, ptr::null_mut()) }
}

/// Like pmn_node_wait(), with an error that says why: for PMN_ERR_TIMEOUT, the state of the node and the error of
/// its last attempt to register. Blocks as long, and a stop ends it as well.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
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
            _ => return Err(invalid("what is not one of PMN_WAIT_...")),
        };
        borrow!(node)?.0.wait(what, timeout(timeout_ms))
    })
}

/// Returns the error of the last attempt to register, which includes DDS's own words.
///
/// On PMN_OK you free `*last_error` with pmn_error_free(). Does not block. Works after a stop. NULL returns
/// PMN_ERR_INVALID_ARGUMENT. PMN_ERR_NOT_FOUND if no attempt has failed since the last success.
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

/// Returns why the node currently cannot write its state to `state_dir`, cannot follow the leader there, or cannot
/// use `state_url`. The node continues in memory meanwhile.
///
/// On PMN_OK you free `*persistence_error` with pmn_error_free(). Does not block. Works after a stop. NULL returns
/// PMN_ERR_INVALID_ARGUMENT. PMN_ERR_NOT_FOUND if there is no such error, or neither `state_dir`
/// nor `state_url`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_persistence_error(
    node: *const pmn_node,
    persistence_error: *mut *mut pmn_error,
) -> pmn_result {
    guard(None, || {
        let (node, place) = (borrow!(node)?, required_place!(persistence_error)?);
        pmn_error::hand_out(
            node.0.persistence_error()?,
            "the state is saved or shared, or there is neither state_dir nor state_url",
            place,
        )
    })
}

/// Registers again, for example when the host has lost the secret.
///
/// Does not block. When it returns, the state is PMN_STATE_DISCONNECTED and a new registration is under way. A
/// follower asks its leader to register, and is in that state until the leader has started. The secret stays
/// readable until DDS sends another one. After ten calls in a row the node registers at most once a second: calls
/// in between count as one, and the last one is never lost. PMN_ERR_STOPPED after a stop. NULL returns
/// PMN_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_rearm(node: *mut pmn_node) -> pmn_result {
    // SAFETY: the same requirements; NULL asks for no error.
    unsafe { pmn_node_rearm_with_error(node, ptr::null_mut()) }
}

/// Like pmn_node_rearm(), with an error that says why it failed, such as after a stop. Does not block.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_rearm_with_error(
    node: *mut pmn_node,
    error: *mut *mut pmn_error,
) -> pmn_result {
    guard(place!(error), || borrow!(node)?.0.rearm())
}

/// Writes the address on which the callback server listens, such as "127.0.0.1:8080", with the actual port if
/// `callback_bind` has port 0. For a follower it is the leader's address.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; 64 bytes are always enough. `node` must not be NULL. Does
/// not block. Works after a stop. PMN_ERR_NOT_FOUND if the node has no callback server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_callback_address(
    node: *const pmn_node,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> pmn_result {
    guard(None, || {
        let (node, out) = (borrow!(node)?, text_out!(buffer, capacity, length)?);
        let address =
            found(node.0.callback_address()?, "the node has no callback server; set callback_bind")?;
        out.write(&address.to_string())
    })
}

/// The capacity of a buffer that fits an Ethereum address and its NUL.
pub const PMN_ADDRESS_CAPACITY: usize = 43;

/// Writes the node's Ethereum address: "0x" and 40 lowercase hex digits.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; PMN_ADDRESS_CAPACITY is always enough. `node` must not be
/// NULL. Does not block. Works after a stop. PMN_ERR_NOT_FOUND for a robot.
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

/// The capacity of a buffer that fits a signature and its NUL.
pub const PMN_SIGNATURE_CAPACITY: usize = 133;

/// Signs `length` bytes with the node's key as a wallet does (EIP-191, personal_sign), and writes the
/// signature: "0x" and 130 lowercase hex digits.
///
/// `buffer`, `capacity`, `written`: see "Text" at the top; PMN_SIGNATURE_CAPACITY is always enough. `message` may
/// be NULL if `length` is 0. Does not block. Works after a stop. PMN_ERR_NOT_FOUND if the node has no private key: it
/// is a robot, or has a signer (see pmn_config_set_signer()).
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
