//! A simulated fleet: what DDS receives when it is back after ten minutes, and how soon the nodes are registered.
//!
//! The nodes run the real registrar and the real token refresher on a paused clock; only their requests go to a model
//! of DDS in place of the network. Other policies run beside them for comparison.
//!
//! | file | owns |
//! |---|---|
//! | `dds` | the model of DDS: when it answers, and what it counts |
//! | `scenario` | what is simulated |
//! | `nodes` | a node of this library, and nodes with other policies |

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::task::JoinSet;
use tokio::time::sleep;

mod dds;
mod nodes;
mod scenario;

use dds::Dds;
use scenario::ROLLOUT;
pub use scenario::{Outcome, POLICIES, Policy, SCENARIOS, Scenario};

/// Simulates a fleet with one policy. The clock of the runtime must be paused.
pub async fn simulate(scenario: Scenario, policy: Policy, nodes: usize) -> Outcome {
    let dds = Arc::new(Dds::new(scenario, nodes));
    let mut fleet = JoinSet::new();
    for node in 0..nodes {
        let dds = Arc::clone(&dds);
        let start = if scenario.has_tokens() {
            ROLLOUT.mul_f64(rand::thread_rng().gen_range(0.0..1.0))
        } else {
            Duration::ZERO
        };
        fleet.spawn(async move {
            sleep(start).await;
            nodes::run(policy, scenario, &dds, node).await;
        });
    }
    dds.until_registered().await;
    fleet.shutdown().await;
    dds.outcome()
}

#[cfg(test)]
mod tests {
    use super::scenario::LIMIT;
    use super::*;

    /// A smaller fleet than that of the benchmark, but large enough that chance hardly moves the busiest second.
    const NODES: usize = 4000;

    async fn compare(scenario: Scenario) {
        let ours = simulate(scenario, Policy::Ours, NODES).await;
        assert!(ours.peak <= 2.0, "{scenario:?}: {ours:?}");
        let mut best = LIMIT;
        for policy in [Policy::Predecessor, Policy::FullJitter, Policy::Sdk] {
            best = best.min(simulate(scenario, policy, NODES).await.registered.unwrap_or(LIMIT));
        }
        let registered = ours.registered.expect("within the limit");
        assert!(registered <= best.mul_f64(1.4), "{scenario:?}: {ours:?}, the best of the others {best:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dds_that_is_back_receives_an_even_load() {
        compare(Scenario::Away).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_dds_that_has_forgotten_all_nodes_receives_an_even_load() {
        compare(Scenario::Forgetful).await;
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_are_told_to_come_back_at_one_moment_spread() {
        compare(Scenario::Limiting).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_dds_with_half_its_capacity_is_not_overrun() {
        compare(Scenario::Half).await;
    }

    /// Policies without jitter do not pass what the tests above measure.
    #[tokio::test(start_paused = true)]
    async fn a_herd_shows_in_the_figures() {
        assert!(simulate(Scenario::Away, Policy::Sdk, NODES).await.peak > 20.0);
        assert!(simulate(Scenario::Limiting, Policy::FullJitter, NODES).await.peak > 5.0);
    }
}
