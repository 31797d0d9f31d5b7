//! Asking for the access token that a node holds.

use std::io;

use super::{OURS, OURS_C, OURS_NODE, OURS_PYTHON, Round};
use crate::program::Program::{self, *};
use crate::results::Thing;

pub static TOKEN: Thing =
    Thing { title: "Held access token of 1 kB, one thread", unit: "ns", digits: 1, more_is_better: false };
pub static CONTENDED: Thing = Thing {
    title: "Held access token of 1 kB, two threads at once",
    unit: "ns",
    digits: 1,
    more_is_better: false,
};
pub static AWAITED: Thing =
    Thing { title: "Held access token of 1 kB, awaited", unit: "ns", digits: 1, more_is_better: false };

/// Measured in the same process, right after the token.
pub const STATUS_PYTHON: &str = "status(), from Python";
pub const EMPTY_PYTHON: &str = "floor: an empty coroutine, from Python";
pub const EMPTY_NODE: &str = "floor: an empty async function, from Node.js";

/// A thing, the peer in its table, and the command.
type Read = (&'static Thing, &'static str, &'static str);

const PYTHON: &[Read] = &[(&TOKEN, OURS_PYTHON, "token"), (&TOKEN, STATUS_PYTHON, "status")];
const ASYNCIO: &[Read] = &[(&AWAITED, OURS_PYTHON, "token"), (&AWAITED, EMPTY_PYTHON, "empty")];
const NODE: &[Read] = &[
    (&TOKEN, OURS_NODE, "tryToken"),
    (&AWAITED, OURS_NODE, "token"),
    (&AWAITED, EMPTY_NODE, "emptyAwaited"),
];

pub fn measure(round: &mut Round) -> io::Result<()> {
    for (name, program, _) in round.order(&[(OURS, OursRust, ""), (OURS_C, OursC, "")]) {
        let mut peer = round.start(program)?;
        for (thing, command, threads) in [(&TOKEN, "token 1", 1.0), (&CONTENDED, "token 2", 2.0)] {
            let (seconds, _) = peer.per_operation(command, round.effort.time)?;
            round.results.add(thing, name, [seconds * 1e9 / threads]);
        }
        peer.end()?;
    }
    scripts(round, OursPython, PYTHON)?;
    scripts(round, OursAsyncio, ASYNCIO)?;
    scripts(round, OursNode, NODE)
}

fn scripts(round: &mut Round, program: Program, reads: &[Read]) -> io::Result<()> {
    if round.effort.rust_only {
        return Ok(());
    }
    let mut peer = round.start(program)?;
    for (thing, name, command) in reads {
        let (seconds, _) = peer.per_operation(command, round.effort.time)?;
        round.results.add(thing, name, [seconds * 1e9]);
    }
    peer.end()
}
