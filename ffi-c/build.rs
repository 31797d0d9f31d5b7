//! Gives the shared library its SONAME: `libposemesh_node.so.` and the version of the ABI, so that the
//! loader refuses a library that a program was not built for.

use std::env;
use std::fs;

/// Where `PMN_ABI_VERSION` is decided.
const SOURCE: &str = "src/version.rs";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-changed=build.rs");
    // Elsewhere a shared library is named otherwise.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libposemesh_node.so.{}", abi_version());
    }
}

fn abi_version() -> u32 {
    let source = fs::read_to_string(SOURCE).expect("the sources are there");
    source
        .split_once("PMN_ABI_VERSION: u32 = ")
        .and_then(|(_, number)| number.split_once(';')?.0.parse().ok())
        .expect("src/version.rs says what PMN_ABI_VERSION is")
}
