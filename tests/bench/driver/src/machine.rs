//! The machine, and how busy it was otherwise.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::process::Command;
use std::time::Instant;

use time::OffsetDateTime;

pub struct Machine {
    rounds: u32,
    load_before: String,
    ticks_before: Ticks,
    began: Instant,
}

/// The machine's CPU time since it was booted, in clock ticks.
struct Ticks {
    all: f64,
    stolen: f64,
}

impl Ticks {
    fn read() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let ticks: Vec<f64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        Ok(Self { all: ticks.iter().take(8).sum(), stolen: ticks.get(7).copied().unwrap_or_default() })
    }
}

impl Machine {
    /// To be called before the first measurement.
    pub fn look(rounds: u32) -> io::Result<Self> {
        Ok(Self { rounds, load_before: load()?, ticks_before: Ticks::read()?, began: Instant::now() })
    }

    /// Writes the table, after the last measurement.
    pub fn write(&self, out: &mut String) {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
        let stolen = Ticks::read().map_or(0.0, |now| {
            (now.stolen - self.ticks_before.stolen) / (now.all - self.ticks_before.all) * 100.0
        });
        let facts = [
            ("date", OffsetDateTime::now_utc().date().to_string()),
            ("processor", format!("{}, {cores} cores", model.trim_start_matches([' ', '\t', ':']))),
            ("kernel", fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()),
            ("rustc", version("rustc", "--version")),
            ("Python", version("python3", "--version")),
            ("Node.js", version("node", "--version")),
            ("rounds", self.rounds.to_string()),
            ("took", format!("{} s", self.began.elapsed().as_secs())),
            ("load before (1, 5, 15 minutes)", self.load_before.clone()),
            ("CPU time taken by other machines", format!("{stolen:.1} %")),
        ];
        out.push_str("| this run | |\n|---|---|\n");
        for (name, fact) in facts {
            let _ = writeln!(out, "| {name} | {} |", fact.trim());
        }
    }
}

fn load() -> io::Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.split_whitespace().take(3).collect::<Vec<_>>().join(", "))
}

fn version(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    output.map_or_else(|_| "none".into(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}
