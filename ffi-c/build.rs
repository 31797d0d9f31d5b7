//! Sets the shared library's SONAME to `libposemesh_node.so.` and the version of the ABI, so that the loader refuses an
//! incompatible library. A link of that name stands beside the library that cargo builds, so that a program which is
//! linked with it also starts.

use std::env;
use std::fs;
#[cfg(unix)]
use std::path::Path;

/// The file that defines `PMN_ABI_VERSION`.
const SOURCE: &str = "src/version.rs";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-changed=build.rs");
    // Other systems name shared libraries differently.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        let soname = format!("libposemesh_node.so.{}", abi_version());
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{soname}");
        if let Err(error) = link_to_library(&soname) {
            println!("cargo:warning=cannot create the link {soname}, which programs load: {error}");
        }
    }
}

/// Creates the link in the directory where cargo leaves the library, which is above the one for this script.
#[cfg(unix)]
fn link_to_library(soname: &str) -> std::io::Result<()> {
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let build = Path::new(&out).ancestors().find(|directory| directory.ends_with("build"));
    let Some(directory) = build.and_then(Path::parent) else { return Ok(()) };
    // Renamed into place, because programs may be loading it.
    let new = Path::new(&out).join(soname);
    let _ = fs::remove_file(&new);
    std::os::unix::fs::symlink("libposemesh_node.so", &new)?;
    fs::rename(new, directory.join(soname))
}

/// Links need privileges on Windows, and the library is built for Linux on Linux.
#[cfg(not(unix))]
fn link_to_library(_soname: &str) -> std::io::Result<()> {
    Ok(())
}

fn abi_version() -> u32 {
    let source = fs::read_to_string(SOURCE).expect("the sources can be read");
    source
        .split_once("PMN_ABI_VERSION: u32 = ")
        .and_then(|(_, number)| number.split_once(';')?.0.parse().ok())
        .expect("src/version.rs defines PMN_ABI_VERSION")
}
