//! Notices that DDS has stopped probing a node that it used to probe, which is how a lost registration shows
//! where no token is asked for.

use std::time::Duration;

use tokio::time::sleep_until;

use crate::register::until;
use crate::state::Store;

/// Registers the node again when DDS has not probed it for `ttl`; runs until it is dropped.
///
/// Probes do not wake it: it looks when the last one it knew of has become too old.
pub(crate) async fn watch_healthchecks(store: &Store, ttl: Duration) {
    let mut signal = store.signal();
    loop {
        until(&mut signal, |now| now.probed).await;
        while let Some(last) = store.last_probe()
            && last.elapsed() < ttl
        {
            sleep_until(last + ttl).await;
        }
        // Before the re-arm: a probe after it counts.
        store.forget_probes();
        let registration = signal.borrow().registration;
        let reason = format!("DDS has not probed this node for {} s", ttl.as_secs());
        store.lose_registration(registration, &reason);
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
        assert!(store.finish_attempt(registration));
    }

    async fn sleep(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_dds_that_falls_silent_has_lost_the_node() {
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
