//! Access tokens, for the services behind DDS

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::c_char;
use std::ptr;

use crate::boundary::{borrow, guard, place, required_place, text, text_out};
use crate::error::{found, pmn_error, pmn_result};
use crate::event::unix_seconds;
use crate::node::{pmn_node, timeout};

/// The capacity of a buffer that fits every token and its NUL.
pub const PMN_TOKEN_CAPACITY: usize = 8193;

/// Writes an access token: 1 to 8192 bytes of visible ASCII, for an "Authorization: Bearer" header. Call this
/// for each request instead of storing the text.
///
/// The first call makes the node sign in to DDS once it is registered. From then on the node holds a token,
/// refreshes it before it expires, and calls return immediately. Until the node has one, this blocks, for at most
/// `timeout_ms`: 0 requests a token without waiting, PMN_NO_TIMEOUT waits indefinitely. However many threads wait,
/// there is one sign-in. Do not wait inside a callback: no other event or log record is delivered until the
/// callback returns.
///
/// `expires_at_unix_s` may be NULL; on PMN_OK it receives the time when the token expires, in seconds since 1970
/// (UTC) by DDS's clock. `buffer`, `capacity`, `length`: see "Text" at the top; PMN_TOKEN_CAPACITY is always
/// enough, and a token that did not fit is kept for the next call. The only copy that this leaves is the one in
/// your buffer: wipe it when you are done.
///
/// PMN_ERR_REJECTED if DDS rejects the sign-in: immediately, and until the next one is due. PMN_ERR_TIMEOUT. For
/// both, pmn_node_access_token_with_error() says why. PMN_ERR_STOPPED as soon as the node is stopped, and from
/// then on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_access_token(
    node: *mut pmn_node,
    timeout_ms: u32,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    expires_at_unix_s: *mut i64,
) -> pmn_result {
    // SAFETY: the same requirements; NULL asks for no error.
    unsafe {
        pmn_node_access_token_with_error(
            node,
            timeout_ms,
            buffer,
            capacity,
            length,
            expires_at_unix_s,
            ptr::null_mut(),
        )
    }
}

/// Like pmn_node_access_token(), with an error that says why: for PMN_ERR_REJECTED, in DDS's own words; for
/// PMN_ERR_TIMEOUT, with the error of the last sign-in. Blocks as long, and a stop ends it as well.
///
/// `error` may be NULL. On failure you free `*error` with pmn_error_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_access_token_with_error(
    node: *mut pmn_node,
    timeout_ms: u32,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    expires_at_unix_s: *mut i64,
    error: *mut *mut pmn_error,
) -> pmn_result {
    guard(place!(error), || {
        let (node, out) = (borrow!(node)?, text_out!(buffer, capacity, length)?);
        node.0.with_access_token(timeout(timeout_ms), |token| {
            out.write(token.value())?;
            if let Some(expires_at) = place!(expires_at_unix_s) {
                expires_at.write(unix_seconds(token.expires_at()));
            }
            Ok(())
        })?
    })
}

/// Drops the held access token and signs in again immediately. The exception is a token that replaced a refused
/// one less than a second ago: it is replaced when that second is over, so that a service that refuses every
/// token causes at most one sign-in per second.
///
/// If a service responded with 401 to a token, use pmn_node_invalidate_token_if(). Without a held token this does
/// nothing. Does not block. PMN_ERR_STOPPED after a stop. NULL returns PMN_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_invalidate_token(node: *mut pmn_node) -> pmn_result {
    guard(None, || borrow!(node)?.0.invalidate_token())
}

/// Like pmn_node_invalidate_token(), but only if the held access token is `token`: call it when a service has
/// responded with 401 to that token. Many threads with the same refused token cause one sign-in.
///
/// Returns PMN_OK also if another token is held by now, or none. The comparison takes constant time, and no copy
/// of the text is kept. Does not block. PMN_ERR_STOPPED after a stop. NULL returns PMN_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_invalidate_token_if(
    node: *mut pmn_node,
    token: *const c_char,
) -> pmn_result {
    guard(None, || borrow!(node)?.0.invalidate_token_if(text!(token)?))
}

/// Writes the claims of the held access token as a JSON object, such as "node_id", "organization_id" and
/// "capabilities".
///
/// The token's signature is not verified: use the claims as hints, never as proof. `buffer`, `capacity`, `length`:
/// see "Text" at the top; PMN_TOKEN_CAPACITY is always enough. Does not block, and does not request a token.
/// PMN_ERR_NOT_FOUND if none is held, as after a stop, or if it is not a JWT (RFC 7519). A NULL node returns
/// PMN_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_token_claims(
    node: *const pmn_node,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> pmn_result {
    guard(None, || {
        let (node, out) = (borrow!(node)?, text_out!(buffer, capacity, length)?);
        let claims = node.0.try_access_token()?.and_then(|token| token.claims());
        let claims = found(claims, "no access token is held, or it is not a JWT")?;
        out.write(&serde_json::Value::Object(claims).to_string())
    })
}

/// Returns the error of the last sign-in for an access token, which includes DDS's own words.
///
/// On PMN_OK you free `*token_error` with pmn_error_free(). Does not block. Works after a stop. NULL returns
/// PMN_ERR_INVALID_ARGUMENT. PMN_ERR_NOT_FOUND if no sign-in has failed since the last success.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_token_error(
    node: *const pmn_node,
    token_error: *mut *mut pmn_error,
) -> pmn_result {
    guard(None, || {
        let (node, place) = (borrow!(node)?, required_place!(token_error)?);
        pmn_error::hand_out(node.0.token_error()?, "no sign-in has failed", place)
    })
}
