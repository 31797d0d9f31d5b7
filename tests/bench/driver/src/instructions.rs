//! The instructions of one operation, counted by Valgrind. They hardly vary from run to run, so a change of a few percent
//! shows, which it does not in CPU time.

use std::fmt::Write as _;
use std::io;

use crate::dds::Dds;
use crate::load;
use crate::measure::serve::{callbacks, health};
use crate::peer::Peer;
use crate::program::Program::{self, *};
use crate::program::Programs;
use crate::results::grouped;

/// Something that is done many times.
struct Operation {
    title: &'static str,
    /// How often, beyond the first times. A sign-in per second is all that a node makes.
    times: usize,
    ours: Work,
    predecessor: Option<Work>,
    floor: Option<Work>,
}

/// A program, and what it is asked for.
struct Work {
    program: Program,
    /// What it is asked for first.
    first: Option<&'static str>,
    repeated: Repeated,
}

enum Repeated {
    /// A command, to which the number of times is added.
    Command(&'static str),
    /// Requests to the server whose address is the answer to `first`.
    Requests(fn() -> Vec<String>),
}

/// How many of the first times are not counted: they open connections and fill caches.
const WARM_UP: usize = 4;

/// How much more an operation may take than the committed count.
const TOLERANCE: f64 = 0.03;

const fn command(program: Program, repeated: &'static str) -> Work {
    Work { program, first: None, repeated: Repeated::Command(repeated) }
}

const fn requests(program: Program, serve: &'static str, requests: fn() -> Vec<String>) -> Work {
    Work { program, first: Some(serve), repeated: Repeated::Requests(requests) }
}

fn probes() -> Vec<String> {
    vec![health()]
}

/// The predecessor runs on the current-thread runtime, because the idle threads of the other one spin.
static OPERATIONS: &[Operation] = &[
    Operation {
        title: "A registration, by a node",
        times: 100,
        ours: command(OursRust, "register"),
        predecessor: Some(command(ReferenceCurrentThread, "once")),
        floor: Some(command(Floors, "thread")),
    },
    Operation {
        title: "A registration, by `register_once`",
        times: 100,
        ours: command(OursRust, "once"),
        predecessor: Some(command(ReferenceCurrentThread, "once")),
        floor: Some(command(Floors, "both")),
    },
    Operation {
        title: "A sign-in for an access token",
        times: 4,
        ours: command(OursRust, "sign-in"),
        predecessor: None,
        floor: Some(command(Floors, "thread")),
    },
    Operation {
        title: "A callback with another secret, to the node's own server",
        times: 1000,
        ours: requests(OursRust, "serve", callbacks),
        predecessor: Some(requests(ReferenceCurrentThread, "serve", callbacks)),
        floor: Some(requests(Floors, "serve", callbacks)),
    },
    Operation {
        title: "A callback with another secret, to the host's axum server",
        times: 1000,
        ours: requests(OursRust, "mounted", callbacks),
        predecessor: Some(requests(ReferenceCurrentThread, "serve", callbacks)),
        floor: Some(requests(OursRust, "empty-route", callbacks)),
    },
    Operation {
        title: "A health probe, to the node's own server",
        times: 1000,
        ours: requests(OursRust, "serve", probes),
        predecessor: Some(requests(ReferenceCurrentThread, "serve", probes)),
        floor: Some(requests(Floors, "serve", probes)),
    },
    Operation {
        title: "Reading the status",
        times: 100_000,
        ours: Work { program: OursRust, first: Some("park"), repeated: Repeated::Command("status 1") },
        predecessor: Some(command(ReferenceCurrentThread, "status 1")),
        floor: None,
    },
    Operation {
        title: "Borrowing the held access token",
        times: 100_000,
        ours: command(OursRust, "token 1"),
        predecessor: None,
        floor: None,
    },
    Operation {
        title: "The metrics as text",
        times: 100,
        ours: Work { program: OursRust, first: Some("park"), repeated: Repeated::Command("metrics 1") },
        predecessor: None,
        floor: None,
    },
];

/// The counts of one operation, as in a row of the table.
struct Row {
    title: &'static str,
    ours: u64,
    predecessor: Option<u64>,
    floor: Option<u64>,
}

/// Everything that was counted.
pub struct Counts(Vec<Row>);

impl Counts {
    /// Counts everything. In a smoke run, each operation is done only a few times.
    pub fn take(programs: &Programs, dds: &Dds, smoke: bool) -> io::Result<Self> {
        let mut rows = Vec::new();
        for operation in OPERATIONS {
            eprintln!("counting: {}", operation.title);
            let (few, times) =
                if smoke { (1, (operation.times / 50).max(1)) } else { (WARM_UP, operation.times) };
            let count = |work: &Work| count(programs, dds, work, few, times);
            rows.push(Row {
                title: operation.title,
                ours: count(&operation.ours)?,
                predecessor: operation.predecessor.as_ref().map(count).transpose()?,
                floor: operation.floor.as_ref().map(count).transpose()?,
            });
        }
        Ok(Self(rows))
    }

