//! A new process, from its start to its end, whose node registers, signs in, and makes one authorized request.

use std::io;
use std::process::Stdio;
use std::time::Instant;

use super::{Contender, OURS, OURS_C, OURS_NODE, OURS_PYTHON, Round, cold};
use crate::cpu;
use crate::program::Program::*;
use crate::results::Thing;

pub static NATIVE: Thing = Thing {
    title: "Rust and C: new process to its first authorized request, exit included",
    unit: "ms",
    digits: 1,
    more_is_better: false,
};
pub static PYTHON: Thing = Thing {
    title: "Python: new process to its first authorized request, exit included",
    unit: "ms",
    digits: 1,
    more_is_better: false,
};
pub static NODE: Thing = Thing {
    title: "Node.js: new process to its first authorized request, exit included",
    unit: "ms",
    digits: 1,
    more_is_better: false,
};

/// The authorized request is made with `http.client`, in the other row of Python with httpx.
pub const OURS_HTTPX: &str = "**ours, from Python**, the request with httpx";
pub const HTTPX: &str = "httpx + eth-account (coincurve)";
pub const VIEM: &str = "fetch + viem";

/// Processes for one value of a round.
const TRIALS: usize = 5;

const ON_NOTHING: &[Contender] = &[(OURS, OursRust, "first"), (OURS_C, OursC, "first")];
const ON_PYTHON: &[Contender] = &[
    (OURS_PYTHON, OursPython, "first"),
    (OURS_HTTPX, OursPython, "first-httpx"),
    (HTTPX, Httpx, "first"),
    (cold::PYTHON_ALONE, PythonAlone, "first"),
];
const ON_NODE: &[Contender] =
    &[(OURS_NODE, OursNode, "first"), (VIEM, Viem, "first"), (cold::NODE_ALONE, NodeAlone, "first")];

pub fn measure(round: &mut Round) -> io::Result<()> {
    for (thing, contenders) in [(&NATIVE, ON_NOTHING), (&PYTHON, ON_PYTHON), (&NODE, ON_NODE)] {
        for _ in 0..TRIALS {
            for (name, program, argument) in round.order(contenders) {
                let mut command = round.programs.command(program, round.dds);
                command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null());
                let authorized = round.dds.authorized();
                let began = Instant::now();
                cpu::wait(&command.spawn()?)?;
                let took = began.elapsed();
                let makes_one = !matches!(program, PythonAlone | NodeAlone);
                if round.dds.authorized() - authorized != u64::from(makes_one) {
                    return Err(io::Error::other(format!("{name}: not one authorized request")));
                }
                round.results.add(thing, name, [took.as_secs_f64() * 1e3]);
            }
        }
    }
    Ok(())
}
