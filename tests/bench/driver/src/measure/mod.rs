//! The things that are measured, one file each. In a round everything is measured once, one peer after the
//! other, so that a noisy moment of the machine hits all of them alike.

pub mod artefacts;
pub mod cold;
pub mod first;
pub mod many;
pub mod parked;
pub mod read;
pub mod register;
pub mod replicas;
pub mod serve;
pub mod start;
pub mod token;

use std::io;
use std::time::Duration;

use crate::dds::Dds;
use crate::peer::Peer;
use crate::program::{Program, Programs};
use crate::results::Results;

/// This library, as a Rust program runs it.
pub const OURS: &str = "**ours**";
pub const OURS_C: &str = "**ours, from C**";
pub const OURS_PYTHON: &str = "**ours, from Python**";
pub const OURS_NODE: &str = "**ours, from Node.js**";
pub const REFERENCE: &str = "0.2.1";
pub const REFERENCE_CURRENT_THREAD: &str = "0.2.1, current-thread runtime";
pub const FLOOR_HYPER: &str = "floor: hyper";

/// One round of measurements.
pub struct Round<'a> {
    pub number: u32,
    pub programs: &'a Programs,
    pub dds: &'a Dds,
    pub results: &'a mut Results,
    pub effort: &'a Effort,
}

/// How much is done for one value.
pub struct Effort {
    /// A repeated measurement takes about this long.
    pub time: Duration,
    /// How long a server is under load, and a parked process watched.
    pub watch: Duration,
    /// Nodes in one process.
    pub nodes: usize,
    /// Starts and re-arms on the clock; those of the predecessor take half a second each.
    pub trials: usize,
    /// Only programs that cargo builds.
    pub rust_only: bool,
}

/// A peer in one measurement: its name, its program and the measured command.
pub type Contender = (&'static str, Program, &'static str);

impl Round<'_> {
    /// The contenders that take part, every second round the other way around.
    pub fn order(&self, contenders: &[Contender]) -> Vec<Contender> {
        let mut contenders: Vec<_> = contenders
            .iter()
            .copied()
            .filter(|(_, program, _)| !self.effort.rust_only || program.is_rust())
            .collect();
        if self.number % 2 == 1 {
            contenders.reverse();
        }
        contenders
    }

    pub fn start(&self, program: Program) -> io::Result<Peer> {
        Peer::start(self.programs.command(program, self.dds))
    }
}
