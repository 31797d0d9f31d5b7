//! Thousands of nodes, on many threads, with a DDS that fails in every way it can.
//!
//! AddressSanitizer and Valgrind check memory here; ThreadSanitizer checks threads in `race.rs`.
//!
//! `STRESS_CYCLES=20000 cargo test -p posemesh-node-ffi --test stress -- --nocapture` runs longer, and so does
//! `--test race`.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use std::process::Command;

use support::{Link, compile, failing_dds, run, stderr, stdout, stress_cycles};

/// Returns what the program prints: its figures.
fn stress(cycles: u32, command: &mut Command) -> String {
    let output = run(failing_dds(cycles).environment(command).env("STRESS_CYCLES", cycles.to_string()));
    assert_eq!(stderr(&output), "");
    stdout(&output)
}

#[test]
fn thousands_of_nodes_leave_nothing_behind() {
    println!("{}", stress(stress_cycles(1000), &mut Command::new(compile("tests/c/stress.c", Link::Shared))));
}

#[test]
fn valgrind_finds_no_error() {
    let program = compile("tests/c/stress.c", Link::Static);
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--leak-check=full", "--show-leak-kinds=definite,indirect"]);
    command.args(["--errors-for-leak-kinds=definite,indirect", "--error-exitcode=9"]);
    println!("{}", stress(60, command.arg(program)));
}

#[test]
fn the_address_sanitizer_finds_no_error() {
    let program = compile("tests/c/stress.c", Link::Sanitized);
    assert!(stdout(&run(Command::new("nm").arg(&program))).contains("__asan_init"));
    println!("{}", stress(300, &mut Command::new(program)));
}
