//! The release build exports only the functions of the header, runs on older systems, and links together with other
//! Rust libraries.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::{Dds, WARNINGS, crate_root, include, run, stdout};

/// The oldest glibc that the release build runs with.
const OLDEST_GLIBC: (u32, u32) = (2, 28);

fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The directory in which `build-release` has installed the library.
fn release() -> &'static Path {
    static RELEASE: OnceLock<PathBuf> = OnceLock::new();
    RELEASE.get_or_init(|| {
        let directory = temporary("release");
        let mut build = Command::new(crate_root().join("build-release"));
        // Every run uses the same directory, because a clean build takes minutes.
        run(build.arg(&directory).env("CARGO_TARGET_DIR", temporary("release-target")));
        directory
    })
}

fn library(name: &str) -> PathBuf {
    release().join("lib").join(name)
}

fn lines(command: &mut Command) -> BTreeSet<String> {
    stdout(&run(command)).lines().map(str::to_owned).collect()
}

/// The names of the functions that the header declares.
fn functions() -> BTreeSet<String> {
    let header = fs::read_to_string(include().join("posemesh_node.h")).expect("the header is there");
    header
        .lines()
        .filter(|line| line.starts_with(char::is_alphabetic) && !line.starts_with("typedef"))
        .filter_map(|line| Some(line.split_once('(')?.0.rsplit([' ', '*']).next()?.to_owned()))
        .filter(|name| name.starts_with("pmn_"))
        .collect()
}

fn nm(arguments: &[&str], library: &Path) -> BTreeSet<String> {
    let mut command = Command::new("nm");
    lines(command.args(["--defined-only", "--format=just-symbols", "--quiet"]).args(arguments).arg(library))
}

#[test]
fn it_exports_the_functions_of_the_header_and_nothing_else() {
    let functions = functions();
    assert!(functions.len() >= 24, "{functions:?}");
    assert_eq!(nm(&["--dynamic"], &library("libposemesh_node.so")), functions);
    let mut archive = nm(&["--extern-only"], &library("libposemesh_node.a"));
    // nm prints the name of the archive's member, and an empty line above it.
    archive.retain(|line| !line.is_empty() && !line.ends_with(':'));
    assert_eq!(archive, functions);
    for name in ["libposemesh_node.so", "libposemesh_node.a"] {
        let size = fs::metadata(library(name)).expect("the library is there").len();
        println!("{name}: {size} bytes, {} symbols", functions.len());
    }
}

#[test]
fn it_runs_on_older_systems() {
    let needed = stdout(&run(Command::new("readelf")
        .args(["--version-info", "--wide"])
        .arg(library("libposemesh_node.so"))));
    let version = |word: &str| {
        let (major, minor) = word.strip_prefix("GLIBC_")?.split_once('.')?;
        // "2.2.5" has a third number.
        Some((major.parse().ok()?, minor.split('.').next()?.parse::<u32>().ok()?))
    };
    let highest = needed.split_whitespace().filter_map(version).max().expect("it needs glibc");
    println!("needs glibc {highest:?}");
    assert!(highest <= OLDEST_GLIBC, "it needs glibc {highest:?}");
    // A function that the oldest glibc does not have is linked without a version, and no program starts.
    let symbols = stdout(&run(Command::new("readelf")
        .args(["--dyn-syms", "--wide"])
        .arg(library("libposemesh_node.so"))));
    let undefined = || symbols.lines().filter(|line| line.contains(" GLOBAL ") && line.contains(" UND "));
    assert!(undefined().count() >= 50, "{symbols}");
    assert_eq!(undefined().find(|line| !line.contains("@GLIBC_")), None);
}

#[test]
fn it_names_no_path_of_the_building_machine() {
    let home = std::env::var("HOME").expect("a home directory");
    let root = crate_root().join("..").canonicalize().expect("the repository");
    for name in ["libposemesh_node.so", "libposemesh_node.a"] {
        let library = fs::read(library(name)).expect("the library is there");
        let text = String::from_utf8_lossy(&library);
        for path in [format!("{home}/"), format!("{}/", root.display())] {
            let named: Vec<_> = text.matches(&path).collect();
            assert!(named.is_empty(), "{name} names {path} {} times", named.len());
        }
    }
}

#[test]
fn it_comes_with_licences_and_a_bill_of_materials() {
    let read = |path: &str| fs::read_to_string(release().join("share").join(path)).expect(path);
    assert!(read("licenses/posemesh_node/LICENSE").contains("MIT License"));
    assert!(
        read("licenses/posemesh_node/THIRD-PARTY-LICENSES.txt")
            .contains("\nrustls (Apache-2.0 OR ISC OR MIT)\n")
    );
    let bill: serde_json::Value = serde_json::from_str(&read("sbom/posemesh_node.cdx.json")).expect("JSON");
    assert_eq!(bill["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
    let components = bill["components"].as_array().expect("a list");
    assert!(components.len() > 100 && components.iter().any(|component| component["name"] == "rustls"));
}

#[test]
fn it_is_hardened_and_has_a_build_id() {
    let read = |option: &str| {
        stdout(&run(Command::new("readelf").args([option, "--wide"]).arg(library("libposemesh_node.so"))))
    };
    let segments = read("--segments");
    assert!(segments.contains("GNU_RELRO"), "{segments}");
    let stack = segments.lines().find(|line| line.contains("GNU_STACK")).expect("a stack");
    assert!(stack.contains(" RW ") && !stack.contains(" RWE "), "{stack}");
    let dynamic = read("--dynamic");
    assert!(dynamic.contains("BIND_NOW") || dynamic.contains("Flags: NOW"), "{dynamic}");
    assert!(!dynamic.contains("TEXTREL"), "{dynamic}");
    // The C code of ring has stack canaries.
    assert!(read("--dyn-syms").contains("__stack_chk_fail"));
    assert!(read("--notes").contains("Build ID: "), "{}", read("--notes"));
}

/// In either order.
#[test]
fn it_links_with_another_rust_library() {
    let sources = crate_root().join("tests/other");
    let other = temporary("libother.a");
    run(Command::new("rustc")
        .args(["--edition=2024", "--crate-type=staticlib", "-o"])
        .arg(&other)
        .arg(sources.join("other.rs")));
    let ours = library("libposemesh_node.a");
    for archives in [[&other, &ours], [&ours, &other]] {
        let program = temporary("beside");
        run(Command::new("gcc")
            .arg("-std=c11")
            .args(WARNINGS)
            .arg("-I")
            .arg(include())
            .arg(sources.join("beside.c"))
            .args(archives)
            .args(["-lpthread", "-ldl", "-lm", "-o"])
            .arg(&program));
        let dds = Dds::start();
        let output = run(dds.environment(&mut Command::new(program)));
        assert_eq!(stdout(&output), "both work\n");
    }
}
