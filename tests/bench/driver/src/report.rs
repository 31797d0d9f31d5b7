//! The results as Markdown.

use std::fmt::Write as _;

use crate::goals::{GOALS, THINGS};
use crate::machine::Machine;
use crate::results::Results;

/// The results of a run. If everything was measured, what other runs have counted and simulated follows.
pub fn markdown(results: &Results, machine: &Machine, whole: bool) -> String {
    let mut out = String::from(
        "# What it costs\n\nWritten by `tests/bench/run`; see its README for how. Cells are the median (min–max) \
         over the rounds.\n\n![the main figures](results.svg)\n\n",
    );
    machine.write(&mut out);
    goals(results, &mut out);
    for (thing, reference) in THINGS {
        if results.of(thing).next().is_none() {
            continue;
        }
        let unit = if thing.unit.is_empty() { "number" } else { thing.unit };
        let _ = writeln!(out, "\n## {}\n", thing.title);
        let reference = reference.and_then(|peer| Some((peer, results.median(thing, peer)?)));
        match reference {
            Some((peer, _)) => {
                let against = peer.trim_start_matches("floor: ");
                let _ = writeln!(out, "| | {unit} | ratio to {against} |\n|---|---:|---:|");
            }
            None => {
                let _ = writeln!(out, "| | {unit} |\n|---|---:|");
            }
        }
        for row in results.of(thing) {
            let _ = match reference {
                Some((_, base)) if base > 0.0 => {
                    writeln!(out, "| {} | {row} | {:.2} |", row.peer, row.median() / base)
                }
                Some(_) => writeln!(out, "| {} | {row} | |", row.peer),
                None => writeln!(out, "| {} | {row} |", row.peer),
            };
        }
    }
    out.push('\n');
    out.push_str(include_str!("remarks.md"));
    if whole {
        for other in [include_str!("../../instructions.md"), include_str!("../../fleet.md")] {
            out.push('\n');
            out.push_str(other);
        }
    }
    out
}

fn goals(results: &Results, out: &mut String) {
    out.push_str("\n## The goals\n\n| what | who | measured | limit | in this run | met |\n|---|---|---:|---|---:|---|\n");
    for goal in GOALS {
        let Some((ours, limit)) = goal.values(results) else { continue };
        let (thing, who) = goal.ours;
        let sign = if thing.more_is_better { "≥" } else { "≤" };
        let _ = writeln!(
            out,
            "| {} | {} | {} {} | {sign} {} | {} | {} |",
            thing.title,
            who.replace('*', ""),
            thing.number(ours),
            thing.unit,
            goal.says,
            thing.number(limit),
            if goal.is_met(ours, limit) { "yes" } else { "**no**" }
        );
    }
}
