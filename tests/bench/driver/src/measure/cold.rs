//! A new process, from its start to its end, with one registration in it.

use std::io;
use std::process::Stdio;
use std::time::Instant;

use super::{Contender, OURS_NODE, OURS_PYTHON, Round};
use crate::cpu;
use crate::program::Program::*;
use crate::results::Thing;

pub static PYTHON: Thing = Thing {
    title: "Python: new process to registered, exit included",
    unit: "ms",
    digits: 1,
    more_is_better: false,
};
pub static NODE: Thing = Thing {
    title: "Node.js: new process to registered, exit included",
    unit: "ms",
    digits: 1,
    more_is_better: false,
};

pub const PYTHON_ALONE: &str = "floor: the interpreter alone";
pub const NODE_ALONE: &str = "floor: node alone";

/// Processes for one value of a round.
const TRIALS: usize = 5;

const ON_PYTHON: &[Contender] = &[
    (OURS_PYTHON, OursPython, "cold"),
    ("httpx + eth-account (coincurve)", Httpx, "cold"),
    (PYTHON_ALONE, PythonAlone, "cold"),
];
const ON_NODE: &[Contender] =
    &[(OURS_NODE, OursNode, "cold"), ("fetch + viem", Viem, "cold"), (NODE_ALONE, NodeAlone, "cold")];

pub fn measure(round: &mut Round) -> io::Result<()> {
    for (thing, contenders) in [(&PYTHON, ON_PYTHON), (&NODE, ON_NODE)] {
        for _ in 0..TRIALS {
            // Without any, where Rust programs alone are measured.
            for (name, program, argument) in round.order(contenders) {
                let mut command = round.programs.command(program, round.dds);
                command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null());
                let began = Instant::now();
                cpu::wait(&command.spawn()?)?;
                round.results.add(thing, name, [began.elapsed().as_secs_f64() * 1e3]);
            }
        }
    }
    Ok(())
}
