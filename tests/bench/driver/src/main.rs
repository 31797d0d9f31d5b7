//! Measures this library, the alternatives to it, and the libraries that it is built on.
//!
//! `tests/bench/run` builds and installs everything and then runs this.

mod awake;
mod cpu;
mod dds;
mod goals;
mod instructions;
mod load;
mod machine;
mod measure;
mod peer;
mod plot;
mod program;
mod report;
mod results;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::dds::Dds;
use crate::goals::THINGS;
use crate::instructions::Counts;
use crate::machine::Machine;
use crate::measure::{Effort, Round};
use crate::program::Programs;
use crate::results::Results;

/// Measures the posemesh node registration library and the alternatives to it.
#[derive(Parser)]
struct Arguments {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure these alone.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// One tiny round of the Rust programs: proves that everything works, and measures nothing worth reading.
    #[arg(long)]
    smoke: bool,
    /// Measure only the programs that cargo builds.
    #[arg(long)]
    rust_only: bool,
    /// Count instructions with Valgrind instead, and compare the counts with instructions.md. Fails if an operation takes
    /// over 3 % more.
    #[arg(long)]
    instructions: bool,
    /// Write the counts to instructions.md.
    #[arg(long, requires = "instructions")]
    update: bool,
    /// The folder for results.md and results.svg; not written with --only, unless it is given.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// One of the things that can be measured alone.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    Register,
    Start,
    Serve,
    Parked,
    Read,
    Token,
    Cold,
    First,
    Many,
    Replicas,
    Artefacts,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let bench = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is in a folder");
    let target = bench.join("target");
    let programs = Programs {
        ours: target.join(if arguments.smoke { "debug" } else { "shipped/release" }),
        built: target.join(if arguments.smoke { "debug" } else { "release" }),
        installed: target.join("installed"),
        peers: bench.join("peers"),
    };
    let rounds = if arguments.smoke { 1 } else { arguments.rounds };
    let effort = if arguments.smoke { smoke() } else { full(arguments.rust_only) };
    let parts = if arguments.only.is_empty() { Part::value_variants() } else { &arguments.only };

    let dds = Dds::start()?;
    if arguments.instructions {
        let counts = Counts::take(&programs, &dds, false)?;
        let file = bench.join("instructions.md");
        print!("{}", counts.markdown());
        if arguments.update {
            return std::fs::write(file, counts.markdown());
        }
        eprint!("{}", counts.compare(&std::fs::read_to_string(file)?)?);
        return Ok(());
    }
    let machine = Machine::look(rounds)?;
    let mut results = Results::default();
    for number in 0..rounds {
        for part in parts {
            let name = part.to_possible_value().expect("none is hidden");
            eprintln!("round {} of {rounds}: {}", number + 1, name.get_name());
            let mut round =
                Round { number, programs: &programs, dds: &dds, results: &mut results, effort: &effort };
            part.measure(&mut round)?;
        }
    }

    let whole = arguments.only.is_empty();
    let markdown = report::markdown(&results, &machine, whole);
    print!("{markdown}");
    let drawing = plot::svg(&results);
    if arguments.smoke {
        check(&results, &drawing)?;
        match Command::new("valgrind").arg("--version").stdout(Stdio::null()).status() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => eprintln!("no valgrind: skipped"),
            _ => Counts::take(&programs, &dds, true)?.check()?,
        }
    }
    let out = arguments.out.or_else(|| (!arguments.smoke && whole).then(|| bench.to_owned()));
    if let Some(out) = out {
        std::fs::create_dir_all(&out)?;
        std::fs::write(out.join("results.md"), markdown)?;
        std::fs::write(out.join("results.svg"), drawing)?;
    }
    Ok(())
}

impl Part {
    fn measure(self, round: &mut Round) -> io::Result<()> {
        match self {
            Part::Register => measure::register::measure(round),
            Part::Start => measure::start::measure(round),
            Part::Serve => measure::serve::measure(round),
            Part::Parked => measure::parked::measure(round),
            Part::Read => measure::read::measure(round),
            Part::Token => measure::token::measure(round),
            Part::Cold => measure::cold::measure(round),
            Part::First => measure::first::measure(round),
            Part::Many => measure::many::measure(round),
            Part::Replicas => measure::replicas::measure(round),
            Part::Artefacts => measure::artefacts::measure(round),
        }
    }
}

fn full(rust_only: bool) -> Effort {
    Effort {
        time: Duration::from_millis(700),
        watch: Duration::from_secs(2),
        nodes: 10_000,
        trials: 40,
        rust_only,
    }
}

fn smoke() -> Effort {
    Effort {
        time: Duration::from_millis(20),
        watch: Duration::from_millis(100),
        nodes: 20,
        trials: 2,
        rust_only: true,
    }
}

/// Whether each thing that Rust programs alone can show was measured, and is drawn if it is one of the main ones. Replicas
/// need a Redis, which may be missing.
fn check(results: &Results, drawing: &str) -> io::Result<()> {
    let others = [
        &measure::token::AWAITED,
        &measure::cold::PYTHON,
        &measure::cold::NODE,
        &measure::first::PYTHON,
        &measure::first::NODE,
        &measure::artefacts::SIZE,
        &measure::replicas::CALLBACK,
        &measure::replicas::TAKEOVER,
        &measure::replicas::RENEWAL,
        &measure::replicas::TRAFFIC,
    ];
    for (thing, _) in THINGS.iter().filter(|(thing, _)| !others.contains(thing)) {
        if !results.of(thing).any(|row| row.peer == measure::OURS && row.median().is_finite()) {
            return Err(io::Error::other(format!("not measured: {}", thing.title)));
        }
    }
    for thing in plot::PANELS.iter().filter(|thing| !others.contains(*thing)) {
        let bars = results.of(thing).map(|row| thing.number(row.median()));
        if !drawing.contains(thing.title) || !bars.into_iter().all(|bar| drawing.contains(&bar)) {
            return Err(io::Error::other(format!("not drawn: {}", thing.title)));
        }
    }
    Ok(())
}
