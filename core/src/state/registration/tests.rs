use super::*;
use crate::error::ErrorCode;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn unavailable() -> Error {
    Error::new(ErrorCode::Unavailable, "503")
}

fn conflict() -> Error {
    Error::new(ErrorCode::Rejected, "409")
}

#[test]
fn no_attempt_begins_while_registered() {
    let store = Store::default();
    let registration = store.begin_attempt().expect("not registered");
    store.hand_in(registration);
    let accepted = store.accept_secret(Some(CallbackPolicy::PerRegistration), Secret::new("s"));
    assert_eq!(accepted, Acceptance::New(1));
    assert_eq!(store.begin_attempt(), None);
    assert_eq!((store.status().state, store.status().attempts), (State::Registered, 1));
    store.rearm().expect("not stopped");
    assert_eq!(store.begin_attempt(), Some(registration + 1));
}

#[test]
fn a_failure_after_a_callback_does_not_count() {
    let store = Store::default();
    let registration = store.begin_attempt().unwrap();
    store.hand_in(registration);
    store.accept_secret(Some(CallbackPolicy::PerRegistration), Secret::new("from DDS"));
    assert!(!store.fail_attempt(registration, &unavailable(), secs(2)));
    assert_eq!(store.status().state, State::Registered);
    assert_eq!(store.status().consecutive_failures, 0);
}

#[test]
fn an_attempt_that_a_rearm_overtook_does_not_count() {
    let store = Store::default();
    let registration = store.begin_attempt().unwrap();
    store.rearm().unwrap();
    assert!(!store.finish_attempt(registration, None));
    assert!(!store.fail_attempt(registration, &unavailable(), secs(2)));
    assert_eq!(store.status().state, State::Disconnected);
}