    /// The file `instructions.md`.
    pub fn markdown(&self) -> String {
        let mut out = String::from(include_str!("instructions.md"));
        let number = |count: Option<u64>| count.map_or_else(String::new, grouped);
        for row in &self.0 {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} |",
                row.title,
                grouped(row.ours),
                number(row.predecessor),
                number(row.floor)
            );
        }
        out
    }

    /// What has changed since the committed file was written. An error if an operation has become more expensive.
    pub fn compare(&self, committed: &str) -> io::Result<String> {
        let (mut out, mut worse) = (String::new(), Vec::new());
        for row in &self.0 {
            let Some(before) = ours_in(committed, row.title) else {
                let _ = writeln!(out, "{}: {}, not counted before", row.title, grouped(row.ours));
                continue;
            };
            let change = row.ours as f64 / before as f64 - 1.0;
            let _ = writeln!(
                out,
                "{}: {}, before {}: {:+.1} %",
                row.title,
                grouped(row.ours),
                grouped(before),
                change * 100.0
            );
            if change > TOLERANCE {
                worse.push(row.title);
            }
        }
        if worse.is_empty() {
            return Ok(out);
        }
        Err(io::Error::other(format!("{out}over {:.0} % more: {}", TOLERANCE * 100.0, worse.join("; "))))
    }

    /// Whether each figure is there.
    pub fn check(&self) -> io::Result<()> {
        let written = self.markdown();
        match self.0.iter().find(|row| row.ours == 0 || ours_in(&written, row.title) != Some(row.ours)) {
            Some(row) => Err(io::Error::other(format!("not counted: {}", row.title))),
            None => Ok(()),
        }
    }
}

/// The count of ours in the file.
fn ours_in(file: &str, title: &str) -> Option<u64> {
    let row =
        file.lines().find_map(|line| line.strip_prefix("| ")?.strip_prefix(title)?.strip_prefix(" | "))?;
    row.split(' ').next()?.replace(',', "").parse().ok()
}

/// The instructions of each of so many repetitions, after a few that are not counted.
fn count(programs: &Programs, dds: &Dds, work: &Work, few: usize, times: usize) -> io::Result<u64> {
    let run = |times: usize| {
        let log = programs.installed.join("valgrind.log");
        let mut peer = Peer::start(programs.counted(work.program, dds, &log))?;
        let answer = work.first.map(|first| peer.ask(first)).transpose()?;
        match work.repeated {
            Repeated::Command(command) => drop(peer.ask(&format!("{command} {times}"))?),
            Repeated::Requests(requests) => {
                let address = answer.ok_or_else(|| io::Error::other("no address"))?.word()?;
                load::in_turn(&address, &requests(), times)?;
            }
        }
        peer.end()?;
        executed(&std::fs::read_to_string(log)?)
    };
    let (few, many) = (run(few)?, run(few + times)?);
    Ok(many.saturating_sub(few) / times as u64)
}

/// The total in Valgrind's log.
fn executed(log: &str) -> io::Result<u64> {
    let total = log.lines().find_map(|line| line.split_once("refs:")?.1.trim().replace(',', "").parse().ok());
    total.ok_or_else(|| io::Error::other(format!("Valgrind counted nothing: {log}")))
}
