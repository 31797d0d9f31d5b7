//! Another Rust library in the same program, with a standard library and panics of its own.

use std::ffi::c_int;
use std::panic::catch_unwind;
use std::thread;

/// Panics on a thread of its own, and survives it. Returns 42.
#[unsafe(no_mangle)]
pub extern "C" fn other_panics() -> c_int {
    let panicked = thread::spawn(|| catch_unwind(|| panic!("the other library's")).is_err()).join();
    if panicked.unwrap_or(false) { 42 } else { 0 }
}
