//! The functions of the predecessor: those of `state`, and `run_registration_loop` on a host's own runtime. They share
//! one state per process, so each test runs in a process of its own.

mod support;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{TimeZone as _, Utc};
use posemesh_dev_dds::{DevDds, Endpoint, Fault};
use posemesh_node_registration::error::ErrorCode;
use posemesh_node_registration::register::{RegistrationConfig, run_registration_loop};
use posemesh_node_registration::state::{
    LockGuard, RegistrationState, STATUS_DISCONNECTED, STATUS_REGISTERED, STATUS_REGISTERING,
    clear_node_secret, read_node_secret, read_state, set_status, touch_healthcheck_now, write_node_secret,
    write_state,
};
use serde_json::json;
use support::{CREDENTIALS, GUARD, KEY, WALLET, alone, client};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

fn status() -> String {
    read_state().expect("in memory").status
}

/// A registration loop for this DDS.
fn registration(dds: &DevDds) -> RegistrationConfig {
    RegistrationConfig {
        dds_base_url: dds.url(),
        node_version: "1.2.3".into(),
        reg_secret: CREDENTIALS.into(),
        secp256k1_privhex: KEY.into(),
        client: client(GUARD),
        register_interval_secs: 1,
        max_retry: -1,
        capabilities: vec!["/example/v1".into()],
    }
}

/// Runs a loop on a runtime and a thread of its own, until this process ends.
fn spawn_loop(config: RegistrationConfig) -> thread::JoinHandle<()> {
    thread::spawn(|| support::runtime().block_on(run_registration_loop(config)))
}

fn until_status(expected: &str) {
    let deadline = Instant::now() + GUARD;
    while status() != expected {
        assert!(Instant::now() < deadline, "{} instead of {expected}", status());
        thread::yield_now();
    }
}

#[test]
fn only_three_statuses_are_accepted() {
    alone("only_three_statuses_are_accepted", || {
        assert_eq!(status(), STATUS_DISCONNECTED);
        assert_eq!(STATUS_DISCONNECTED, "disconnected");
        for status in [STATUS_REGISTERING, STATUS_REGISTERED, STATUS_DISCONNECTED] {
            set_status(status).expect("one of the three");
            assert_eq!(read_state().expect("in memory").status, status);
        }
        set_status(STATUS_REGISTERED).expect("one of the three");
        for other in ["", "Registered", "registered ", "offline"] {
            let error = set_status(other).expect_err("not one of the three");
            assert_eq!(error.code(), ErrorCode::InvalidArgument);
            assert!(error.message().contains("disconnected, registering, registered"), "{error}");
            let state = RegistrationState { status: other.into(), last_healthcheck: Some(Utc::now()) };
            assert_eq!(write_state(&state), Err(error));
        }
        let state = read_state().expect("in memory");
        assert_eq!((state.status.as_str(), state.last_healthcheck), (STATUS_REGISTERED, None), "as before");
    });
}

#[test]
fn a_written_state_is_read_back() {
    alone("a_written_state_is_read_back", || {
        let default = RegistrationState::default();
        assert_eq!((default.status.as_str(), default.last_healthcheck), (STATUS_DISCONNECTED, None));
        let at = Utc.timestamp_opt(1_704_164_645, 6_007_008).single().expect("a valid time");
        for last_healthcheck in [Some(at), None] {
            let state = RegistrationState { status: STATUS_REGISTERED.into(), last_healthcheck };
            write_state(&state).expect("in memory");
            let read = read_state().expect("in memory");
            assert_eq!((read.status, read.last_healthcheck), (state.status, last_healthcheck));
        }
        let before = Utc::now();
        touch_healthcheck_now().expect("in memory");
        let touched = read_state().expect("in memory");
        assert!((before..=Utc::now()).contains(&touched.last_healthcheck.expect("touched")));
        assert_eq!(touched.status, STATUS_REGISTERED);
    });
}

