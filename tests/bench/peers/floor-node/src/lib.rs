//! A function that does nothing, called from JavaScript: no function of an addon is cheaper.

use napi_derive::napi;

/// Does nothing.
#[napi]
pub fn nothing() {}
