//! The node secret, for nodes that DDS calls back

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::c_char;

use crate::boundary::{borrow, guard, text_out};
use crate::error::{found, pmn_result};
use crate::node::pmn_node;

/// The capacity of a buffer that fits every secret and its NUL.
pub const PMN_SECRET_CAPACITY: usize = 4097;

/// Writes the secret that DDS has sent: at most 4096 bytes of UTF-8.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; PMN_SECRET_CAPACITY is always enough. `node` must not be
/// NULL. The only copy that this leaves is the one in your buffer: wipe it when you are done. Does not block.
/// Works after a stop. PMN_ERR_NOT_FOUND as long as there is no secret.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_read_secret(
    node: *const pmn_node,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> pmn_result {
    guard(None, || {
        let (node, out) = (borrow!(node)?, text_out!(buffer, capacity, length)?);
        node.0.with_secret(|secret| out.write(found(secret, "DDS has not sent a secret yet")?.expose()))?
    })
}
