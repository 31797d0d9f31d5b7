//! Prints what DDS receives from a simulated fleet after an outage, for each policy of when to try again.

use clap::Parser;
use ours::fleet::{Outcome, POLICIES, Policy, SCENARIOS, Scenario, simulate};

/// Simulates a fleet of nodes on a paused clock, and prints a table.
#[derive(Parser)]
struct Arguments {
    /// How many nodes.
    #[arg(long, default_value_t = 100_000)]
    nodes: usize,
}

fn main() -> std::io::Result<()> {
    let Arguments { nodes } = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    print!("{}", include_str!("intro.md"));
    println!("With {nodes} nodes:\n");
    println!("| DDS is back and | policy | peak | 99 % registered after | requests for each node |");
    println!("|---|---|---:|---:|---:|");
    for scenario in SCENARIOS {
        for policy in POLICIES {
            let Outcome { peak, registered, requests } = runtime.block_on(simulate(scenario, policy, nodes));
            let registered =
                registered.map_or("over 1 h".into(), |after| format!("{:.0} s", after.as_secs_f64()));
            let (scenario, policy) = (describe(scenario), name(policy));
            println!("| {scenario} | {policy} | {peak:.2} | {registered} | {requests:.1} |");
        }
    }
    Ok(())
}

fn describe(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Away => "answers everything",
        Scenario::Forgetful => "has forgotten all nodes",
        Scenario::Limiting => "limits requests with 429 and `Retry-After`",
        Scenario::Half => "has half the capacity",
    }
}

fn name(policy: Policy) -> &'static str {
    match policy {
        Policy::Ours => "ours",
        Policy::Predecessor => "0.2.1",
        Policy::FullJitter => "full jitter",
        Policy::Sdk => "SDK: every 120 s, 3 tries",
    }
}
