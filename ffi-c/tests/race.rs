//! Data races between the threads of the library and those of the host: ThreadSanitizer watches the library,
//! what it depends on, and the C program.
//!
//! Safe Rust has no data races, and of unsafe code there is little: `src/boundary.rs` here, `process.rs` and
//! `runtime.rs` in the core. This looks at what those rest on, and at what the header promises of callbacks
//! and of freeing. In what order threads may see the words of a status is another question: `tests/model`.
//!
//! The standard library comes compiled without ThreadSanitizer. `tests/c/unseen.c` tells it what the locks do.
//! It takes a nightly Rust, and is skipped where there is none.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{
    Dds, WARNINGS, crate_root, failing_dds, include, output, run, skipped, stderr, stdout, stress_cycles,
};

/// The functions of the standard library that `unseen.c` wraps: how it calls them, and what the mangled name
/// has in it and ends with.
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

/// The runtime of ThreadSanitizer that fits the compiler.
fn runtime() -> Option<PathBuf> {
    let directory = nightly().args(["rustc", "--print", "target-libdir"]).output().ok()?;
    let runtime = Path::new(stdout(&directory).trim()).join("librustc-nightly_rt.tsan.a");
    runtime.is_file().then_some(runtime)
}

/// The static library, watched.
fn library() -> PathBuf {
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("race");
    // Procedural macros are not to be watched: with a target, the flags are not for them.
    let host = stdout(&run(nightly().args(["rustc", "--print", "host-tuple"])));
    run(nightly()
        .args(["cargo", "build", "--locked", "--package", "posemesh-node-ffi", "--target", host.trim()])
        // Half the time of the build, and this library's own code is the same.
        .args(["--config", "profile.dev.package.\"*\".opt-level=0", "--target-dir"])
        .arg(&target_dir)
        .env("RUSTFLAGS", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer")
        .current_dir(crate_root()));
    target_dir.join(host.trim()).join("debug/libposemesh_node.a")
}

/// The mangled names of what `unseen.c` wraps, each with the name that it gives it; `None` if the standard
/// library has other locks.
fn locks(library: &Path) -> Option<Vec<(&'static str, String)>> {
    let symbols = stdout(&run(Command::new("nm").args(["--undefined-only", "--quiet"]).arg(library)));
    let mangled = |within: &str, end: &str| {
        let mut names = symbols.lines().filter_map(|line| line.split_whitespace().last());
        names.find(|name| name.contains(within) && name.ends_with(end)).map(str::to_owned)
    };
    LOCKS.into_iter().map(|(name, within, end)| Some((name, mangled(within, end)?))).collect()
}

/// Builds a program in which everything but the standard library is watched; `None` where that cannot be.
fn watched(name: &str) -> Option<PathBuf> {
    let Some(runtime) = runtime() else {
        skipped("ThreadSanitizer: there is no nightly Rust with its runtime");
        return None;
    };
    let library = library();
    let Some(locks) = locks(&library) else {
        skipped(
            "ThreadSanitizer: the standard library of this nightly Rust has locks that unseen.c does not know",
        );
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
    // Not with -fsanitize: the runtime is that of the Rust compiler.
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
        let Some(program) = watched(name) else { return };
        let mut command = Command::new(program);
        let output = run(dds.environment(&mut command).env("STRESS_CYCLES", cycles.to_string()));
        assert_eq!(stderr(&output), "", "{name}");
        println!("{name}: {}", stdout(&output));
    }
}

/// Without this, a sanitizer that sees nothing would pass.
#[test]
fn a_data_race_is_noticed() {
    let Some(program) = watched("race") else { return };
    let found = output(Dds::start().environment(&mut Command::new(program)));
    let told = stderr(&found);
    assert!(!found.status.success() && told.contains("ThreadSanitizer: data race"), "{told}");
    // It sees the host's side of the callback, and ours.
    assert!(told.contains("#0 on_event") && told.contains("posemesh_node::event::pmn_event"), "{told}");
}
