//! Addresses and signatures without a node.

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::c_char;
use std::ptr;

use posemesh_node_registration::crypto::{derive_eth_address, load_secp256k1_privhex, sign_eip191};

use crate::boundary::{bytes, guard, place, text, text_out};
use crate::error::{pmn_error, pmn_result};

/// Writes the Ethereum address of a private key (64 hex digits, "0x" optional): "0x" and 40 lowercase hex
/// digits.
///
/// For any thread; does not block, and keeps no copy of the key, which must not be NULL. `buffer`,
/// `capacity`, `length`: see "Text" at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_eth_address(
    privhex: *const c_char,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> pmn_result {
    // SAFETY: the caller's promises are the same, and NULL asks for no error.
    unsafe { pmn_eth_address_with_error(privhex, buffer, capacity, length, ptr::null_mut()) }
}

/// As pmn_eth_address(), and on failure says in words what is wrong with the key, which is not in them. Does
/// not block; a NULL key is PMN_ERR_INVALID_ARGUMENT.
///
/// `error` may be NULL. On failure `*error` is yours: pmn_error_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_eth_address_with_error(
    privhex: *const c_char,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut *mut pmn_error,
) -> pmn_result {
    guard(place!(error), || {
        let (privhex, out) = (text!(privhex)?, text_out!(buffer, capacity, length)?);
        out.write(&derive_eth_address(&load_secp256k1_privhex(privhex)?))
    })
}

/// Signs `length` bytes with a private key as pmn_node_sign() does with the node's.
///
/// For any thread; does not block, and keeps no copy of the key, which must not be NULL. `message` may be
/// NULL when `length` is 0. `buffer`, `capacity`, `written`: see "Text" at the top.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_sign_eip191(
    privhex: *const c_char,
    message: *const u8,
    length: usize,
    buffer: *mut c_char,
    capacity: usize,
    written: *mut usize,
) -> pmn_result {
    // SAFETY: the caller's promises are the same, and NULL asks for no error.
    unsafe {
        pmn_sign_eip191_with_error(privhex, message, length, buffer, capacity, written, ptr::null_mut())
    }
}

/// As pmn_sign_eip191(), and on failure says in words what is wrong with the key, which is not in them. Does
/// not block; a NULL key is PMN_ERR_INVALID_ARGUMENT.
///
/// `error` may be NULL. On failure `*error` is yours: pmn_error_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_sign_eip191_with_error(
    privhex: *const c_char,
    message: *const u8,
    length: usize,
    buffer: *mut c_char,
    capacity: usize,
    written: *mut usize,
    error: *mut *mut pmn_error,
) -> pmn_result {
    guard(place!(error), || {
        let (privhex, message) = (text!(privhex)?, bytes!(message, length)?);
        let out = text_out!(buffer, capacity, written)?;
        out.write(&sign_eip191(&load_secp256k1_privhex(privhex)?, message))
    })
}
