//! Reading the status and the secret, from one thread and from two at once, and the metrics.

use std::io;

use super::serve::callbacks;
use super::{OURS, OURS_C, OURS_NODE, OURS_PYTHON, REFERENCE, Round};
use crate::load;
use crate::program::Program::{self, *};
use crate::results::Thing;

pub static STATUS: Thing =
    Thing { title: "Status read, one thread", unit: "ns", digits: 1, more_is_better: false };
pub static STATUS_CONTENDED: Thing =
    Thing { title: "Status read, two threads at once", unit: "ns", digits: 1, more_is_better: false };
pub static SECRET: Thing =
    Thing { title: "Secret read, one thread", unit: "ns", digits: 1, more_is_better: false };
pub static SECRET_CONTENDED: Thing =
    Thing { title: "Secret read, two threads at once", unit: "ns", digits: 1, more_is_better: false };

pub static METRICS: Thing =
    Thing { title: "Metrics, as text for Prometheus", unit: "µs", digits: 1, more_is_better: false };

pub const EMPTY_PYTHON: &str = "floor: an empty method of a PyO3 class, from Python";
pub const EMPTY_NODE: &str = "floor: an empty napi function, from Node.js";

/// A thing, and its command and threads.
type Read = (&'static Thing, &'static str, usize);

const ALL: &[Read] = &[
    (&STATUS, "status 1", 1),
    (&STATUS_CONTENDED, "status 2", 2),
    (&SECRET, "secret 1", 1),
    (&SECRET_CONTENDED, "secret 2", 2),
];

pub fn measure(round: &mut Round) -> io::Result<()> {
    for (name, program, _) in
        round.order(&[(OURS, OursRust, ""), (OURS_C, OursC, ""), (REFERENCE, Reference, "")])
    {
        let mut peer = round.start(program)?;
        load::in_turn(&peer.ask("serve")?.word()?, &callbacks(), 1)?;
        for (thing, command, threads) in ALL {
            let (seconds, _) = peer.per_operation(command, round.effort.time)?;
            round.results.add(thing, name, [seconds * 1e9 / *threads as f64]);
        }
        if name == OURS {
            let (seconds, _) = peer.per_operation("metrics 1", round.effort.time)?;
            round.results.add(&METRICS, name, [seconds * 1e6]);
        }
        peer.end()?;
    }
    scripts(round, OursPython, &[(OURS_PYTHON, "status"), (EMPTY_PYTHON, "empty")])?;
    scripts(round, OursNode, &[(OURS_NODE, "status"), (EMPTY_NODE, "empty")])
}

fn scripts(round: &mut Round, program: Program, commands: &[(&'static str, &str)]) -> io::Result<()> {
    if round.effort.rust_only {
        return Ok(());
    }
    let mut peer = round.start(program)?;
    for (name, command) in commands {
        let (seconds, _) = peer.per_operation(command, round.effort.time)?;
        round.results.add(&STATUS, name, [seconds * 1e9]);
    }
    peer.end()
}
