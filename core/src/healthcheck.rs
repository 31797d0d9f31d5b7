//! Detects that DDS has stopped probing a node that it used to probe. For a node that requests no tokens this is the
//! only sign of a lost registration.

use std::time::Duration;

use tokio::time::sleep_until;

use crate::metrics::counters::LossReason;
use crate::state::observed::until;
use crate::state::store::Store;

/// Registers the node again when DDS has not probed it for `ttl`. Runs until it is dropped.
///
/// Probes do not wake it. It sleeps until the last probe that it knows of is too old, and then looks for a newer one.
pub(crate) async fn watch_healthchecks(store: &Store, ttl: Duration) {
    let mut observed = store.observe();
    loop {
        until(&mut observed, |now| now.probed).await;
        while let Some(last) = store.last_probe()
            && last.elapsed() < ttl
        {
            sleep_until(last + ttl).await;
        }
        // Before the re-arm, so that a probe after it counts.
        store.forget_probes();
        let registration = observed.borrow().registration;
        let reason = format!("DDS has not probed this node for {} s", ttl.as_secs());
        store.lose_registration(registration, LossReason::ProbesStopped, &reason);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::status::State;

    const TTL: Duration = Duration::from_secs(60);

    fn registered(store: &Store) {
        let registration = store.begin_attempt().expect("not registered");
        assert!(store.finish_attempt(registration, None));
    }

    async fn sleep(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_node_registers_again_when_probes_stop() {
        let store = Arc::new(Store::default());
        let watched = Arc::clone(&store);
        tokio::spawn(async move { watch_healthchecks(&watched, TTL).await });
        registered(&store);
        sleep(1_000_000).await;
        assert_eq!(store.status().state, State::Registered, "it has never probed");

        for _ in 0..3 {
            for _ in 0..10 {
                store.touch_healthcheck();
                sleep(59).await;
                assert_eq!(store.status().state, State::Registered);
            }
            sleep(2).await;
            assert_eq!(store.status().state, State::Disconnected);
            registered(&store);
            sleep(1_000_000).await;
            assert_eq!(store.status().state, State::Registered, "it has not probed again");
        }
    }
}
