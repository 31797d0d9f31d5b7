//! Addresses and signatures without a node

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::c_char;
use std::ptr;

use posemesh_node_registration::crypto::{derive_eth_address, load_secp256k1_privhex, sign_eip191};

use crate::boundary::{bytes, guard, place, text, text_out};
use crate::error::{pmn_error, pmn_result};

/// Writes the Ethereum address of a private key (64 hex digits, "0x" optional): "0x" and 40 lowercase hex
/// digits.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; PMN_ADDRESS_CAPACITY is always enough. `privhex` must
/// not be NULL; no copy of it is kept. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_eth_address(
    privhex: *const c_char,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> pmn_result {
    // SAFETY: the same requirements; NULL asks for no error.
    unsafe { pmn_eth_address_with_error(privhex, buffer, capacity, length, ptr::null_mut()) }
}

/// Like pmn_eth_address(), with an error that says what is wrong with the key, without repeating it. Does not
/// block.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
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

/// Signs `length` bytes with a private key (EIP-191, personal_sign), and writes the signature: "0x" and 130
/// lowercase hex digits.
///
/// `buffer`, `capacity`, `written`: see "Text" at the top; PMN_SIGNATURE_CAPACITY is always enough. `message` may
/// be NULL if `length` is 0; `privhex` must not be NULL, and no copy of it is kept. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_sign_eip191(
    privhex: *const c_char,
    message: *const u8,
    length: usize,
    buffer: *mut c_char,
    capacity: usize,
    written: *mut usize,
) -> pmn_result {
    // SAFETY: the same requirements; NULL asks for no error.
    unsafe {
        pmn_sign_eip191_with_error(privhex, message, length, buffer, capacity, written, ptr::null_mut())
    }
}

/// Like pmn_sign_eip191(), with an error that says what is wrong with the key, without repeating it. Does not
/// block.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
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
