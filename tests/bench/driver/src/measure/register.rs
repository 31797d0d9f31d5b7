//! Registrations one after the other, on one client and a reused connection.

use std::io;

use super::{
    Contender, FLOOR_HYPER, OURS, OURS_C, OURS_NODE, OURS_PYTHON, REFERENCE, REFERENCE_CURRENT_THREAD, Round,
};
use crate::program::Program::*;
use crate::results::Thing;

pub static REGISTER: Thing = Thing {
    title: "Client CPU per registration (two POSTs, one signature, reused connection)",
    unit: "µs",
    digits: 0,
    more_is_better: false,
};

/// `register_once`, without the rest of a node: what the predecessor's row does.
pub const OURS_ONCE: &str = "**ours**, `register_once` alone";
pub const FLOOR_REQWEST: &str = "floor: reqwest, no signing";
pub const FLOOR_SIGNATURE: &str = "floor: one k256 signature";
/// What a whole node cannot undercut: it does its work on a thread of its own.
pub const FLOOR_THREAD: &str = "floor: reqwest and one k256 signature, on a thread that is woken for it";

const CONTENDERS: &[Contender] = &[
    (OURS, OursRust, "register"),
    (OURS_ONCE, OursRust, "once"),
    (OURS_C, OursC, "register"),
    (OURS_PYTHON, OursPython, "register"),
    (OURS_NODE, OursNode, "register"),
    (REFERENCE, Reference, "once"),
    (REFERENCE_CURRENT_THREAD, ReferenceCurrentThread, "once"),
    (FLOOR_HYPER, Floors, "hyper"),
    (FLOOR_REQWEST, Floors, "reqwest"),
    (FLOOR_SIGNATURE, Floors, "sign"),
    (FLOOR_THREAD, Floors, "thread"),
    ("httpx + eth-account (coincurve)", Httpx, "register"),
    ("fetch + viem", Viem, "register"),
];

pub fn measure(round: &mut Round) -> io::Result<()> {
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
        if program != Floors {
            round.dds.check_last()?;
        }
        round.results.add(&REGISTER, name, [seconds * 1e6]);
    }
    Ok(())
}
