//! Registrations one after the other, on one client and a reused connection.

use std::io;

use super::{
    Contender, FLOOR_HYPER, OURS, OURS_C, OURS_NODE, OURS_PYTHON, REFERENCE, REFERENCE_CURRENT_THREAD, Round,
};
use crate::awake::Awake;
use crate::program::Program::*;
use crate::results::Thing;

pub static REGISTER: Thing = Thing {
    title: "Client CPU per registration (two POSTs, one signature, reused connection)",
    unit: "µs",
    digits: 0,
    more_is_better: false,
};

pub static REGISTER_AWAKE: Thing =
    Thing { title: "The same while no core may sleep", unit: "µs", digits: 0, more_is_better: false };

/// `#[tokio::main]` awaits it. The task of the README is spawned.
pub const REFERENCE_AWAITED: &str = "0.2.1, awaited in `main`";
/// `register_once` without the rest of a node, as in the predecessor's row.
pub const OURS_ONCE: &str = "**ours**, `register_once` alone";
const FLOOR_REQWEST: &str = "floor: reqwest, no signing";
const FLOOR_SIGNATURE: &str = "floor: one k256 signature";
/// The same two together.
const FLOOR_BOTH: &str = "floor: reqwest, and one k256 signature in its place";
/// The lower bound for a whole node, which sends its requests with hyper, on a thread of its own.
pub const FLOOR_THREAD: &str = "floor: hyper and one k256 signature, on a thread that is woken for it";
/// The same, with Node.js as the host.
pub const FLOOR_NODE: &str = "floor: the same, woken from Node.js";

const CONTENDERS: &[Contender] = &[
    (OURS, OursRust, "register"),
    (OURS_ONCE, OursRust, "once"),
    (OURS_C, OursC, "register"),
    (OURS_PYTHON, OursPython, "register"),
    (OURS_NODE, OursNode, "register"),
    (REFERENCE, Reference, "once"),
    (REFERENCE_AWAITED, Reference, "awaited"),
    (REFERENCE_CURRENT_THREAD, ReferenceCurrentThread, "once"),
    (FLOOR_HYPER, Floors, "hyper"),
    (FLOOR_REQWEST, Floors, "reqwest"),
    (FLOOR_SIGNATURE, Floors, "sign"),
    (FLOOR_BOTH, Floors, "both"),
    (FLOOR_THREAD, Floors, "thread"),
    (FLOOR_NODE, FloorNode, "register"),
    ("httpx + eth-account (coincurve)", Httpx, "register"),
    ("fetch + viem", Viem, "register"),
];

pub fn measure(round: &mut Round) -> io::Result<()> {
    measure_all(round, &REGISTER)?;
    let awake = Awake::begin()?;
    measure_all(round, &REGISTER_AWAKE)?;
    drop(awake);
    Ok(())
}

fn measure_all(round: &mut Round, thing: &'static Thing) -> io::Result<()> {
    for (name, program, command) in round.order(CONTENDERS) {
        let mut peer = round.start(program)?;
        let before = round.dds.registrations();
        let (seconds, times) = peer.per_operation(command, round.effort.time)?;
        peer.end()?;
        let registered = round.dds.registrations() - before;
        // A node that registers again has done so once to begin with.
        if command != "sign" && registered != times && registered != times + 1 {
            return Err(io::Error::other(format!(
                "{name}: asked for {times} registrations, DDS saw {registered}"
            )));
        }
        if !matches!(program, Floors | FloorNode) {
            round.dds.check_last()?;
        }
        round.results.add(thing, name, [seconds * 1e6]);
    }
    Ok(())
}
