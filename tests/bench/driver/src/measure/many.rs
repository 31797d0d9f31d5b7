//! Many nodes in one process, on the one runtime.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use super::{OURS, Round};
use crate::cpu::Proc;
use crate::program::Program::*;
use crate::results::Thing;

pub static MEMORY: Thing =
    Thing { title: "Many nodes: resident memory for each", unit: "KiB", digits: 1, more_is_better: false };
pub static THREADS: Thing =
    Thing { title: "Many nodes: threads of the whole process", unit: "", digits: 0, more_is_better: false };
pub static CPU: Thing = Thing {
    title: "Many nodes: CPU for each, from start to registered",
    unit: "µs",
    digits: 0,
    more_is_better: false,
};
pub static STOP: Thing =
    Thing { title: "Many nodes: stop of all, on the clock", unit: "ms", digits: 0, more_is_better: false };

/// Idle connections are closed a second after their last use.
const SETTLE: Duration = Duration::from_secs(3);

pub fn measure(round: &mut Round) -> io::Result<()> {
    let nodes = round.effort.nodes;
    let mut peer = round.start(OursRust)?;
    // Everything that a process has once.
    peer.ask("park")?;
    sleep(SETTLE);
    let before = Proc::of(peer.id())?;
    let answer = peer.ask(&format!("many {nodes}"))?;
    sleep(SETTLE);
    let after = Proc::of(peer.id())?;
    let stopped = peer.ask("stop")?.numbers()?;
    peer.end()?;
    round.results.add(&MEMORY, OURS, [(after.resident - before.resident) / 1024.0 / nodes as f64]);
    round.results.add(&THREADS, OURS, [after.threads]);
    round.results.add(&CPU, OURS, [answer.cpu.as_secs_f64() * 1e6 / nodes as f64]);
    round.results.add(&STOP, OURS, stopped);
    Ok(())
}
