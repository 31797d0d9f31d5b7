//! Readiness and metrics

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::c_char;

use crate::boundary::{borrow, guard, text_out};
use crate::error::{found, pmn_result};
use crate::node::pmn_node;

/// Whether the node is ready: running and registered and, with `needs_secret`, with a secret. PMN_OK, or why not.
///
/// Writes what a ready node has, or why the node is not ready, for people; it may repeat what DDS has answered.
/// `buffer`, `capacity`, `length`: see "Text" at the top, except that the text is written also when the node is not
/// ready, and that a text that does not fit is cut, so that the result is always about the node. NULL and 0 ask for
/// the result alone. `node` must not be NULL. Does not block. Works after a stop.
///
/// PMN_ERR_STOPPED, or PMN_ERR_PANIC if a bug ended the node; PMN_ERR_REJECTED while DDS refuses to register it;
/// PMN_ERR_UNAVAILABLE while it is not registered for another reason; PMN_ERR_NOT_FOUND if only the secret is missing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_ready(
    node: *const pmn_node,
    needs_secret: bool,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> pmn_result {
    guard(None, || {
        let (node, out) = (borrow!(node)?, text_out!(buffer, capacity, length)?);
        let readiness = node.0.ready(needs_secret)?;
        out.write_start(readiness.reason());
        readiness.error().map_or(Ok(()), |error| Err(error.clone()))
    })
}

/// The capacity of a buffer that fits the metrics and a NUL.
pub const PMN_METRICS_CAPACITY: usize = 32768;

/// Writes the metrics of the node for Prometheus, which the project's README lists. Serve them with the content type
/// "text/plain; version=0.0.4; charset=utf-8". They end with a line feed, and may be appended to other metrics.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; PMN_METRICS_CAPACITY is always enough. The length changes
/// from call to call. `node` must not be NULL. Does not block. Works after a stop, with the last values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_metrics_text(
    node: *const pmn_node,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> pmn_result {
    guard(None, || {
        let (node, out) = (borrow!(node)?, text_out!(buffer, capacity, length)?);
        out.write(&node.0.metrics_text()?)
    })
}

/// Writes the address on which this process serves /livez, /readyz and /metrics, such as "127.0.0.1:9090", with the
/// actual port if `admin_bind` has port 0.
///
/// `buffer`, `capacity`, `length`: see "Text" at the top; 64 bytes are always enough. `node` must not be NULL. Does
/// not block. Works after a stop. PMN_ERR_NOT_FOUND without `admin_bind`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_admin_address(
    node: *const pmn_node,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> pmn_result {
    guard(None, || {
        let (node, out) = (borrow!(node)?, text_out!(buffer, capacity, length)?);
        let address = found(node.0.admin_address()?, "the node has no admin server; set admin_bind")?;
        out.write(&address.to_string())
    })
}
