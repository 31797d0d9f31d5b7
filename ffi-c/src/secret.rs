//! The node secret.

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::c_char;

use posemesh_node_registration::error::{Error, ErrorCode};

use crate::boundary::{borrow, guard, text_out};
use crate::error::pmn_result;
use crate::node::pmn_node;

/// Writes the secret that DDS has sent: at most 4096 bytes of UTF-8, and a NUL.
///
/// Does not block; answers after a stop, too. `buffer`, `capacity`, `length`: see "Text" at the top. The
/// library leaves no copy but the one in your buffer: wipe that when you are done with it. Of the pointers
/// only `node` must not be NULL. PMN_ERR_NOT_FOUND while there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_read_secret(
    node: *const pmn_node,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> pmn_result {
    guard(None, || {
        let (node, out) = (borrow!(node)?, text_out!(buffer, capacity, length)?);
        node.0.with_secret(|secret| match secret {
            Some(secret) => out.write(secret.expose()),
            None => Err(Error::new(ErrorCode::NotFound, "DDS has not sent a secret yet")),
        })?
    })
}