/// A moment at which a callback can arrive, how to get there, and whether the callback then confirms the registration.
type Moment = (&'static str, fn(&Store), bool);

const MOMENTS: [Moment; 12] = [
    ("not started", |_| {}, false),
    ("before the hand-in", |store| begin(store, 0), false),
    ("the hand-in is in flight", |store| hand_in(store, 0), true),
    ("accepted", |store| succeed(store, 0), true),
    ("refused", |store| refuse(store, 0), false),
    (
        "refused, and the next challenge is being fetched",
        |store| {
            refuse(store, 0);
            begin(store, 0);
        },
        false,
    ),
    (
        "refused, and handed in again",
        |store| {
            refuse(store, 0);
            hand_in(store, 0);
        },
        true,
    ),
    ("no response", |store| get_no_response(store, 0), true),
    (
        "no response, then refused",
        |store| {
            get_no_response(store, 0);
            refuse(store, 0);
        },
        false,
    ),
    (
        "re-armed from a hand-in",
        |store| {
            hand_in(store, 0);
            store.rearm().unwrap();
            begin(store, 1);
        },
        false,
    ),
    (
        "lost",
        |store| {
            succeed(store, 0);
            assert!(store.lose_registration(0, LossReason::ProbesStopped, "no probe"));
        },
        false,
    ),
    (
        "stopped",
        |store| {
            succeed(store, 0);
            store.stop(None);
        },
        false,
    ),
];

fn begin(store: &Store, registration: u64) {
    assert_eq!(store.begin_attempt(), Some(registration));
}

fn hand_in(store: &Store, registration: u64) {
    begin(store, registration);
    store.hand_in(registration);
}

fn succeed(store: &Store, registration: u64) {
    hand_in(store, registration);
    assert!(store.finish_attempt(registration, None));
}

fn refuse(store: &Store, registration: u64) {
    hand_in(store, registration);
    store.hand_in_refused(registration);
    assert!(store.fail_attempt(registration, &conflict(), secs(120)));
}

fn get_no_response(store: &Store, registration: u64) {
    hand_in(store, registration);
    assert!(store.fail_attempt(registration, &unavailable(), secs(2)));
}

#[test]
fn a_callback_confirms_only_between_the_hand_in_and_a_refusal() {
    for policy in [CallbackPolicy::PerRegistration, CallbackPolicy::Open] {
        for (moment, reach, confirms) in MOMENTS {
            let store = Store::default();
            reach(&store);
            let (status, observed) = (store.status(), *store.observe().borrow());
            let call = |secret| store.accept_secret(Some(policy), Secret::new(secret));
            let first = call("first");
            if confirms {
                assert_eq!(first, Acceptance::New(1), "{moment}");
                assert_eq!(store.status().state, State::Registered, "{moment}");
                assert_eq!(call("first"), Acceptance::Same, "{moment}");
                let open = policy == CallbackPolicy::Open;
                let expected = if open { Acceptance::New(2) } else { Acceptance::Another };
                assert_eq!(call("other"), expected, "{moment}");
            } else {
                match first {
                    Acceptance::NotWaiting(why) => {
                        assert!(why.starts_with("the node is not waiting for a callback: "), "{why}");
                    }
                    first => assert_eq!((moment, first), ("stopped", Acceptance::Unavailable(STOPPED))),
                }
                assert_eq!((store.status(), *store.observe().borrow()), (status, observed), "{moment}");
                assert!(store.secret().is_none(), "{moment}");
            }
            // The default store, without a policy, accepts one at any time except after a stop.
            if moment != "stopped" {
                let store = Store::default();
                reach(&store);
                assert_eq!(store.accept_secret(None, Secret::new("first")), Acceptance::New(1), "{moment}");
                assert_eq!(store.accept_secret(None, Secret::new("other")), Acceptance::New(2), "{moment}");
            }
        }
    }
}

#[test]
fn the_secret_of_a_former_registration_does_not_count_for_the_next() {
    let store = Store::default();
    let accept = |secret| store.accept_secret(Some(CallbackPolicy::PerRegistration), Secret::new(secret));
    succeed(&store, 0);
    assert_eq!(accept("former"), Acceptance::New(1));
    store.rearm().unwrap();
    assert!(matches!(accept("former"), Acceptance::NotWaiting(_)));
    hand_in(&store, 1);
    assert_eq!(accept("of this one"), Acceptance::New(2));
    assert_eq!(accept("former"), Acceptance::Another);
}

#[test]
fn a_callback_is_counted_before_its_effect_is_visible() {
    let store = Store::default();
    succeed(&store, 0);
    let mut verdicts = Vec::new();
    for secret in ["first", "first", "another"] {
        let shown = || (store.status(), store.secret().clone());
        let before = shown();
        let policy = Some(CallbackPolicy::PerRegistration);
        store.accept_secret_after(policy, Secret::new(secret), |verdict| {
            assert!(shown() == before, "{verdict:?}");
            verdicts.push(verdict);
        });
    }
    assert_eq!(verdicts, [Acceptance::New(1), Acceptance::Same, Acceptance::Another]);
}

#[tokio::test]
async fn a_stop_ends_the_wait_for_the_disk() {
    let store = Arc::new(Store::default());
    store.begin_writing();
    succeed(&store, 0);
    let receiving = Arc::clone(&store);
    let received =
        tokio::spawn(async move { receiving.receive_secret(None, Secret::new("not written yet")).await });
    store.observe().wait_for(|observed| observed.has_secret).await.expect("it lives");
    assert!(!received.is_finished());
    store.stop(None);
    assert_eq!(received.await.expect("no panic"), Acceptance::Unavailable(STOPPED));
}

#[test]
fn each_reason_of_a_persistence_error_is_logged_once() {
    let store = Store::default();
    let set = |reason: Option<&str>| {
        store.set_persistence_error(reason.map(|reason| Error::new(ErrorCode::Io, reason.to_owned())))
    };
    assert!(!set(None), "there was none");
    for (reason, logged) in [("down", true), ("down", false), ("no permission", true), ("down", false)] {
        assert_eq!((set(Some(reason)), reason), (logged, reason));
        assert_eq!(store.persistence_error().expect("shown").message(), reason);
    }
    assert!(set(None) && !set(None));
    assert!(set(Some("down")), "it is back");
    let logged = (0..100).filter(|number| set(Some(&number.to_string()))).count();
    assert!(logged < 10, "the log is not flooded");
}
