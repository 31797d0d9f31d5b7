//! On a paused clock: time passes only where the code sleeps.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::*;
use crate::config::CallbackPolicy;
use crate::dds::{Failure, FailureClass};
use crate::error::ErrorCode;
use crate::secret::Secret;
use crate::state::registration::Acceptance;

const INTERVAL: Duration = Duration::from_secs(600);
const RETRY: Duration = Duration::from_secs(120);

/// When each attempt began.
type Attempts = watch::Receiver<Vec<Instant>>;

/// A registered store that is registered again with these outcomes, one by one, and then without end.
fn reregistering(outcomes: Vec<Result<(), Failure>>) -> (Arc<Store>, Attempts) {
    let store = Arc::new(Store::default());
    register(&store);
    let (sender, began) = watch::channel(Vec::new());
    let task_store = Arc::clone(&store);
    let outcomes = Mutex::new(VecDeque::from(outcomes));
    tokio::spawn(async move {
        let policy = RetryPolicy::new(RETRY, -1);
        keep_reregistering(&task_store, INTERVAL, policy, || {
            sender.send_modify(|began| began.push(Instant::now()));
            let outcome = outcomes.lock().expect("no panic").pop_front().unwrap_or(Ok(()));
            async move { outcome.map(|()| None) }
        })
        .await;
    });
    (store, began)
}

fn register(store: &Store) -> u64 {
    let registration = store.begin_attempt().expect("not registered");
    assert!(store.finish_attempt(registration, None));
    registration
}

fn attempts(began: &Attempts) -> usize {
    began.borrow().len()
}

/// Waits until this attempt has ended.
async fn attempt(began: &Attempts, number: usize) {
    began.clone().wait_for(|began| began.len() >= number).await.expect("the task runs");
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_registered_node_registers_again_after_each_interval() {
    let (store, began) = reregistering(Vec::new());
    let start = Instant::now();
    let mut observed = store.observe();
    let before = store.status();
    observed.mark_unchanged();
    sleep(600 * 10).await;
    let began = began.borrow().clone();
    assert!((8..=12).contains(&began.len()), "{}", began.len());
    let mut previous = start;
    for at in began {
        let pause = at - previous;
        assert!(pause >= INTERVAL.mul_f64(0.8) && pause <= INTERVAL.mul_f64(1.21), "{pause:?}");
        previous = at;
    }
    assert_eq!(store.status().state, State::Registered);
    assert!(store.status().attempts > before.attempts);
    assert!(!observed.has_changed().expect("the store lives"), "no task is woken");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_reported_and_retried_while_the_node_stays_registered() {
    let conflict = Failure { class: FailureClass::Conflict, text: "409".into(), retry_after: None };
    let (store, began) = reregistering(vec![
        Err(Failure::refused("403".into())),
        Err(conflict),
        Err(Failure::retryable("503".into())),
    ]);
    let failures = |count, code| {
        let status = store.status();
        assert_eq!(status.state, State::Registered);
        assert_eq!((status.consecutive_failures, status.last_error), (count, code));
        assert_eq!(status.next_attempt_in().is_some(), code.is_some());
    };
    attempt(&began, 1).await;
    failures(1, Some(ErrorCode::Rejected));
    assert_eq!(store.last_error().expect("an error").message(), "403");
    attempt(&began, 2).await;
    failures(2, Some(ErrorCode::Rejected));
    attempt(&began, 3).await;
    failures(3, Some(ErrorCode::Unavailable));
    attempt(&began, 4).await;
    let began = began.borrow().clone();
    let pauses: Vec<_> = began.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] >= RETRY && pauses[1] >= RETRY && pauses[2] < RETRY, "{pauses:?}");
    failures(0, None);
    assert_eq!(store.last_error(), None);
}

#[tokio::test(start_paused = true)]
async fn a_second_secret_is_refused_after_registering_again() {
    let (store, began) = reregistering(Vec::new());
    let accept = |secret| store.accept_secret(Some(CallbackPolicy::PerRegistration), Secret::new(secret));
    assert_eq!(accept("first"), Acceptance::New(1));
    sleep(721).await;
    assert_eq!(attempts(&began), 1);
    assert_eq!(accept("second"), Acceptance::Another);
    assert_eq!(accept("first"), Acceptance::Same);
}

#[tokio::test(start_paused = true)]
async fn a_rearm_restarts_the_interval() {
    let (store, began) = reregistering(Vec::new());
    sleep(470).await;
    store.rearm().expect("not stopped");
    sleep(10_000).await;
    assert_eq!(attempts(&began), 0, "the registrar registers a node that is not registered");
    register(&store);
    sleep(470).await;
    assert_eq!(attempts(&began), 0);
    sleep(260).await;
    assert_eq!(attempts(&began), 1);
    store.stop(None);
    sleep(10_000).await;
    assert_eq!(attempts(&began), 1, "a stopped node does not register");
}
