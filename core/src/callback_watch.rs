//! Detects that DDS does not call a registered node back. DDS calls only nodes whose URL it knows, so most nodes are
//! never called. An operator who runs a callback server, or has its routes in a server of the host, should learn this
//! early.

use std::time::Duration;

use tokio::time::timeout;

use crate::log::log;
use crate::state::observed::{Observed, until};
use crate::state::store::Store;
use crate::status::State;

/// A callback arrives within seconds, if it arrives at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Marks the callback as overdue when DDS has neither called nor probed within a minute of a registration, if it may call
/// this process. Logs this once. Runs until it is dropped.
pub(crate) async fn watch_for_callback(store: &Store) {
    let mut observed = store.observe();
    let mut logged = false;
    loop {
        until(&mut observed, |now| now.expects_callbacks && now.state == State::Registered && !now.called)
            .await;
        let registration = observed.borrow().registration;
        let over =
            |now: &Observed| now.registration != registration || now.state != State::Registered || now.called;
        if timeout(PATIENCE, until(&mut observed, over)).await.is_ok() {
            continue;
        }
        if store.set_callback_overdue() && !std::mem::replace(&mut logged, true) {
            log!(
                Warn,
                "http",
                "registered for {} s, but DDS has not called this node; DDS calls only a node whose URL it knows and \
                 can reach: check the URL in the console, and the way from there to this node. A node that works with \
                 access tokens alone needs neither callback_bind nor routes",
                PATIENCE.as_secs()
            );
        }
        until(&mut observed, over).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn register(store: &Store) {
        let registration = store.begin_attempt().expect("not registered");
        assert!(store.finish_attempt(registration, None));
    }

    /// A store with the watch task of a node.
    fn watched() -> Arc<Store> {
        let store = Arc::new(Store::default());
        store.expect_callbacks();
        let watched = Arc::clone(&store);
        tokio::spawn(async move { watch_for_callback(&watched).await });
        store
    }

    async fn sleep(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_callback_is_overdue_after_a_minute() {
        let store = watched();
        sleep(1000).await;
        assert!(!store.status().callback_overdue, "not registered");
        register(&store);
        sleep(59).await;
        assert!(!store.status().callback_overdue);
        sleep(2).await;
        assert!(store.status().callback_overdue);
        store.rearm().expect("not stopped");
        assert!(!store.status().callback_overdue, "the next registration has its own minute");
        register(&store);
        sleep(59).await;
        assert!(!store.status().callback_overdue);
        sleep(2).await;
        assert!(store.status().callback_overdue);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_probe_clears_the_overdue_flag() {
        let store = watched();
        register(&store);
        sleep(61).await;
        assert!(store.status().callback_overdue);
        store.touch_healthcheck();
        assert!(!store.status().callback_overdue);
        sleep(1000).await;
        assert!(!store.status().callback_overdue);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_dds_may_not_call_misses_nothing_until_its_routes_are_used() {
        let store = Arc::new(Store::default());
        let watched = Arc::clone(&store);
        tokio::spawn(async move { watch_for_callback(&watched).await });
        register(&store);
        sleep(1000).await;
        assert!(!store.status().callback_overdue);
        store.expect_callbacks();
        sleep(59).await;
        assert!(!store.status().callback_overdue);
        sleep(2).await;
        assert!(store.status().callback_overdue);
    }
}
