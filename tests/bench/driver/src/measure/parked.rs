//! The cost of a registered node while nothing happens.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{OURS, REFERENCE, Round};
use crate::cpu::{Proc, of_process};
use crate::program::Program::*;
use crate::results::Thing;

pub static SWITCHES: Thing =
    Thing { title: "Parked: context switches per second", unit: "1/s", digits: 2, more_is_better: false };
pub static CPU: Thing =
    Thing { title: "Parked: CPU per second", unit: "µs", digits: 1, more_is_better: false };
pub static THREADS: Thing =
    Thing { title: "Parked: threads of the whole process", unit: "", digits: 0, more_is_better: false };
pub static RESIDENT: Thing = Thing {
    title: "Parked: resident memory of the whole process",
    unit: "MB",
    digits: 2,
    more_is_better: false,
};
pub static PRIVATE: Thing = Thing {
    title: "Parked: private memory, the part of it that the process has written",
    unit: "MB",
    digits: 2,
    more_is_better: false,
};

/// Idle connections are closed a second after their last use. A node is idle only after that.
const SETTLE: Duration = Duration::from_secs(2);

pub fn measure(round: &mut Round) -> io::Result<()> {
    for (name, program, command) in round.order(&[(OURS, OursRust, "park"), (REFERENCE, Reference, "park")]) {
        let mut peer = round.start(program)?;
        peer.ask(command)?;
        sleep(SETTLE);
        let (before, cpu, began) = (Proc::of(peer.id())?, of_process(peer.id())?, Instant::now());
        sleep(round.effort.watch);
        let (after, cpu) = (Proc::of(peer.id())?, of_process(peer.id())?.saturating_sub(cpu));
        let seconds = began.elapsed().as_secs_f64();
        peer.end()?;
        round.results.add(&SWITCHES, name, [(after.switches - before.switches) / seconds]);
        round.results.add(&CPU, name, [cpu.as_secs_f64() * 1e6 / seconds]);
        round.results.add(&THREADS, name, [after.threads]);
        round.results.add(&RESIDENT, name, [after.resident / 1e6]);
        round.results.add(&PRIVATE, name, [after.private / 1e6]);
    }
    Ok(())
}
