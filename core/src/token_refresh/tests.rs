//! When the refresher signs in, on a paused clock: time passes only where the code sleeps.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::*;
use crate::error::{Error, ErrorCode};
use crate::secret::Secret;
use crate::token::AccessToken;

const HOUR: Duration = Duration::from_secs(3600);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn token(value: &str, lifetime: Duration) -> CachedToken {
    CachedToken::new(AccessToken::new(Secret::new(value), SystemTime::now() + lifetime), lifetime, None)
}

fn failure(class: FailureClass, text: &str) -> Failure {
    Failure { class, text: text.into(), retry_after: None }
}

fn unavailable() -> Failure {
    Failure::retryable("503".into())
}

fn refused() -> Failure {
    Failure::refused("403".into())
}

fn unknown() -> Failure {
    failure(FailureClass::UnknownNode, "node not found")
}

/// A refresher, a registrar whose every attempt succeeds at once, and a DDS that returns the answers of a script. After
/// those, every sign-in brings a token for an hour.
struct Setup {
    store: Arc<Store>,
    answers: Mutex<VecDeque<Result<CachedToken, Failure>>>,
    sign_ins: Mutex<Vec<Instant>>,
    registrations: Mutex<Vec<Instant>>,
    /// The tokens, each for an hour, that registrations bring, as those of a robot do. After these, they bring none.
    registration_tokens: Mutex<VecDeque<&'static str>>,
}

impl Setup {
    fn new(answers: impl IntoIterator<Item = Result<CachedToken, Failure>>) -> Arc<Self> {
        let setup = Arc::new(Self {
            store: Arc::default(),
            answers: Mutex::new(answers.into_iter().collect()),
            sign_ins: Mutex::default(),
            registrations: Mutex::default(),
            registration_tokens: Mutex::default(),
        });
        let refresher = Arc::clone(&setup);
        tokio::spawn(async move { refresh_token(&refresher.store, || refresher.sign_in()).await });
        let registrar = Arc::clone(&setup);
        tokio::spawn(async move { registrar.register().await });
        setup
    }

    async fn sign_in(&self) -> Result<CachedToken, Failure> {
        let count = {
            let mut sign_ins = self.sign_ins.lock().unwrap();
            sign_ins.push(Instant::now());
            sign_ins.len()
        };
        let answer = self.answers.lock().unwrap().pop_front();
        tokio::task::yield_now().await;
        answer.unwrap_or_else(|| Ok(token(&format!("token {count}"), HOUR)))
    }

    async fn register(&self) {
        let mut observed = self.store.observe();
        loop {
            until(&mut observed, |now| now.state != State::Registered).await;
            self.registrations.lock().unwrap().push(Instant::now());
            let registration = self.store.begin_attempt().expect("not stopped");
            let value = self.registration_tokens.lock().unwrap().pop_front();
            assert!(self.store.finish_attempt(registration, value.map(|value| token(value, HOUR))));
        }
    }

    async fn token(&self) -> Result<String, Error> {
        self.store.access_token_async().await.map(|token| token.value().to_owned())
    }

    fn sign_ins(&self) -> usize {
        self.sign_ins.lock().unwrap().len()
    }

    fn registrations(&self) -> usize {
        self.registrations.lock().unwrap().len()
    }

