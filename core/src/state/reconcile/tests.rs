use chrono::TimeZone as _;

use super::super::callback::HandIn;
use super::*;

const FIRST: Option<CallbackPolicy> = Some(CallbackPolicy::PerRegistration);

/// A process that shares its state, with this role.
fn process(role: Role) -> Store {
    let store = Store::default();
    store.share_remotely();
    store.set_role(role);
    store
}

/// A leader that is registered and has a secret, and its record.
fn leader() -> (Store, Record) {
    let store = process(Role::Leader);
    let registration = store.begin_attempt().expect("not registered");
    store.hand_in(registration);
    assert!(store.finish_attempt(registration, None));
    let mut record = store.reconcile(None).record;
    assert_eq!(record.accept_secret(FIRST, &Secret::new("first")), Acceptance::New(1));
    store.reconcile(Some(&record));
    (store, record)
}

fn secret(store: &Store) -> Option<String> {
    store.secret().as_deref().map(|secret| secret.expose().to_owned())
}

#[test]
fn a_record_accepts_what_a_store_accepts() {
    let store = process(Role::Leader);
    let refused = |store: &Store| store.reconcile(None).record.accept_secret(FIRST, &Secret::new("s"));
    assert!(matches!(refused(&store), Acceptance::NotWaiting(_)), "disconnected");
    let registration = store.begin_attempt().expect("not registered");
    assert!(matches!(refused(&store), Acceptance::NotWaiting(_)), "not handed in");
    store.hand_in_refused(registration);
    assert!(matches!(refused(&store), Acceptance::NotWaiting(_)), "refused");
    store.hand_in(registration);
    let mut record = store.reconcile(None).record;
    assert_eq!(record.hand_in, Some(HandIn::Pending(registration)));
    let mut accept = |policy, secret: &str| record.accept_secret(policy, &Secret::new(secret));
    assert_eq!(accept(FIRST, "first"), Acceptance::New(1));
    assert_eq!(accept(FIRST, "first"), Acceptance::Same);
    assert_eq!(accept(FIRST, "second"), Acceptance::Another);
    assert_eq!(accept(Some(CallbackPolicy::Open), "second"), Acceptance::New(2));
    assert_eq!(record.state, State::Registered);
    // The leader learns it from the store.
    store.reconcile(Some(&record));
    assert_eq!((store.state(), secret(&store).as_deref()), (State::Registered, Some("second")));
    assert_eq!(store.status().secret_version, 2);
}

/// It is written to the store with the time of the replica that took it.
#[test]
fn a_probe_counts_also_after_one_from_the_future() {
    let (leader, mut record) = leader();
    record.last_healthcheck = chrono::Utc.timestamp_opt(4_000_000_000, 0).single();
    let follower = process(Role::Follower);
    for replica in [&leader, &follower] {
        replica.reconcile(Some(&record));
    }
    leader.forget_probes();
    follower.touch_healthcheck();
    leader.reconcile(Some(&follower.reconcile(None).record));
    assert!(leader.observe().borrow().probed);
}

#[test]
fn a_follower_shows_the_state_of_the_leader_and_its_own_server() {
    let (_, mut record) = leader();
    record.last_healthcheck = chrono::Utc.timestamp_opt(4_000_000_000, 0).single();
    let follower = process(Role::Follower);
    let own = ([127, 0, 0, 1], 1).into();
    follower.set_callback_address(own);
    follower.reconcile(Some(&record));
    let status = follower.status();
    assert_eq!((status.state, status.attempts, status.secret_version), (State::Registered, 1, 1));
    assert_eq!(status.last_healthcheck, Some(4_000_000_000));
    assert_eq!((secret(&follower).as_deref(), follower.callback_address()), (Some("first"), Some(own)));
    assert_eq!(follower.reconcile(None).record.callback_address, None);
}

#[test]
fn a_record_that_is_older_changes_nothing_and_is_mended() {
    let (leader, old) = leader();
    for role in [Role::Leader, Role::Follower] {
        leader.set_role(role);
        leader.rearm().expect("it runs");
        let registration = leader.begin_attempt().expect("not registered");
        leader.hand_in(registration);
        let mut record = leader.reconcile(None).record;
        let secret_of_now = format!("secret of {role}");
        assert!(matches!(record.accept_secret(FIRST, &Secret::new(&*secret_of_now)), Acceptance::New(_)));
        leader.reconcile(Some(&record));
        let version = leader.status().secret_version;
        for older in [Record::default(), old.clone()] {
            let mended = leader.reconcile(Some(&older)).record;
            assert!(!mended.says_the_same_as(&older) && mended.says_the_same_as(&record));
            assert_eq!((leader.status().secret_version, leader.state()), (version, State::Registered));
            assert_eq!(secret(&leader).as_deref(), Some(&*secret_of_now));
        }
    }
}

#[test]
fn two_secrets_with_one_version_become_the_same_one_everywhere() {
    let (_, record) = leader();
    let variant = |text: &str| Record {
        secret: Some(Arc::new(Secret::new(text))),
        secret_version: 2,
        ..record.clone()
    };
    let (one, two) = (variant("one"), variant("two"));
    for (first, second) in [(&one, &two), (&two, &one)] {
        for role in [Role::Leader, Role::Follower] {
            let store = process(role);
            store.reconcile(Some(first));
            store.reconcile(Some(second));
            assert_eq!(secret(&store).as_deref(), Some("two"));
        }
    }
}

#[test]
fn a_re_arm_of_any_process_reaches_the_leader() {
    let (leader, record) = leader();
    let follower = process(Role::Follower);
    follower.reconcile(Some(&record));
    follower.rearm().expect("it runs");
    assert_eq!(follower.state(), State::Disconnected);
    // The store still has the former registration.
    let news = follower.reconcile(Some(&record)).record;
    assert_eq!((news.registration, news.state), (record.registration + 1, State::Disconnected));
    leader.reconcile(Some(&news));
    assert_eq!((leader.state(), leader.reconcile(None).record.registration), (State::Disconnected, 1));
    assert_eq!(secret(&leader).as_deref(), Some("first"));
}
