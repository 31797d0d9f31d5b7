//! Data races between the library's threads and the host's: ThreadSanitizer instruments the library, its dependencies,
//! and the C program.
//!
//! Safe Rust has no data races, and there is little unsafe code: `src/boundary` here, and a few files of the core. These
//! tests check what that code relies on, and what the header promises about callbacks and freeing. The memory order of
//! a status is checked elsewhere, in `tests/model`.
//!
//! The standard library comes compiled without ThreadSanitizer, so `tests/c/unseen.c` reports what its locks do. These
//! tests need a nightly Rust, and are skipped without one.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{
    Dds, WARNINGS, crate_root, failing_dds, include, output, run, skipped, stderr, stdout, stress_cycles,
};

/// The functions of the standard library that `unseen.c` wraps: the name that it uses, and a part and the end of the
/// mangled name.
const LOCKS: [(&str, &str, &str); 6] = [
    ("MUTEX_LOCK_CONTENDED", "5mutex5futex", "5Mutex14lock_contended"),
    ("RWLOCK_READ_CONTENDED", "6rwlock5futex", "6RwLock14read_contended"),
    ("RWLOCK_WRITE_CONTENDED", "6rwlock5futex", "6RwLock15write_contended"),
    ("CONDVAR_WAIT", "7condvar5futex", "7Condvar4wait"),
    ("CONDVAR_WAIT_TIMEOUT", "7condvar5futex", "7Condvar12wait_timeout"),
    ("ONCE_CALL", "4once5futex", "4Once4call"),
];

fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly"]).env_remove("CARGO").env_remove("RUSTC").env_remove("CARGO_TARGET_DIR");
    command
}

/// The compiler's ThreadSanitizer runtime.
fn runtime() -> Option<PathBuf> {
    let directory = nightly().args(["rustc", "--print", "target-libdir"]).output().ok()?;
    let runtime = Path::new(stdout(&directory).trim()).join("librustc-nightly_rt.tsan.a");
    runtime.is_file().then_some(runtime)
}

/// The static library, instrumented.
fn library() -> PathBuf {
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("race");
    // With an explicit target, the flags do not apply to procedural macros.
    let host = stdout(&run(nightly().args(["rustc", "--print", "host-tuple"])));
    run(nightly()
        .args(["cargo", "build", "--locked", "--package", "posemesh-node-ffi", "--target", host.trim()])
        // Halves the build time, and leaves this library's own code as it is.
        .args(["--config", "profile.dev.package.\"*\".opt-level=0", "--target-dir"])
        .arg(&target_dir)
        .env("RUSTFLAGS", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer")
        .current_dir(crate_root()));
    target_dir.join(host.trim()).join("debug/libposemesh_node.a")
}

/// The functions that `unseen.c` wraps, each with its mangled name; `None` if the standard library has other locks.
fn locks(library: &Path) -> Option<Vec<(&'static str, String)>> {
    let symbols = stdout(&run(Command::new("nm").args(["--undefined-only", "--quiet"]).arg(library)));
    let mangled = |within: &str, end: &str| {
        let mut names = symbols.lines().filter_map(|line| line.split_whitespace().last());
        names.find(|name| name.contains(within) && name.ends_with(end)).map(str::to_owned)
    };
    LOCKS.into_iter().map(|(name, within, end)| Some((name, mangled(within, end)?))).collect()
}

/// Builds a program in which everything except the standard library is instrumented; `None` if that is not possible.
fn instrumented(name: &str) -> Option<PathBuf> {
    let Some(runtime) = runtime() else {
        skipped("ThreadSanitizer: there is no nightly Rust with its runtime");
        return None;
    };
    let library = library();
    let Some(locks) = locks(&library) else {
        skipped("ThreadSanitizer: unseen.c does not know the locks of this nightly Rust's standard library");
        return None;
    };
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("race-{name}"));
    fs::create_dir_all(&directory).expect("the temporary directory is writable");
    let sources = crate_root().join("tests/c");
    run(Command::new("gcc")
        .args(["-std=c11", "-O1", "-fsanitize=thread", "-c"])
        .args(WARNINGS)
        .args(locks.iter().map(|(name, mangled)| format!("-D{name}={mangled}")))
        .arg("-I")
        .arg(include())
        .args([sources.join(name).with_extension("c"), sources.join("unseen.c")])
        .current_dir(&directory));
    // Without -fsanitize, because the runtime is the Rust compiler's.
    let program = directory.join(name);
    run(Command::new("gcc")
        .args([directory.join(name).with_extension("o"), directory.join("unseen.o"), library])
        .args(locks.iter().map(|(_, mangled)| format!("-Wl,--wrap={mangled}")))
        .args(
            ["epoll_ctl", "epoll_wait", "__tsan_atomic64_fetch_sub"].map(|name| format!("-Wl,--wrap={name}")),
        )
        .arg("-Wl,--whole-archive")
        .arg(runtime)
        .args(["-Wl,--no-whole-archive", "-lpthread", "-ldl", "-lm", "-lrt", "-o"])
        .arg(&program));
    Some(program)
}

#[test]
fn there_is_no_data_race() {
    let cycles = stress_cycles(100);
    for (name, dds) in
        [("stress", failing_dds(cycles)), ("callbacks", Dds::start()), ("shared", Dds::start())]
    {
        let Some(program) = instrumented(name) else { return };
        let mut command = Command::new(program);
        let output = run(dds.environment(&mut command).env("STRESS_CYCLES", cycles.to_string()));
        assert_eq!(stderr(&output), "", "{name}");
        println!("{name}: {}", stdout(&output));
    }
}

/// Otherwise a sanitizer that detects nothing would pass.
#[test]
fn a_data_race_is_detected() {
    let Some(program) = instrumented("race") else { return };
    let found = output(Dds::start().environment(&mut Command::new(program)));
    let report = stderr(&found);
    assert!(!found.status.success() && report.contains("ThreadSanitizer: data race"), "{report}");
    // It sees the host's side of the callback and the library's.
    assert!(report.contains("#0 on_event") && report.contains("posemesh_node::event::"), "{report}");
}
