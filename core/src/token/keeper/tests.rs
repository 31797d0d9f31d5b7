//! When the keeper signs in, on a paused clock: time passes only where the code sleeps.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::*;
use crate::error::{Error, ErrorCode};
use crate::secret::Secret;
use crate::token::{AccessToken, Issued};

const HOUR: Duration = Duration::from_secs(3600);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn token(value: &str, lifetime: Duration) -> Held {
    let issued = Issued { value: Secret::new(value), expires_at: SystemTime::now() + lifetime };
    Held::new(AccessToken(Arc::new(issued)), lifetime)
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

/// A keeper, a registrar whose every attempt succeeds at once, and a DDS that plays the answers of a script;
/// after those every sign-in brings a token for an hour.
struct Setup {
    store: Arc<Store>,
    answers: Mutex<VecDeque<Result<Held, Failure>>>,
    sign_ins: Mutex<Vec<Instant>>,
    registrations: Mutex<Vec<Instant>>,
}

impl Setup {
    fn new(answers: impl IntoIterator<Item = Result<Held, Failure>>) -> Arc<Self> {
        let setup = Arc::new(Self {
            store: Arc::default(),
            answers: Mutex::new(answers.into_iter().collect()),
            sign_ins: Mutex::default(),
            registrations: Mutex::default(),
        });
        let keeper = Arc::clone(&setup);
        tokio::spawn(async move { keep_token(&keeper.store, || keeper.sign_in()).await });
        let registrar = Arc::clone(&setup);
        tokio::spawn(async move { registrar.register().await });
        setup
    }

    async fn sign_in(&self) -> Result<Held, Failure> {
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
        let mut signal = self.store.signal();
        loop {
            until(&mut signal, |now| now.state != State::Registered).await;
            self.registrations.lock().unwrap().push(Instant::now());
            let registration = self.store.begin_attempt().expect("not stopped");
            assert!(self.store.finish_attempt(registration));
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
async fn nothing_happens_before_somebody_asks() {
    let setup = Setup::new([]);
    tokio::time::sleep(secs(30 * 86_400)).await;
    assert_eq!((setup.registrations(), setup.sign_ins()), (1, 0));
    setup.store.invalidate_token().unwrap();
    setup.store.rearm().unwrap();
    settle().await;
    assert_eq!((setup.registrations(), setup.sign_ins()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refreshed_before_it_gets_old_for_ever() {
    let setup = Setup::new([]);
    assert_eq!(setup.token().await.unwrap(), "token 1");
    for hour in 0..20 {
        tokio::time::sleep(HOUR).await;
        let held = setup.store.token.load_full().expect("a token");
        assert!(held.if_good().is_some(), "hour {hour}");
    }
    let pauses = setup.pauses();
    assert!(pauses.len() >= 24, "{pauses:?}");
    for pause in pauses {
        assert_between(pause, HOUR.mul_f64(0.7), HOUR.mul_f64(0.8));
    }
}

#[tokio::test(start_paused = true)]
async fn one_sign_in_for_however_many_callers() {
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
async fn a_dds_out_of_reach_is_asked_again_with_the_backoff_of_registering() {
    let setup = Setup::new((0..7).map(|_| Err(unavailable())));
    assert_eq!(setup.token().await.unwrap(), "token 8");
    for (pause, base) in setup.pauses().into_iter().zip([2, 4, 8, 16, 32, 60, 60]) {
        assert_jittered(pause, base);
    }
    assert_eq!(setup.store.status().sign_in_failures, 0);

    // A success ends the backoff, and so does not wait for what DDS asked before.
    let long = Failure { retry_after: Some(secs(300)), ..unavailable() };
    let setup = Setup::new([Err(unavailable()), Ok(token("first", HOUR)), Err(long), Err(unavailable())]);
    assert_eq!(setup.token().await.unwrap(), "first");
    setup.store.invalidate_token().unwrap();
    assert_eq!(setup.token().await.unwrap(), "token 5");
    let pauses = setup.pauses();
    assert_jittered(pauses[0], 2);
    assert_between(pauses[2], secs(300), secs(300));
    assert_jittered(pauses[3], 4);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_is_repeated_while_the_old_token_is_handed_out() {
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
async fn a_refusal_is_told_at_once_until_the_next_sign_in_is_due() {
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

    // Who asks when the next one is under way waits for it.
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
async fn a_lost_registration_is_made_anew_at_once_and_once() {
    let setup = Setup::new([Ok(token("old", HOUR)), Err(unknown())]);
    assert_eq!(setup.token().await.unwrap(), "old");
    tokio::time::sleep(HOUR.mul_f64(0.81)).await;
    // Old as it was, it had a life to go; but DDS does not know whom it gave it to.
    assert_eq!(setup.token().await.unwrap(), "token 3");
    assert_eq!(setup.registrations(), 2);
    assert_eq!(setup.pauses()[1], Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_dds_gave_a_node_that_it_does_not_know_is_not_handed_out() {
    let store = Store::default();
    let registration = store.begin_attempt().expect("not registered");
    assert!(store.finish_attempt(registration));
    let flight = store.begin_sign_in().expect("registered");
    assert!(store.finish_sign_in(&flight, token("old", HOUR)));
    store.fail_sign_in(&unavailable().to_error(), Meaning::Passing);
    store.fail_sign_in(&refused().to_error(), Meaning::Refused);
    assert!(store.good_token().is_some());
    store.fail_sign_in(&unknown().to_error(), Meaning::UnknownNode);
    assert!(store.good_token().is_none());
    let status = store.status();
    assert_eq!((status.token_expires_at, status.sign_in_failures), (None, 3));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_unknown_right_after_registering_does_not_go_in_circles() {
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
async fn a_loss_that_a_re_arm_has_overtaken_is_none() {
    let setup = Setup::new([]);
    settle().await;
    let flight = setup.store.begin_sign_in().expect("registered");
    setup.store.rearm().unwrap();
    settle().await;
    assert!(!setup.store.lose_registration(flight.registration, "node not found"));
    assert_eq!(setup.registrations(), 2);
    let flight = setup.store.begin_sign_in().expect("registered again");
    assert!(setup.store.lose_registration(flight.registration, "node not found"));
    assert!(!setup.store.lose_registration(flight.registration, "node not found"), "once per loss");
    assert!(setup.store.begin_sign_in().is_none(), "not registered");
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_an_invalidation_is_newer_than_it() {
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
async fn tokens_that_nobody_takes_make_no_storm() {
    let setup = Setup::new([]);
    let until = Instant::now() + secs(60);
    while Instant::now() < until {
        let value = setup.token().await.unwrap();
        setup.store.invalidate_token_if(&value).unwrap();
        assert!(setup.sign_ins() <= 62, "{}", setup.sign_ins());
    }

    // Nor do those that are old when they come.
    let setup = Setup::new((0..60).map(|_| Ok(token("short", Duration::from_millis(1)))));
    setup.token().await.unwrap();
    tokio::time::sleep(secs(50)).await;
    assert!((45..=51).contains(&setup.sign_ins()), "{}", setup.sign_ins());
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_every_wait_and_lets_go_of_the_token() {
    let setup = Setup::new([]);
    setup.token().await.unwrap();
    let weak = Arc::downgrade(&setup.store.token.load_full().expect("a token").token.0);
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