#[test]
fn the_json_of_a_state_is_stable() {
    let at = Utc.timestamp_opt(1_704_164_645, 999_999_999).single().expect("a valid time");
    for (last_healthcheck, json) in [(Some(at), json!(1_704_164_645)), (None, json!(null))] {
        let state = RegistrationState { status: STATUS_REGISTERED.into(), last_healthcheck };
        let json = json!({ "status": "registered", "last_healthcheck": json });
        assert_eq!(serde_json::to_value(&state).expect("JSON"), json);
        let back: RegistrationState = serde_json::from_value(json.clone()).expect("the same shape");
        assert_eq!(serde_json::to_value(&back).expect("JSON"), json);
    }
    let short: RegistrationState =
        serde_json::from_str(r#"{"status":"registering"}"#).expect("the time is optional");
    assert_eq!((short.status.as_str(), short.last_healthcheck), (STATUS_REGISTERING, None));
    assert!(serde_json::from_str::<RegistrationState>("{}").is_err());
}

#[test]
fn a_secret_is_stored_unchanged() {
    alone("a_secret_is_stored_unchanged", || {
        assert_eq!(read_node_secret(), Ok(None));
        for secret in ["first", "second", "second", " spaced\n", "", "é\u{1f511}\0"] {
            write_node_secret(secret).expect("in memory");
            assert_eq!(read_node_secret(), Ok(Some(secret.into())));
        }
        assert_eq!(status(), STATUS_DISCONNECTED, "a secret of the host does not change the status");
        for _ in 0..2 {
            clear_node_secret().expect("in memory");
            assert_eq!(read_node_secret(), Ok(None));
        }
    });
}

#[test]
fn the_lock_has_one_holder() {
    alone("the_lock_has_one_holder", || {
        let try_acquire = || LockGuard::try_acquire(GUARD).expect("in memory");
        let guard = try_acquire().expect("it is free");
        assert!(try_acquire().is_none());
        assert!(thread::scope(|scope| scope.spawn(|| try_acquire().is_none()).join().expect("no panic")));
        drop(guard);
        drop(try_acquire().expect("released"));
        drop(try_acquire().expect("released again"));
    });
}

#[test]
fn a_stale_lock_is_taken_over_for_good() {
    alone("a_stale_lock_is_taken_over_for_good", || {
        let slow = LockGuard::try_acquire(GUARD).expect("in memory").expect("it is free");
        // Until the clock has advanced.
        let new_holder =
            std::iter::repeat_with(|| LockGuard::try_acquire(Duration::ZERO).expect("in memory"))
                .take(10_000_000)
                .find_map(|acquired| acquired)
                .expect("stale");
        drop(slow);
        assert!(LockGuard::try_acquire(GUARD).expect("in memory").is_none(), "the new holder still has it");
        drop(new_holder);
        assert!(LockGuard::try_acquire(GUARD).expect("in memory").is_some());
    });
}

#[test]
fn the_loop_registers_parks_and_is_re_armed() {
    alone("the_loop_registers_parks_and_is_re_armed", || {
        let dds = DevDds::start().expect("a DDS");
        let running = spawn_loop(registration(&dds));
        until_status(STATUS_REGISTERED);
        let node = &dds.nodes()[0];
        assert_eq!(node.wallet.as_deref().map(str::to_lowercase).as_deref(), Some(WALLET));
        assert_eq!(
            (node.version.as_str(), node.capabilities.as_slice()),
            ("1.2.3", &["/example/v1".to_owned()][..])
        );

        for registrations in 2..=5 {
            set_status(STATUS_DISCONNECTED).expect("in memory");
            assert!(dds.wait_for(GUARD, |dds| dds.nodes()[0].registrations == registrations));
            until_status(STATUS_REGISTERED);
        }
        // Parked: two requests for each registration, and none in between.
        assert_eq!(dds.requests().len(), 2 * 5);
        assert!(!dds.wait_for_requests(Endpoint::Challenge, 6, Duration::from_millis(1500)));
        assert!(!running.is_finished());
    });
}

#[test]
fn re_arming_ends_a_pause_and_a_hanging_attempt() {
    alone("re_arming_ends_a_pause_and_a_hanging_attempt", || {
        let dds = DevDds::start().expect("a DDS");
        dds.inject(Endpoint::Challenge, Fault::status(403), 1);
        // The pause is a day: only the re-arm can end it.
        spawn_loop(RegistrationConfig { register_interval_secs: 86_400, ..registration(&dds) });
        assert!(dds.wait_for(GUARD, |dds| dds.requests().iter().any(|request| request.status == Some(403))));
        dds.inject(Endpoint::Challenge, Fault::Hang, 1);
        set_status(STATUS_DISCONNECTED).expect("in memory");
        assert!(dds.wait_for_requests(Endpoint::Challenge, 2, GUARD), "the pause ends");
        assert_ne!(status(), STATUS_REGISTERED);
        set_status(STATUS_DISCONNECTED).expect("in memory");
        until_status(STATUS_REGISTERED);
        assert_eq!(dds.requests_to(Endpoint::Challenge).len(), 3);
    });
}

#[test]
fn a_loop_that_is_already_registered_sends_no_request() {
    alone("a_loop_that_is_already_registered_sends_no_request", || {
        let dds = DevDds::start().expect("a DDS");
        set_status(STATUS_REGISTERED).expect("in memory");
        spawn_loop(registration(&dds));
        // A loop that did not park would have sent a request by now. Afterwards it is shown to be running.
        assert!(!dds.wait_for_requests(Endpoint::Challenge, 1, Duration::from_millis(500)));
        set_status(STATUS_DISCONNECTED).expect("in memory");
        assert!(dds.wait_for_requests(Endpoint::Register, 1, GUARD));
    });
}

#[test]
fn two_loops_take_turns() {
    alone("two_loops_take_turns", || {
        let dds = DevDds::start().expect("a DDS");
        // Long enough for the other loop to interfere, if it could.
        dds.inject(Endpoint::Challenge, Fault::Delay(Duration::from_millis(20)), u32::MAX);
        for _ in 0..2 {
            spawn_loop(registration(&dds));
        }
        until_status(STATUS_REGISTERED);
        // Not more: after ten in a row, the loops register at most once a second.
        for _ in 0..9 {
            set_status(STATUS_DISCONNECTED).expect("in memory");
            until_status(STATUS_REGISTERED);
        }
        let requests = dds.requests();
        assert!(requests.len() >= 2 * 10, "{} requests", requests.len());
        for (pair, number) in requests.chunks(2).zip(1..) {
            let endpoints: Vec<_> = pair.iter().map(|request| request.endpoint).collect();
            assert_eq!(
                endpoints,
                [Some(Endpoint::Challenge), Some(Endpoint::Register)],
                "registration {number}: the other loop interfered"
            );
        }
    });
}

#[test]
fn a_loop_waits_for_the_lock() {
    alone("a_loop_waits_for_the_lock", || {
        let dds = DevDds::start().expect("a DDS");
        let guard = LockGuard::try_acquire(GUARD).expect("in memory").expect("it is free");
        spawn_loop(registration(&dds));
        until_status(STATUS_REGISTERING);
        assert!(!dds.wait_for_requests(Endpoint::Challenge, 1, Duration::from_millis(200)));
        drop(guard);
        until_status(STATUS_REGISTERED);
    });
}

/// The records that a host with `tracing` shows by default: the level and the text of each.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<String>>>);

impl Subscriber for Shown {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "posemesh_node" && *metadata.level() <= tracing::Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        struct Message<'a>(&'a mut String);
        impl Visit for Message<'_> {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if field.name() == "message" {
                    *self.0 += &format!("{value:?}");
                }
            }
        }
        let mut shown = format!("{} ", event.metadata().level());
        event.record(&mut Message(&mut shown));
        self.0.lock().expect("no panics").push(shown);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn the_trace_of_a_loop_shows_an_outage_and_its_end_but_no_repetition() {
    alone("the_trace_of_a_loop_shows_an_outage_and_its_end_but_no_repetition", || {
        let shown = Shown::default();
        tracing::subscriber::set_global_default(shown.clone()).expect("the first subscriber");
        let dds = DevDds::start().expect("a DDS");
        dds.inject(Endpoint::Challenge, Fault::status(503), 3);
        spawn_loop(RegistrationConfig { max_retry: 0, ..registration(&dds) });
        until_status(STATUS_REGISTERED);
        let shown = || shown.0.lock().expect("no panics").clone();
        let deadline = Instant::now() + GUARD;
        while !shown().iter().any(|record| record.starts_with("INFO registered with DDS in ")) {
            assert!(Instant::now() < deadline, "{:#?}", shown());
            thread::yield_now();
        }
        let expected =
            ["INFO Registering node with DDS", "WARN DDS answered", "INFO registered with DDS in "];
        let shown = shown();
        let is_expected = shown.len() == expected.len()
            && shown.iter().zip(expected).all(|(record, begin)| record.starts_with(begin));
        assert!(is_expected && shown[2].ends_with(" ms, after 3 failed attempts"), "{shown:#?}");
    });
}

#[test]
fn a_bad_key_ends_the_loop() {
    alone("a_bad_key_ends_the_loop", || {
        let dds = DevDds::start().expect("a DDS");
        let config = RegistrationConfig { secp256k1_privhex: "no key".into(), ..registration(&dds) };
        support::runtime().block_on(run_registration_loop(config));
        assert_eq!(dds.requests().len(), 0);
        assert_eq!(status(), STATUS_DISCONNECTED);
    });
}

#[test]
fn a_loop_shows_neither_credentials_nor_key() {
    let dds = DevDds::start().expect("a DDS");
    for shown in [format!("{:?}", registration(&dds)), format!("{:#?}", registration(&dds))] {
        assert!(shown.contains(&dds.url()), "{shown}");
        assert!(!shown.contains(CREDENTIALS) && !shown.contains(KEY), "{shown}");
    }
}
