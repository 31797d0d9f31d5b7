//! The time on the clock from a start, and from a re-arm, to the registration.

use std::io;

use super::{OURS, REFERENCE, Round};
use crate::program::Program::*;
use crate::results::Thing;

pub static START: Thing =
    Thing { title: "From start to registered, on the clock", unit: "ms", digits: 2, more_is_better: false };
pub static REARM: Thing = Thing {
    title: "From re-arm to registered again, on the clock",
    unit: "ms",
    digits: 2,
    more_is_better: false,
};

/// `register_once` on the clock: two round trips and a signature.
pub const HANDSHAKE: &str = "one handshake, by `register_once`";

pub fn measure(round: &mut Round) -> io::Result<()> {
    let trials = round.effort.trials;
    for (name, program, _) in round.order(&[(OURS, OursRust, ""), (REFERENCE, Reference, "")]) {
        let mut peer = round.start(program)?;
        let started = peer.ask(&format!("start {trials}"))?.numbers()?;
        // The predecessor looks at its state once a second.
        let trials = if program == Reference { trials.min(6) } else { trials };
        let rearmed = peer.ask(&format!("rearm {trials}"))?.numbers()?;
        peer.end()?;
        round.results.add(&START, name, started.into_iter().map(|us| us / 1e3));
        round.results.add(&REARM, name, rearmed.into_iter().map(|us| us / 1e3));
    }
    let mut peer = round.start(OursRust)?;
    let handshakes = peer.ask(&format!("handshake {trials}"))?.numbers()?;
    peer.end()?;
    round.results.add(&REARM, HANDSHAKE, handshakes.into_iter().map(|us| us / 1e3));
    Ok(())
}
