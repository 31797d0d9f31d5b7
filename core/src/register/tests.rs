//! The retry policy and the registrar, on a paused clock: time passes only where the code sleeps.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::RegistrationConfig;
use super::attempt::Outcome;
use super::registrar::keep_registered;
use super::retry_policy::RetryPolicy;
use crate::backoff::MAX_BACKOFF;
use crate::config::CallbackPolicy;
use crate::dds::{Failure, FailureClass};
use crate::error::ErrorCode;
use crate::log::Level;
use crate::secret::Secret;
use crate::state::registration::Acceptance;
use crate::state::store::Store;
use crate::state::wait::Wait;
use crate::status::State;

const INTERVAL: Duration = Duration::from_secs(120);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn retryable() -> Failure {
    Failure::retryable("503".into())
}

fn retryable_after(retry_after: Duration) -> Failure {
    Failure { retry_after: Some(retry_after), ..retryable() }
}

fn conflict() -> Failure {
    Failure { class: FailureClass::Conflict, text: "409".into(), retry_after: None }
}

fn slow_retry() -> Failure {
    Failure::refused("403".into())
}

fn failed(failure: Failure) -> Outcome {
    Err(failure)
}

fn registered() -> Outcome {
    Ok(None)
}

/// Returns the outcomes of a script one by one, and records when each attempt began. After the last one it hangs.
struct Script {
    answers: Mutex<VecDeque<Outcome>>,
    began: Mutex<Vec<Instant>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Outcome>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), began: Mutex::default() })
    }

    async fn attempt(self: Arc<Self>) -> Option<Outcome> {
        self.began.lock().unwrap().push(Instant::now());
        let answer = self.answers.lock().unwrap().pop_front();
        match answer {
            Some(answer) => Some(answer),
            None => std::future::pending().await,
        }
    }

    fn attempts(&self) -> usize {
        self.began.lock().unwrap().len()
    }

    /// The times between the beginnings of the attempts.
    fn pauses(&self) -> Vec<Duration> {
        self.began.lock().unwrap().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

fn spawn_registrar(script: &Arc<Script>, max_retry: i32) -> Arc<Store> {
    let store = Arc::new(Store::default());
    let (task_store, script) = (Arc::clone(&store), Arc::clone(script));
    tokio::spawn(async move {
        let policy = RetryPolicy::new(INTERVAL, max_retry);
        keep_registered(&task_store, policy, |_| Arc::clone(&script).attempt()).await;
    });
    store
}

/// Lets the other tasks run until all of them wait.
async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

fn assert_jittered(pause: Duration, base: Duration) {
    assert!(
        pause >= base.mul_f64(0.8) && pause <= base.mul_f64(1.2) + Duration::from_millis(2),
        "{pause:?} for {base:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn backoff_doubles_up_to_a_minute() {
    let script = Script::new((0..8).map(|_| failed(retryable())).chain([registered()]));
    let store = spawn_registrar(&script, -1);
    store.wait_async(Wait::Registered).await.unwrap();

    let pauses = script.pauses();
    assert_eq!(pauses.len(), 8);
    for (pause, base) in pauses.into_iter().zip([2, 4, 8, 16, 32, 60, 60, 60]) {
        assert_jittered(pause, secs(base));
    }
}

#[test]
fn jitter_covers_its_whole_range() {
    let now = Instant::now();
    let pauses: Vec<_> =
        (0..1000).map(|_| RetryPolicy::new(INTERVAL, -1).failed(&retryable(), now).pause).collect();
    let (min, max) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
    assert!(*min >= secs(2).mul_f64(0.8) && *min < secs(2).mul_f64(0.85), "{min:?}");
    assert!(*max <= secs(2).mul_f64(1.2) && *max > secs(2).mul_f64(1.15), "{max:?}");
}

#[test]
fn retry_after_counts_when_longer_and_up_to_ten_minutes() {
    let now = Instant::now();
    let pause = |retry_after| RetryPolicy::new(INTERVAL, -1).failed(&retryable_after(retry_after), now).pause;
    // Many nodes may be told the same moment, so each comes at another one after it.
    let is_between =
        |pause: Duration, min, max| assert!(pause >= secs(min) && pause <= secs(max), "{pause:?}");
    is_between(pause(secs(30)), 30, 36);
    is_between(pause(secs(600)), 600, 660);
    is_between(pause(secs(601)), 600, 660);
    is_between(pause(Duration::MAX), 600, 660);
    assert_jittered(pause(secs(1)), secs(2));
    assert_jittered(pause(Duration::ZERO), secs(2));
    // It also makes the pause after max_retry longer, which is one interval.
    let mut policy = RetryPolicy::new(INTERVAL, 1);
    is_between(policy.failed(&retryable_after(secs(300)), now).pause, 300, 360);
    assert_eq!(policy.failed(&retryable_after(secs(3)), now).pause, INTERVAL);
}

#[test]
fn a_longer_retry_after_replaces_the_interval_after_a_conflict_or_refusal() {
    let now = Instant::now();
    for failure in [conflict(), slow_retry()] {
        let pause = |retry_after| {
            let failure = Failure { retry_after: Some(retry_after), ..failure.clone() };
            RetryPolicy::new(INTERVAL, -1).failed(&failure, now).pause
        };
        assert_eq!(pause(secs(119)), INTERVAL);
        assert_eq!(pause(secs(121)), secs(121));
        assert_eq!(pause(Duration::MAX), secs(600));
    }
}

#[tokio::test(start_paused = true)]
async fn max_retry_pauses_for_one_interval_and_starts_over() {
    let script = Script::new((0..7).map(|_| failed(retryable())).chain([registered()]));
    let store = spawn_registrar(&script, 3);
    store.wait_async(Wait::Registered).await.unwrap();

    let pauses = script.pauses();
    for (at, base) in [(0, 2), (1, 4), (3, 2), (4, 4), (6, 2)] {
        assert_jittered(pauses[at], secs(base));
    }
    for at in [2, 5] {
        assert_eq!(pauses[at].as_secs(), INTERVAL.as_secs());
    }
}

#[test]
fn max_retry_zero_pauses_after_each_failure_and_minus_one_never() {
    let now = Instant::now();
    let mut at_once = RetryPolicy::new(INTERVAL, 0);
    let mut never = RetryPolicy::new(INTERVAL, -1);
    for _ in 0..50 {
        assert_eq!(at_once.failed(&retryable(), now).pause, INTERVAL);
        assert!(never.failed(&retryable(), now).pause <= MAX_BACKOFF.mul_f64(1.2));
    }
}

#[tokio::test(start_paused = true)]
async fn conflicts_and_lasting_refusals_are_retried_after_the_interval() {
    for refusal in [conflict, slow_retry] {
        let script = Script::new((0..3).map(|_| failed(refusal())).chain([registered()]));
        let store = spawn_registrar(&script, 0);
        store.wait_async(Wait::Registered).await.unwrap();
        assert_eq!(script.pauses().iter().map(Duration::as_secs).collect::<Vec<_>>(), [120, 120, 120]);
    }
}

#[test]
fn each_kind_of_failure_warns_once_in_three_minutes() {
    for refusal in [conflict, slow_retry, retryable] {
        let mut policy = RetryPolicy::new(INTERVAL, -1);
        let start = Instant::now();
        let levels: Vec<_> = (0..=370)
            .map(|second| (second, policy.failed(&refusal(), start + secs(second)).level))
            .filter(|(_, level)| *level == Level::Warn)
            .map(|(second, _)| second)
            .collect();
        assert_eq!(levels, [0, 180, 360]);
    }
    // Each kind has its own limit, and a failure of another kind does not reset it.
    let mut policy = RetryPolicy::new(INTERVAL, -1);
    let now = Instant::now();
    let kinds = [conflict(), slow_retry(), retryable(), conflict(), slow_retry(), retryable()];
    let levels: Vec<_> = kinds.iter().map(|attempt| policy.failed(attempt, now).level).collect();
    assert_eq!(levels[..3], [Level::Warn; 3]);
    assert_eq!(levels[3..], [Level::Debug; 3]);
}

#[test]
fn a_failure_of_another_kind_resets_the_backoff() {
    let now = Instant::now();
    for other in [conflict(), slow_retry()] {
        let mut policy = RetryPolicy::new(INTERVAL, -1);
        for _ in 0..4 {
            policy.failed(&retryable(), now);
        }
        policy.failed(&other, now);
        assert_jittered(policy.failed(&retryable(), now).pause, secs(2));
    }
}

#[tokio::test(start_paused = true)]
async fn success_resets_backoff_warnings_and_status() {
    let mut policy = RetryPolicy::new(INTERVAL, -1);
    let now = Instant::now();
    for attempt in [retryable(), retryable(), conflict(), slow_retry(), retryable()] {
        policy.failed(&attempt, now);
    }
    policy.succeeded();
    let next = policy.failed(&retryable(), now);
    assert_jittered(next.pause, secs(2));
    for attempt in [conflict(), slow_retry()] {
        assert_eq!(policy.failed(&attempt, now).level, Level::Warn);
    }

    let script = Script::new([
        failed(retryable()),
        failed(retryable()),
        registered(),
        failed(retryable()),
        registered(),
    ]);
    let store = spawn_registrar(&script, -1);
    store.wait_async(Wait::Registered).await.unwrap();
    let status = store.status();
    assert_eq!((status.attempts, status.consecutive_failures, status.last_error), (3, 0, None));
    assert!(status.registered_at.is_some() && status.next_attempt_in().is_none());
    assert_eq!(store.last_error(), None);
    store.rearm().unwrap();
    store.wait_async(Wait::Registered).await.unwrap();
    assert_jittered(script.pauses()[3], secs(2));
}

#[tokio::test(start_paused = true)]
async fn failures_show_in_the_status() {
    let script = Script::new([failed(retryable()), failed(slow_retry())]);
    let store = spawn_registrar(&script, -1);
    settle().await;
    let status = store.status();
    assert_eq!(status.state, State::Registering);
    assert_eq!((status.attempts, status.consecutive_failures), (1, 1));
    assert_eq!(status.last_error, Some(ErrorCode::Unavailable));
    assert!(status.next_attempt_in().is_some_and(|pause| pause <= secs(2).mul_f64(1.2)));

    tokio::time::sleep(secs(3)).await;
    assert_eq!(store.status().last_error, Some(ErrorCode::Rejected));
    assert_eq!(store.last_error().unwrap().message(), "403");
}

#[tokio::test(start_paused = true)]
async fn a_rearm_ends_every_kind_of_sleep_at_once() {
    // A backoff, one that Retry-After made longer, after max_retry, after a conflict, after a refusal, parked, and
    // an attempt that hangs.
    let sleeps = [
        (vec![failed(retryable())], -1),
        (vec![failed(retryable_after(secs(500)))], -1),
        (vec![failed(retryable())], 1),
        (vec![failed(conflict())], -1),
        (vec![failed(slow_retry())], -1),
        (vec![registered()], -1),
        (vec![], -1),
    ];
    for (before, max_retry) in sleeps {
        let begun = before.len().max(1);
        let mut answers = before;
        if !answers.is_empty() {
            answers.push(registered());
        }
        let script = Script::new(answers);
        let store = spawn_registrar(&script, max_retry);
        settle().await;
        assert_eq!(script.attempts(), begun);

        store.rearm().unwrap();
        let at = Instant::now();
        assert_eq!(store.status().state, State::Disconnected);
        settle().await;
        assert_eq!(script.attempts(), begun + 1);
        assert_eq!(*script.began.lock().unwrap().last().unwrap(), at);
    }
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_after_a_stop() {
    let script = Script::new([registered(), registered()]);
    let store = spawn_registrar(&script, -1);
    store.wait_async(Wait::Registered).await.unwrap();
    store.stop(None);
    assert_eq!(store.begin_attempt(), None);
    tokio::time::sleep(secs(86_400)).await;
    assert_eq!(script.attempts(), 1);
    let status = store.status();
    assert!(!status.running && status.state == State::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn a_parked_registrar_makes_no_attempt() {
    let script = Script::new([registered()]);
    let store = spawn_registrar(&script, -1);
    store.wait_async(Wait::Registered).await.unwrap();
    tokio::time::sleep(secs(30 * 86_400)).await;
    assert_eq!(script.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_callback_during_a_pause_parks_the_registrar() {
    let script = Script::new([failed(retryable())]);
    let store = spawn_registrar(&script, -1);
    settle().await;
    store.hand_in(0);
    let accepted = store.accept_secret(Some(CallbackPolicy::PerRegistration), Secret::new("from DDS"));
    assert_eq!(accepted, Acceptance::New(1));
    tokio::time::sleep(secs(86_400)).await;
    assert_eq!(script.attempts(), 1);
    assert_eq!(store.status().state, State::Registered);
}

#[tokio::test(start_paused = true)]
async fn a_callback_resets_the_backoff() {
    let script = Script::new((0..4).map(|_| failed(retryable())).chain([registered()]));
    let store = spawn_registrar(&script, -1);
    while script.attempts() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    settle().await;
    store.hand_in(0);
    store.accept_secret(Some(CallbackPolicy::PerRegistration), Secret::new("from DDS"));
    settle().await;
    store.rearm().unwrap();
    store.wait_async(Wait::Registered).await.unwrap();
    assert_jittered(script.pauses()[3], secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_loop_waits_while_another_one_makes_an_attempt() {
    let store = Arc::new(Store::default());
    let turns = Arc::new(Mutex::new(Vec::new()));
    let (task_store, task_turns) = (Arc::clone(&store), Arc::clone(&turns));
    tokio::spawn(async move {
        keep_registered(&task_store, RetryPolicy::new(INTERVAL, -1), |_| {
            let mut turns = task_turns.lock().unwrap();
            turns.push(Instant::now());
            let ours = turns.len() == 3;
            async move { ours.then(registered) }
        })
        .await;
    });
    store.wait_async(Wait::Registered).await.unwrap();
    let turns = turns.lock().unwrap();
    assert_eq!((turns[2] - turns[0]).as_secs(), 2 * INTERVAL.as_secs());
    assert_eq!(store.status().consecutive_failures, 0);
}

#[test]
fn debug_hides_the_secrets_of_a_configuration() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = RegistrationConfig {
        dds_base_url: "https://dds.auki.network".into(),
        node_version: "1.0.0".into(),
        reg_secret: "s3cr3t".into(),
        secp256k1_privhex: "0xdeadbeef".into(),
        client: reqwest::Client::new(),
        register_interval_secs: 60,
        max_retry: -1,
        capabilities: vec!["/a".into()],
    };
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cr3t") && !shown.contains("deadbeef"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_loop_of_rearms_makes_ten_attempts_at_once_and_then_one_per_second() {
    let script = Script::new(std::iter::repeat_with(registered).take(1000));
    let store = spawn_registrar(&script, -1);
    store.wait_async(Wait::Registered).await.unwrap();
    for second in 0..5 {
        for _ in 0..100 {
            store.rearm().unwrap();
            settle().await;
        }
        assert_eq!(script.attempts(), 1 + 10 + second, "after {second} s");
        assert_eq!(store.status().state, State::Disconnected);
        assert!(store.status().next_attempt_in().is_some_and(|wait| wait <= secs(1)));
        tokio::time::advance(secs(1)).await;
        settle().await;
    }
    // The last re-arm is not lost, and nothing happens after the loop of re-arms has ended.
    store.wait_async(Wait::Registered).await.unwrap();
    assert_eq!(script.attempts(), 1 + 10 + 5);
    tokio::time::advance(secs(60)).await;
    settle().await;
    assert_eq!(script.attempts(), 1 + 10 + 5);
}
