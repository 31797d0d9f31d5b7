//! A signer of the host's, for keys that must not enter the process

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

use posemesh_node_registration::config::SigningRequest;

use crate::boundary::{Callback, borrow_mut, guard, place, text};
use crate::config::pmn_config;
use crate::error::{PMN_OK, name, pmn_error, pmn_result};
use crate::event::pmn_destroy_fn;
use crate::node::PMN_SIGNATURE_CAPACITY;

/// What a pmn_sign_fn signs. Valid only until the function returns.
#[repr(C)]
pub struct pmn_sign_request {
    /// The size of this struct in the loaded library, which may lack the last fields of your header.
    pub size: usize,
    /// The address that signs: "0x" and 40 lowercase hex digits.
    pub address: *const c_char,
    /// The 32 bytes to sign: the Keccak-256 of the message with its EIP-191 prefix.
    pub digest: *const u8,
    /// The message itself, for a signer that hashes it (personal_sign). UTF-8 without a NUL at its end.
    pub message: *const u8,
    /// The length of the message in bytes.
    pub message_length: usize,
}

/// A function that signs: it writes the signature to `signature`, a buffer of PMN_SIGNATURE_CAPACITY bytes, and
/// returns PMN_OK. The signature is r, s and v as "0x" (optional), 130 hex digits and a NUL, with a low s and a v of
/// 27 or 28. On failure it returns another result, and may write an error message to the buffer instead.
pub type pmn_sign_fn = Option<
    unsafe extern "C" fn(
        request: *const pmn_sign_request,
        signature: *mut c_char,
        user_data: *mut c_void,
    ) -> pmn_result,
>;

type SignCallback =
    Callback<unsafe extern "C" fn(*const pmn_sign_request, *mut c_char, *mut c_void) -> pmn_result>;

impl SignCallback {
    fn sign(&self, request: SigningRequest) {
        let address = CString::new(request.address()).unwrap_or_default();
        let (digest, message) = (request.digest(), request.message());
        let converted = pmn_sign_request {
            size: size_of::<pmn_sign_request>(),
            address: address.as_ptr(),
            digest: digest.as_ptr(),
            message: message.as_ptr(),
            message_length: message.len(),
        };
        let mut buffer = [0_u8; PMN_SIGNATURE_CAPACITY];
        let (function, user_data) = self.parts();
        // SAFETY: the host passed the function for these arguments, and destroy has not run. The buffer has the
        // documented capacity.
        let result = unsafe { function(&raw const converted, buffer.as_mut_ptr().cast(), user_data) };
        let written = CStr::from_bytes_until_nul(&buffer).map(CStr::to_string_lossy).unwrap_or_default();
        request.respond(match result {
            PMN_OK => Ok(written.into_owned()),
            _ if !written.is_empty() => Err(written.into_owned()),
            _ => Err(name(result).map_or_else(
                || format!("it returned {result}"),
                |name| format!("it returned {}", name.to_string_lossy()),
            )),
        });
    }
}

/// Makes nodes sign in with `sign` instead of a private key, for a key in a KMS, an HSM or a wallet. `address` is the
/// key's Ethereum address, "0x" and 40 hex digits. Replaces the former function; a NULL `sign` removes it (then pass
/// NULL for the other parameters, too).
///
/// `sign` runs on the library's callback thread, for each registration and each access token, and may block: that
/// delays the other callbacks and signers of the process, but nothing else. Do not wait for a node inside a callback,
/// because its sign-in would wait for that callback. The library waits for `request_timeout_secs`, and ignores a later
/// signature. It checks a signature before it uses it. A failure is shown and retried like any other. pmn_node_sign()
/// returns PMN_ERR_NOT_FOUND for such a node: call your signer instead.
///
/// `destroy` may be NULL. It runs exactly once, after the last call of `sign`, when the configuration and every node
/// started with it have been freed or have another signer: on the thread that frees the last of them, or on the
/// library's. If this function fails, `destroy` does not run and `user_data` remains yours.
///
/// PMN_ERR_INVALID_CONFIG if the address is malformed. pmn_node_start() returns it if a private key is set, too. Does
/// not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_config_set_signer(
    config: *mut pmn_config,
    address: *const c_char,
    sign: pmn_sign_fn,
    user_data: *mut c_void,
    destroy: pmn_destroy_fn,
) -> pmn_result {
    // SAFETY: the same requirements; NULL asks for no error.
    unsafe { pmn_config_set_signer_with_error(config, address, sign, user_data, destroy, ptr::null_mut()) }
}

/// Like pmn_config_set_signer(), with an error that says what is wrong with the address. Does not block.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_config_set_signer_with_error(
    config: *mut pmn_config,
    address: *const c_char,
    sign: pmn_sign_fn,
    user_data: *mut c_void,
    destroy: pmn_destroy_fn,
    error: *mut *mut pmn_error,
) -> pmn_result {
    guard(place!(error), || {
        let config = &mut borrow_mut!(config)?.0;
        match Callback::new(sign, user_data, destroy)? {
            Some(callback) => callback.install(|callback| {
                config.set_signer(text!(address)?, move |request| callback.sign(request)).map(drop)
            }),
            None => {
                config.clear_signer();
                Ok(())
            }
        }
    })
}
