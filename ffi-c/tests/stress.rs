//! Nodes by the thousand, from many threads, against a DDS that fails in every way it can.
//!
//! Memory is watched by AddressSanitizer and Valgrind here, and threads by ThreadSanitizer in `race.rs`.
//!
//! `STRESS_CYCLES=20000 cargo test -p posemesh-node-ffi --test stress -- --nocapture` runs for longer; so does
//! `--test race`.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use std::process::Command;

use support::{Link, compile, failing_dds, run, stderr, stdout, stress_cycles};

/// Returns the figures.
fn stress(cycles: u32, command: &mut Command) -> String {
    let output = run(failing_dds(cycles).environment(command).env("STRESS_CYCLES", cycles.to_string()));
    assert_eq!(stderr(&output), "");
    stdout(&output)
}

#[test]
fn nodes_come_and_go_and_leave_nothing() {
    println!("{}", stress(stress_cycles(1000), &mut Command::new(compile("tests/c/stress.c", Link::Shared))));
}

#[test]
fn valgrind_finds_nothing() {
    let program = compile("tests/c/stress.c", Link::Static);
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--leak-check=full", "--show-leak-kinds=definite,indirect"]);
    command.args(["--errors-for-leak-kinds=definite,indirect", "--error-exitcode=9"]);
    println!("{}", stress(60, command.arg(program)));
}

#[test]
fn the_address_sanitizer_finds_nothing() {
    let program = compile("tests/c/stress.c", Link::Sanitized);
    assert!(stdout(&run(Command::new("nm").arg(&program))).contains("__asan_init"));
    println!("{}", stress(300, &mut Command::new(program)));
}
