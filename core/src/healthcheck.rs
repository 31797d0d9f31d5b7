//! Notices that DDS has stopped probing a node that it used to probe, which is how a lost registration shows
//! where no token is asked for.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::register::until;
use crate::state::Store;

/// Registers the node again when DDS has not probed it for `ttl`; runs until it is dropped.
///
/// Probes do not wake it: it looks when the last one it knew of has become too old.
pub(crate) async fn watch_healthchecks(store: &Store, ttl: Duration) {
    let mut signal = store.signal();
    loop {
        until(&mut signal, |now| now.probed).await;
        while let Some(last) = store.last_probe().map(Instant::from_std)
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