    /// The time between the sign-ins.
    fn pauses(&self) -> Vec<Duration> {
        self.sign_ins.lock().unwrap().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

/// Lets every other task run until all of them wait.
async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

fn assert_between(pause: Duration, min: Duration, max: Duration) {
    assert!(pause >= min && pause <= max + Duration::from_millis(2), "{pause:?} for {min:?} to {max:?}");
}

fn assert_jittered(pause: Duration, base: u64) {
    assert_between(pause, secs(base).mul_f64(0.8), secs(base).mul_f64(1.2));
}

#[tokio::test(start_paused = true)]
async fn the_first_sign_in_waits_for_the_first_caller() {
    let setup = Setup::new([]);
    tokio::time::sleep(secs(30 * 86_400)).await;
    assert_eq!((setup.registrations(), setup.sign_ins()), (1, 0));
    setup.store.invalidate_token().unwrap();
    setup.store.rearm().unwrap();
    settle().await;
    assert_eq!((setup.registrations(), setup.sign_ins()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refreshed_before_it_expires_again_and_again() {
    let setup = Setup::new([]);
    assert_eq!(setup.token().await.unwrap(), "token 1");
    for hour in 0..20 {
        tokio::time::sleep(HOUR).await;
        let cached = setup.store.cached_token();
        let cached = cached.as_ref().expect("a token");
        assert!(cached.if_usable().is_some(), "hour {hour}");
    }
    let pauses = setup.pauses();
    assert!(pauses.len() >= 24, "{pauses:?}");
    for pause in pauses {
        assert_between(pause, HOUR.mul_f64(0.7), HOUR.mul_f64(0.8));
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_share_one_sign_in() {
    let setup = Setup::new([]);
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let setup = Arc::clone(&setup);
            tokio::spawn(async move { setup.token().await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), "token 1");
    }
    assert_eq!(setup.sign_ins(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_dds_is_retried_with_the_backoff_of_registration() {
    let setup = Setup::new((0..7).map(|_| Err(unavailable())));
    assert_eq!(setup.token().await.unwrap(), "token 8");
    for (pause, base) in setup.pauses().into_iter().zip([2, 4, 8, 16, 32, 60, 60]) {
        assert_jittered(pause, base);
    }
    assert_eq!(setup.store.status().sign_in_failures, 0);

    // A success ends the backoff and the pause that DDS asked for.
    let long = Failure { retry_after: Some(secs(300)), ..unavailable() };
    let setup = Setup::new([Err(unavailable()), Ok(token("first", HOUR)), Err(long), Err(unavailable())]);
    assert_eq!(setup.token().await.unwrap(), "first");
    setup.store.invalidate_token().unwrap();
    assert_eq!(setup.token().await.unwrap(), "token 5");
    let pauses = setup.pauses();
    assert_jittered(pauses[0], 2);
    assert_between(pauses[2], secs(300), secs(360));
    assert_jittered(pauses[3], 4);
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_is_retried_while_the_old_token_is_handed_out() {
    let setup = Setup::new([Ok(token("old", HOUR)), Err(unavailable()), Err(refused())]);
    assert_eq!(setup.token().await.unwrap(), "old");
    while setup.sign_ins() < 4 {
        assert_eq!(setup.token().await.unwrap(), "old");
        tokio::time::sleep(secs(1)).await;
    }
    settle().await;
    assert_eq!(setup.token().await.unwrap(), "token 4");
    assert_jittered(setup.pauses()[1], 2);
    assert_jittered(setup.pauses()[2], 4);
}

#[tokio::test(start_paused = true)]
async fn callers_receive_a_refusal_at_once_until_the_next_sign_in_is_due() {
    let setup = Setup::new([Err(refused()), Err(failure(FailureClass::Conflict, "409"))]);
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let setup = Arc::clone(&setup);
            tokio::spawn(async move { setup.token().await })
        })
        .collect();
    for caller in waiting {
        assert_eq!(caller.await.unwrap().unwrap_err().code(), ErrorCode::Rejected);
    }
    for _ in 0..100 {
        assert_eq!(setup.token().await.unwrap_err().message(), "403");
    }
    assert_eq!(setup.sign_ins(), 1);
    let status = setup.store.status();
    assert_eq!((status.sign_in_failures, status.last_error), (1, None), "the registration has not failed");

    // A caller that asks while the next sign-in is under way waits for it.
    tokio::time::sleep(secs(3)).await;
    assert_eq!(setup.token().await.unwrap_err().message(), "409");
    tokio::time::sleep(secs(5)).await;
    assert_eq!(setup.token().await.unwrap(), "token 3");
    assert_jittered(setup.pauses()[0], 2);
    assert_jittered(setup.pauses()[1], 4);
}

#[tokio::test(start_paused = true)]
async fn a_new_registration_ends_the_pause_after_a_refusal() {
    let setup = Setup::new([Err(Failure { retry_after: Some(secs(600)), ..refused() })]);
    assert_eq!(setup.token().await.unwrap_err().code(), ErrorCode::Rejected);
    let began = Instant::now();
    setup.store.rearm().unwrap();
    settle().await;
    assert_eq!(setup.token().await.unwrap(), "token 2");
    assert_eq!(Instant::now(), began);
}

#[tokio::test(start_paused = true)]
async fn a_lost_node_registers_again_at_once_and_only_once() {
    let setup = Setup::new([Ok(token("old", HOUR)), Err(unknown())]);
    assert_eq!(setup.token().await.unwrap(), "old");
    tokio::time::sleep(HOUR.mul_f64(0.81)).await;
    // The token had not expired, but DDS no longer knows the node.
    assert_eq!(setup.token().await.unwrap(), "token 3");
    assert_eq!(setup.registrations(), 2);
    assert_eq!(setup.pauses()[1], Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_lost_node_has_its_next_token_at_once() {
    let setup = Setup::new([Ok(token("old", HOUR)), Err(unknown())]);
    assert_eq!(setup.token().await.unwrap(), "old");
    // A service refuses the token, because DDS has forgotten the node.
    setup.store.invalidate_token().unwrap();
    assert_eq!(setup.token().await.unwrap(), "token 3");
    assert_eq!(setup.pauses(), [Duration::ZERO; 2]);
    // The new token has replaced a refused one, so the next one takes its time.
    setup.store.invalidate_token().unwrap();
    assert_eq!(setup.token().await.unwrap(), "token 4");
    assert_eq!(setup.pauses()[2], MIN_LIFE);
}

#[tokio::test(start_paused = true)]
async fn the_token_of_a_lost_node_is_not_handed_out() {
    let store = Store::default();
    let registration = store.begin_attempt().expect("not registered");
    assert!(store.finish_attempt(registration, None));
    let attempt = store.begin_sign_in().expect("registered");
    assert!(store.finish_sign_in(&attempt, token("old", HOUR)));
    store.fail_sign_in(&unavailable().to_error(), AfterFailure::Wait);
    store.fail_sign_in(&refused().to_error(), AfterFailure::Fail);
    assert!(store.usable_token().is_some());
    store.fail_sign_in(&unknown().to_error(), AfterFailure::Register);
    assert!(store.usable_token().is_none());
    let status = store.status();
    assert_eq!((status.token_expires_at, status.sign_in_failures), (None, 3));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_unknown_right_after_it_registered_backs_off() {
    let setup = Setup::new((0..5).map(|_| Err(unknown())));
    assert_eq!(setup.token().await.unwrap(), "token 6");
    let pauses = setup.pauses();
    assert_eq!(pauses[0], Duration::ZERO);
    for (pause, base) in pauses[1..].iter().zip([4, 8, 16, 32]) {
        assert_jittered(*pause, base);
    }
    assert_eq!(setup.registrations(), 6);

    // The next loss is a new one.
    setup.answers.lock().unwrap().push_back(Err(unknown()));
    tokio::time::sleep(HOUR).await;
    assert_eq!(setup.pauses()[6], Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_token_of_a_registration_ends_a_series_of_failures() {
    let setup = Setup::new([Err(unknown()), Err(unknown())]);
    setup.registration_tokens.lock().unwrap().extend(["first", "second", "third"]);
    settle().await;
    assert_eq!(setup.token().await.unwrap(), "first");
    // Each refresh finds that DDS has forgotten the node, which registers at once.
    for value in ["second", "third"] {
        tokio::time::sleep(HOUR).await;
        assert_eq!(setup.token().await.unwrap(), value);
    }
    assert_eq!(setup.registrations.lock().unwrap()[1..], setup.sign_ins.lock().unwrap()[..]);
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_a_rearm_has_overtaken_does_not_count() {
    let setup = Setup::new([]);
    settle().await;
    let attempt = setup.store.begin_sign_in().expect("registered");
    setup.store.rearm().unwrap();
    settle().await;
    assert!(!setup.store.lose_registration(attempt.registration, LossReason::UnknownNode, "node not found"));
    assert_eq!(setup.registrations(), 2);
    let attempt = setup.store.begin_sign_in().expect("registered again");
    assert!(setup.store.lose_registration(attempt.registration, LossReason::UnknownNode, "node not found"));
    assert!(
        !setup.store.lose_registration(attempt.registration, LossReason::UnknownNode, "node not found"),
        "once per loss"
    );
    assert!(setup.store.begin_sign_in().is_none(), "not registered");
}

#[tokio::test(start_paused = true)]
async fn a_token_after_an_invalidation_is_newer_than_the_invalidation() {
    let setup = Setup::new([]);
    assert_eq!(setup.token().await.unwrap(), "token 1");
    setup.store.invalidate_token_if("token 0").unwrap();
    assert_eq!(setup.token().await.unwrap(), "token 1");
    setup.store.invalidate_token_if("token 1").unwrap();
    // The token is invalidated while the sign-in is under way.
    while setup.sign_ins() < 2 {
        tokio::task::yield_now().await;
    }
    setup.store.invalidate_token_if("token 1").unwrap();
    assert_eq!(setup.token().await.unwrap(), "token 2", "it is another one");

    tokio::time::sleep(secs(10)).await;
    setup.store.invalidate_token().unwrap();
    tokio::task::yield_now().await;
    assert_eq!(setup.sign_ins(), 3, "under way");
    setup.store.invalidate_token().unwrap();
    assert_eq!(setup.token().await.unwrap(), "token 4");
}

#[tokio::test(start_paused = true)]
async fn only_the_second_refusal_within_a_second_waits() {
    let setup = Setup::new([]);
    let began = Instant::now();
    let mut came = Vec::new();
    for _ in 0..4 {
        let value = setup.token().await.unwrap();
        came.push(Instant::now() - began);
        setup.store.invalidate_token_if(&value).unwrap();
    }
    assert_between(came[1], Duration::ZERO, Duration::ZERO);
    assert_between(came[2], secs(1), secs(1));
    assert_between(came[3], secs(2), secs(2));

    // After a second without a refusal, the next one is the first again.
    let value = setup.token().await.unwrap();
    tokio::time::sleep(secs(1)).await;
    for expected in [Duration::ZERO, secs(1)] {
        let refused = Instant::now();
        setup.store.invalidate_token().unwrap();
        assert_ne!(setup.token().await.unwrap(), value);
        assert_between(refused.elapsed(), expected, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn refused_and_expired_tokens_cause_at_most_one_sign_in_per_second() {
    let setup = Setup::new([]);
    let until = Instant::now() + secs(60);
    while Instant::now() < until {
        let value = setup.token().await.unwrap();
        setup.store.invalidate_token_if(&value).unwrap();
        assert!(setup.sign_ins() <= 62, "{}", setup.sign_ins());
    }

    // Tokens that have expired when they arrive: the caller waits for the first that has not.
    let setup = Setup::new((0..60).map(|_| Ok(token("expired", Duration::ZERO))));
    assert_eq!(setup.token().await.unwrap(), "token 61");
    for pause in setup.pauses() {
        assert_between(pause, secs(1), secs(1));
    }

    // Tokens that are due for a refresh before the second is over, without a caller.
    let setup = Setup::new((0..60).map(|_| Ok(token("short", secs(1)))));
    setup.token().await.unwrap();
    tokio::time::sleep(secs(50)).await;
    let pauses = setup.pauses();
    assert!(pauses.len() >= 49, "{pauses:?}");
    for pause in pauses {
        assert_between(pause, secs(1), secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_every_wait_and_drops_the_token() {
    let setup = Setup::new([]);
    setup.token().await.unwrap();
    let weak = Arc::downgrade(setup.store.cached_token().as_ref().expect("a token"));
    setup.answers.lock().unwrap().push_back(Err(Failure { retry_after: Some(secs(600)), ..unavailable() }));
    setup.store.invalidate_token().unwrap();
    assert!(weak.upgrade().is_none(), "zeroized");
    let waiting = tokio::spawn({
        let setup = Arc::clone(&setup);
        async move { setup.token().await }
    });
    settle().await;
    setup.store.stop(None);
    assert_eq!(waiting.await.unwrap().unwrap_err().code(), ErrorCode::Stopped);
    assert_eq!(setup.token().await.unwrap_err().code(), ErrorCode::Stopped);
    assert_eq!(setup.store.invalidate_token().unwrap_err().code(), ErrorCode::Stopped);
    assert_eq!(setup.store.status().token_expires_at, None);
}
