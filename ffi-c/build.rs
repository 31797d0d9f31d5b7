//! Sets the shared library's SONAME to `libposemesh_node.so.` and the version of the ABI, so that the loader refuses an
//! incompatible library.

use std::env;
use std::fs;

/// The file that defines `PMN_ABI_VERSION`.
const SOURCE: &str = "src/version.rs";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-changed=build.rs");
    // Other systems name shared libraries differently.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libposemesh_node.so.{}", abi_version());
    }
}

fn abi_version() -> u32 {
    let source = fs::read_to_string(SOURCE).expect("the sources can be read");
    source
        .split_once("PMN_ABI_VERSION: u32 = ")
        .and_then(|(_, number)| number.split_once(';')?.0.parse().ok())
        .expect("src/version.rs defines PMN_ABI_VERSION")
}
