//! The libraries that ship enable only the features they need: an unused feature of tokio may still open sockets, start
//! threads and install signal handlers.

use std::path::Path;
use std::process::Command;

/// The features that the HTTP client, the callback server and the runtime need.
const NEEDED_OF_TOKIO: &[&str] = &[
    "bytes",
    "default",
    "io-util",
    "libc",
    "macros",
    "mio",
    "net",
    "rt",
    "socket2",
    "sync",
    "time",
    "tokio-macros",
];
/// Crates that bring a second TLS library, a second HTTP client, a second runtime, or system features that a node does
/// not need.
const UNWANTED: &[&str] = &[
    "async-std",
    "aws-lc-sys",
    "clap",
    "ctrlc",
    "native-tls",
    "openssl-sys",
    "reqwest",
    "signal-hook-registry",
];

/// The crates that `package` ships with on this platform, with their features.
fn crates(package: &str) -> Vec<(String, Vec<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}|{f}", "--package", package])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = |line: &str| {
        let (name, features) = line.split_once('|')?;
        let features = features.trim_end_matches(" (*)").split(',').filter(|feature| !feature.is_empty());
        Some((name.split_whitespace().next()?.to_owned(), features.map(str::to_owned).collect()))
    };
    String::from_utf8(output.stdout).expect("UTF-8").lines().filter_map(line).collect()
}

#[test]
fn every_package_enables_only_the_features_it_needs() {
    for package in ["posemesh-node-ffi", "posemesh-node-python", "posemesh-node-js"] {
        let crates = crates(package);
        let tokio = crates.iter().find(|(name, _)| name == "tokio");
        let (_, features) = tokio.unwrap_or_else(|| panic!("{package} has no tokio: {crates:?}"));
        let unneeded: Vec<_> =
            features.iter().filter(|feature| !NEEDED_OF_TOKIO.contains(&feature.as_str())).collect();
        assert!(unneeded.is_empty(), "{package} enables {unneeded:?} of tokio");
        let unwanted: Vec<_> = crates.iter().filter(|(name, _)| UNWANTED.contains(&name.as_str())).collect();
        assert!(unwanted.is_empty(), "{package} depends on {unwanted:?}");
    }
    // The check works: it finds the signal feature of dev-dds, a program that handles signals.
    let (_, of_program) =
        crates("posemesh-dev-dds").into_iter().find(|(name, _)| name == "tokio").expect("tokio");
    assert!(of_program.iter().any(|feature| feature == "signal"), "{of_program:?}");
}

/// A feature of reqwest would be on in a host's own reqwest as well. With TLS but without a provider, the host's client
/// could not be built.
#[test]
fn the_rust_crate_enables_no_feature_of_reqwest() {
    let crates = crates("posemesh-node-registration");
    let (_, features) = crates.iter().find(|(name, _)| name == "reqwest").expect("reqwest");
    assert!(features.is_empty(), "{features:?}");
}
