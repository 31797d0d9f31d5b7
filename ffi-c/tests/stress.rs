//! Nodes by the thousand, from many threads, against a DDS that fails in every way it can.
//!
//! Memory is watched by AddressSanitizer and Valgrind. For data races there is no such watch: ThreadSanitizer,
//! helgrind and drd do not see what Rust's standard library synchronises with futexes, and report races
//! where there are none, unless that library is built for it, which stable Rust cannot do.
//!
//! `STRESS_CYCLES=20000 cargo test -p posemesh-node-ffi --test stress -- --nocapture` runs for longer.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use std::env;
use std::process::Command;
use std::time::Duration;

use posemesh_dev_dds::{Endpoint, Fault};
use support::{Dds, Link, compile, run, stderr, stdout};

/// A DDS that answers well most of the time, and then fails, each time in another way.
fn failing_dds(rounds: u32) -> Dds {
    let dds = Dds::start();
    for round in 0..rounds {
        for (endpoint, shift) in [(Endpoint::Challenge, 0), (Endpoint::Register, 3)] {
            let fault = match (round + shift) % 10 {
                0 => Fault::status(503),
                1 => Fault::Reset,
                2 => Fault::HalfBody,
                3 => Fault::Garbage,
                4 => Fault::NotHttp,
                5 => Fault::InvalidUtf8,
                6 => Fault::status(409),
                7 => Fault::StaleNonce,
                8 => Fault::Redirect { code: 307, location: "http://127.0.0.1:1/".into() },
                _ => Fault::Delay(Duration::from_millis(30)),
            };
            dds.dds.inject(endpoint, Fault::Delay(Duration::ZERO), 4);
            dds.dds.inject(endpoint, fault, 1);
        }
    }
    dds
}

/// Returns the figures.
fn stress(cycles: u32, command: &mut Command) -> String {
    let output = run(failing_dds(cycles).environment(command).env("STRESS_CYCLES", cycles.to_string()));
    assert_eq!(stderr(&output), "");
    stdout(&output)
}

#[test]
fn nodes_come_and_go_and_leave_nothing() {
    let cycles = env::var("STRESS_CYCLES").map_or(1000, |cycles| cycles.parse().expect("a number"));
    println!("{}", stress(cycles, &mut Command::new(compile("tests/c/stress.c", Link::Shared))));
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
