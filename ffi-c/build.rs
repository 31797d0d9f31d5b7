//! Puts the version of the ABI into the name by which programs load the shared library, so that the loader refuses an
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
    let abi = abi_version();
    let (option, library, versioned) = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => ("-soname,", "libposemesh_node.so", format!("libposemesh_node.so.{abi}")),
        // Programs add the directory to their rpath.
        Ok("macos") => {
            ("-install_name,@rpath/", "libposemesh_node.dylib", format!("libposemesh_node.{abi}.dylib"))
        }
        // The name of a DLL is that of its file.
        _ => return,
    };
    println!("cargo:rustc-cdylib-link-arg=-Wl,{option}{versioned}");
    if let Err(error) = link_to_library(library, &versioned) {
        println!("cargo:warning=cannot create the link {versioned}, which programs load: {error}");
    }
}

/// Creates the link in the directory where cargo leaves the library, which is above the one for this script.
#[cfg(unix)]
fn link_to_library(library: &str, versioned: &str) -> std::io::Result<()> {
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let build = Path::new(&out).ancestors().find(|directory| directory.ends_with("build"));
    let Some(directory) = build.and_then(Path::parent) else { return Ok(()) };
    // Renamed into place, because programs may be loading it.
    let new = Path::new(&out).join(versioned);
    let _ = fs::remove_file(&new);
    std::os::unix::fs::symlink(library, &new)?;
    fs::rename(new, directory.join(versioned))
}

/// Links need privileges on Windows, and the library for Linux and macOS is not built there.
#[cfg(not(unix))]
fn link_to_library(_library: &str, _versioned: &str) -> std::io::Result<()> {
    Ok(())
}

fn abi_version() -> u32 {
    let source = fs::read_to_string(SOURCE).expect("the sources can be read");
    source
        .split_once("PMN_ABI_VERSION: u32 = ")
        .and_then(|(_, number)| number.split_once(';')?.0.parse().ok())
        .expect("src/version.rs defines PMN_ABI_VERSION")
}
