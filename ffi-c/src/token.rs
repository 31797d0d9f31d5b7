//! Access tokens, for the services behind DDS.

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::c_char;
use std::ptr;

use posemesh_node_registration::error::{Error, ErrorCode};

use crate::boundary::{borrow, guard, place, required_place, text, text_out};
use crate::error::{pmn_error, pmn_result};
use crate::event::unix_seconds;
use crate::node::{pmn_node, timeout};

/// The capacity of a buffer that every token fits in, with its NUL.
pub const PMN_TOKEN_CAPACITY: usize = 8193;

/// Writes an access token: 1 to 8192 bytes of visible ASCII, for an "Authorization: Bearer" header. Call this
/// for each request, rather than keep the text.
///
/// The first call signs the node in to DDS, once it is registered. From then on a token is kept at hand and
/// refreshed before it expires, and calls answer at once. Until there is one, this blocks, for at most
/// `timeout_ms`: 0 only looks (but asks for a token), PMN_NO_TIMEOUT waits for ever. However many threads
/// wait, there is one sign-in. Inside a callback it is as with pmn_node_wait(): meanwhile no other event or
/// log record is delivered.
///
/// `expires_at_unix` may be NULL; on PMN_OK it gets when the token expires, in seconds since 1970 (UTC) by
/// DDS's clock. `buffer`, `capacity`, `length`: see "Text" at the top; PMN_TOKEN_CAPACITY is always enough, and
/// a token that did not fit is kept for the next call. The library leaves no copy but the one in your buffer:
/// wipe that when you are done with it.
///
/// PMN_ERR_REJECTED when DDS refuses the sign-in: at once, and until the next one is due. PMN_ERR_TIMEOUT.
/// For both pmn_node_access_token_with_error() says why. PMN_ERR_STOPPED as soon as the node is stopped, and after that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_access_token(
    node: *mut pmn_node,
    timeout_ms: u32,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    expires_at_unix: *mut i64,
) -> pmn_result {
    // SAFETY: the caller's promises are the same, and NULL asks for no error.
    unsafe {
        pmn_node_access_token_with_error(
            node,
            timeout_ms,
            buffer,
            capacity,
            length,
            expires_at_unix,
            ptr::null_mut(),
        )
    }
}

/// As pmn_node_access_token(), and on failure says why in words: PMN_ERR_REJECTED comes with those of DDS,
/// PMN_ERR_TIMEOUT with what the last sign-in failed with. Blocks as long, and ends with a stop as well; a
/// NULL node is PMN_ERR_INVALID_ARGUMENT.
///
/// `error` may be NULL. On failure `*error` is yours: pmn_error_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_access_token_with_error(
    node: *mut pmn_node,
    timeout_ms: u32,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
    expires_at_unix: *mut i64,
    error: *mut *mut pmn_error,
) -> pmn_result {
    guard(place!(error), || {
        let (node, out) = (borrow!(node)?, text_out!(buffer, capacity, length)?);
        let token = node.0.access_token(timeout(timeout_ms))?;
        out.write(token.value())?;
        if let Some(expires_at) = place!(expires_at_unix) {
            expires_at.write(unix_seconds(token.expires_at()));
        }
        Ok(())
    })
}

/// Drops the access token that is held, and signs in anew, at once. Only a token that replaced a refused one
/// less than a second ago is replaced when that second is over: a service that refuses every token slows its
/// callers to one token a second.
///
/// For a service that answered 401 to a token there is pmn_node_invalidate_token_if(). Does not block, and
/// does nothing without a token. PMN_ERR_STOPPED after a stop. NULL: PMN_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_invalidate_token(node: *mut pmn_node) -> pmn_result {
    guard(None, || borrow!(node)?.0.invalidate_token())
}

/// Drops the access token that is held if it is `token`, such as after a service has answered 401 to it: many
/// threads with the same refused token cause one sign-in, as soon as with pmn_node_invalidate_token().
///
/// PMN_OK also when another token is held by now, or none. Does not block, and keeps no copy of the text,
/// which it compares in constant time. PMN_ERR_STOPPED after a stop. NULL: PMN_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_invalidate_token_if(
    node: *mut pmn_node,
    token: *const c_char,
) -> pmn_result {
    guard(None, || borrow!(node)?.0.invalidate_token_if(text!(token)?))
}

/// Writes what the held access token says about the node, as a JSON object: its claims, such as "node_id",
/// "organization_id" or "capabilities".
///
/// They are read without verifying the token's signature: use them as hints and never as proof. `buffer`,
/// `capacity`, `length`: see "Text" at the top; PMN_TOKEN_CAPACITY is always enough. Does not block, and asks for no
/// token; PMN_ERR_NOT_FOUND when none is held, also after a stop, and when the token is no JWT (RFC 7519). NULL:
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
        let claims = node.0.try_access_token()?.and_then(|token| token.claims()).ok_or_else(|| {
            Error::new(ErrorCode::NotFound, "no access token is held whose claims could be read")
        })?;
        out.write(&serde_json::Value::Object(claims).to_string())
    })
}

/// Gives what the last sign-in for an access token failed with: what happened, with DDS's own words.
///
/// On PMN_OK `*token_error` is yours: pmn_error_free(). Does not block; answers after a stop, too. NULL:
/// PMN_ERR_INVALID_ARGUMENT. PMN_ERR_NOT_FOUND when no sign-in has failed since the last success.
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
