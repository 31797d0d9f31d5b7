//! The life cycle of a node: start, wait, re-arm, stop, and what callbacks may do.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use posemesh_dev_dds::{DevDds, Endpoint, Fault};
use posemesh_node_registration::bindings::NodeExt as _;
use posemesh_node_registration::config::Config;
use posemesh_node_registration::error::{Error, ErrorCode};
use posemesh_node_registration::event::{Event, EventKind};
use posemesh_node_registration::node::{Node, Wait, callback_url};
use posemesh_node_registration::status::State;

/// A guard against hanging, not a bound on speed.
const GUARD: Duration = Duration::from_secs(60);

/// A configuration with a wallet of its own, so that the tests of this process are independent.
fn config(dds: &DevDds) -> Config {
    static LAST_KEY: AtomicUsize = AtomicUsize::new(0);
    let key = format!("{:064x}", LAST_KEY.fetch_add(1, Ordering::Relaxed) + 1);
    let mut config = Config::new();
    for (name, value) in [
        ("dds_base_url", dds.url().as_str()),
        ("reg_secret", "credentials"),
        ("secp256k1_privhex", &key),
        ("node_version", "v1.2.3"),
        ("capabilities", "/example/v1"),
    ] {
        config.set(name, value).unwrap();
    }
    config
}

fn start_with_callback(dds: &DevDds) -> Node {
    let mut config = config(dds);
    config.set("callback_bind", "127.0.0.1:0").unwrap();
    let node = Node::start(&config).unwrap();
    dds.set_node_url(Some(format!("http://{}", node.callback_address().unwrap().unwrap()))).unwrap();
    node
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorCode {
    result.unwrap_err().code()
}

#[test]
fn a_local_dds_finds_the_node_of_its_process() {
    let dds = DevDds::builder().find_node(callback_url).start().unwrap();
    let mut config = config(&dds);
    config.set("callback_bind", "0.0.0.0:0").unwrap();
    let node = Node::start(&config).unwrap();
    node.wait(Wait::Secret, Some(GUARD)).unwrap();
    let wallet = node.wallet_address().unwrap();
    let port = node.callback_address().unwrap().unwrap().port();
    assert_eq!(callback_url(wallet, &dds.url()), Some(format!("http://127.0.0.1:{port}")));
    assert_eq!(callback_url(wallet, "http://127.0.0.1:1"), None);
    node.stop(GUARD).unwrap();
    assert_eq!(callback_url(wallet, &dds.url()), None);
}

// scenario: register
#[test]
fn a_node_registers_receives_its_secret_and_stops() {
    let dds = DevDds::start().unwrap();
    dds.inject(Endpoint::Challenge, Fault::Delay(Duration::from_millis(20)), 1);
    let node = start_with_callback(&dds);
    let before = node.status().unwrap();
    assert!(before.running && before.state != State::Registered && before.registered_at.is_none());
    assert_eq!(node.read_secret().unwrap(), None);

    node.wait(Wait::Registered, Some(GUARD)).unwrap();
    node.wait(Wait::Secret, Some(GUARD)).unwrap();
    let secret = node.read_secret().unwrap().unwrap();
    assert_eq!(Some(secret.expose().to_owned()), dds.last_secret());
    let status = node.status().unwrap();
    assert_eq!((status.state, status.attempts, status.secret_version), (State::Registered, 1, 1));
    assert!(status.has_secret && status.registered_at.is_some() && status.last_healthcheck.is_none());

    assert_eq!(dds.probe_health().unwrap(), 200);
    assert!(node.status().unwrap().last_healthcheck.is_some());

    let nodes = dds.nodes();
    assert_eq!(nodes.len(), 1);
    let wallet = nodes[0].wallet.as_deref().expect("a wallet");
    assert!(wallet.eq_ignore_ascii_case(node.wallet_address().unwrap()));
    assert_eq!((nodes[0].version.as_str(), nodes[0].max_concurrency), ("v1.2.3", None));

    let address = node.callback_address().unwrap().unwrap();
    node.stop(GUARD).unwrap();
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
    drop(TcpListener::bind(address).expect("the port is free"));
    let status = node.status().unwrap();
    assert!(!status.running && status.state == State::Disconnected);
    assert!(node.read_secret().unwrap().is_some(), "the secret can still be read after a stop");
}

#[test]
fn max_concurrency_is_sent_when_set() {
    let dds = DevDds::start().unwrap();
    let mut config = config(&dds);
    config.set("max_concurrency", "3").unwrap();
    let node = Node::start(&config).unwrap();
    node.wait(Wait::Registered, Some(GUARD)).unwrap();
    let body = dds.requests_to(Endpoint::Register)[0].body.clone();
    assert!(String::from_utf8(body).unwrap().ends_with(r#","version":"v1.2.3","max_concurrency":3}"#));
}

#[test]
fn a_base_path_is_kept() {
    let dds = DevDds::start().unwrap();
    let mut config = config(&dds);
    config.set("dds_base_url", &format!("{}/base/", dds.url())).unwrap();
    let _node = Node::start(&config).unwrap();
    assert!(dds.wait_for(GUARD, |dds| !dds.requests().is_empty()));
    assert_eq!(dds.requests()[0].path, "/base/internal/v1/auth/siwe/request");
}

// scenario: stop-during-wait, double-stop
#[test]
fn stop_is_idempotent_and_wakes_every_wait() {
    let dds = DevDds::start().unwrap();
    dds.inject(Endpoint::Challenge, Fault::Hang, u32::MAX);
    let node = start_with_callback(&dds);
    assert!(dds.wait_for_requests(Endpoint::Challenge, 1, GUARD));
    thread::scope(|scope| {
        let waits: Vec<_> = [Wait::Registered, Wait::Secret, Wait::Registered]
            .map(|what| {
                scope.spawn({
                    let node = &node;
                    move || node.wait(what, None)
                })
            })
            .into();
        let stops: Vec<_> = (0..4).map(|_| scope.spawn(|| node.stop(GUARD))).collect();
        for stop in stops {
            stop.join().unwrap().unwrap();
        }
        for wait in waits {
            assert_eq!(code(wait.join().unwrap()), ErrorCode::Stopped);
        }
    });
    node.stop(Duration::ZERO).unwrap();
    assert_eq!(code(node.wait(Wait::Registered, None)), ErrorCode::Stopped);
    assert_eq!(code(node.rearm()), ErrorCode::Stopped);
    assert_eq!(code(node.set_event_callback(|_| {})), ErrorCode::Stopped);
}

// scenario: stop-during-start, dropped-without-stop
#[test]
fn stop_right_after_start_leaves_the_wallet_free_for_the_next() {
    let dds = DevDds::start().unwrap();
    let config = config(&dds);
    for _ in 0..50 {
        let node = Node::start(&config).unwrap();
        assert_eq!(code(Node::start(&config).map(|_| ())), ErrorCode::AlreadyRunning);
        node.stop(GUARD).unwrap();
    }
    // Dropping a node stops it.
    drop(Node::start(&config).unwrap());
    drop(Node::start(&config).unwrap());
}

// scenario: port-taken
#[test]
fn a_port_in_use_fails_the_start_and_leaves_nothing_behind() {
    let dds = DevDds::start().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut config = config(&dds);
    config.set("callback_bind", &address).unwrap();
    let error = Node::start(&config).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Bind);
    assert!(error.message().contains(&address), "{error}");
    assert!(dds.requests().is_empty());

    drop(taken);
    Node::start(&config).expect("the wallet is free again").stop(GUARD).unwrap();
}

#[test]
fn a_bad_ca_file_is_refused_before_any_request() {
    let dds = DevDds::start().unwrap();
    let empty = std::env::temp_dir().join(format!("posemesh-empty-{}.pem", std::process::id()));
    std::fs::write(&empty, "no certificate here\n").unwrap();
    for path in [empty.to_str().unwrap(), "/nonexistent/ca.pem"] {
        let mut config = config(&dds);
        config.set("ca_file", path).unwrap();
        let error = Node::start(&config).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert!(error.message().contains("ca_file") && error.message().contains(path), "{error}");
    }
    std::fs::remove_file(&empty).unwrap();
    assert!(dds.requests().is_empty());
}

// scenario: wait-timed-out
#[test]
fn a_wait_that_times_out_says_why() {
    let dds = DevDds::start().unwrap();
    dds.inject(
        Endpoint::Register,
        Fault::Status { code: 403, retry_after: None, body: b"who are you?".to_vec() },
        u32::MAX,
    );
    let node = Node::start(&config(&dds)).unwrap();
    let (failed, failures) = mpsc::channel();
    node.set_event_callback(move |event| {
        if let EventKind::AttemptFailed { code, message, retry_in } = &event.kind {
            let _ = failed.send((*code, message.clone(), *retry_in));
        }
    })
    .unwrap();
    node.rearm().unwrap();
    let (code, message, retry_in) = failures.recv_timeout(GUARD).unwrap();
    assert_eq!((code, retry_in), (ErrorCode::Rejected, Duration::from_secs(120)));
    assert!(message.contains("403") && message.contains("who are you?"), "{message}");

    let error = node.wait(Wait::Registered, Some(Duration::from_millis(1))).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    assert!(error.message().contains("who are you?"), "{error}");
    assert_eq!(node.last_error().unwrap().unwrap().message(), message);
    let next = node.status().unwrap().next_attempt_in().unwrap();
    assert!(next <= Duration::from_secs(120));
}

// scenario: rearm
#[test]
fn a_rearm_takes_effect_at_once_and_registers_again() {
    let dds = DevDds::start().unwrap();
    let node = Node::start(&config(&dds)).unwrap();
    node.wait(Wait::Registered, Some(GUARD)).unwrap();
    // Not more: after ten in a row, a node registers at most once a second.
    for round in 2..=10 {
        dds.inject(Endpoint::Challenge, Fault::Delay(Duration::from_millis(1)), 1);
        node.rearm().unwrap();
        assert_ne!(node.status().unwrap().state, State::Registered);
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        assert_eq!(dds.requests_to(Endpoint::Register).len(), round);
    }
}

// scenario: events-in-order
#[test]
fn events_are_complete_and_in_order() {
    let dds = DevDds::start().unwrap();
    dds.inject(Endpoint::Challenge, Fault::Hang, 1);
    let node = start_with_callback(&dds);
    assert!(dds.wait_for_requests(Endpoint::Challenge, 1, GUARD));
    let story = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&story);
    node.set_event_callback(move |event| {
        assert_eq!(thread::current().name(), Some("posemesh-events"));
        assert_eq!(event.dropped, 0);
        told.lock().unwrap().push(event.kind.clone());
    })
    .unwrap();
    node.rearm().unwrap();
    node.wait(Wait::Registered, Some(GUARD)).unwrap();
    node.wait(Wait::Secret, Some(GUARD)).unwrap();
    dds.probe_health().unwrap();
    node.stop(GUARD).unwrap();

    let changed = |previous, state| EventKind::StatusChanged { previous, state };
    let mut story = story.lock().unwrap().clone();
    // The callback of DDS may arrive before or after its answer.
    let secret = story.iter().position(|kind| *kind == EventKind::SecretChanged { version: 1 }).unwrap();
    story.remove(secret);
    assert_eq!(
        story,
        [
            changed(State::Registering, State::Disconnected),
            changed(State::Disconnected, State::Registering),
            changed(State::Registering, State::Registered),
            EventKind::Healthcheck,
            changed(State::Registered, State::Disconnected),
        ]
    );
}

// scenario: stop-in-callback
#[test]
fn stop_in_a_callback_is_refused_and_other_calls_work() {
    let dds = DevDds::start().unwrap();
    let node = Arc::new(start_with_callback(&dds));
    let (answer, answers) = mpsc::channel();
    let inside = Arc::downgrade(&node);
    node.set_event_callback(move |event| {
        let Some(node) = inside.upgrade() else { return };
        if event.kind == EventKind::Healthcheck {
            let stopped = node.stop(GUARD).map_err(|error| error.code());
            let status = node.status().unwrap().state;
            let signature = node.sign(b"from a callback").unwrap();
            node.rearm().unwrap();
            let waited = node.wait(Wait::Registered, Some(GUARD));
            let _ = answer.send((stopped, status, signature.len(), waited));
        }
    })
    .unwrap();
    node.wait(Wait::Registered, Some(GUARD)).unwrap();
    dds.probe_health().unwrap();
    let (stopped, status, signature, waited) = answers.recv_timeout(GUARD).unwrap();
    assert_eq!(stopped, Err(ErrorCode::WouldDeadlock));
    assert_eq!((status, signature, waited), (State::Registered, 132, Ok(())));
    node.stop(GUARD).unwrap();
}

/// Reports when a callback is dropped.
struct Dropped(mpsc::Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

// scenario: stop-in-callback
#[test]
fn a_node_dropped_in_its_callback_stops_after_the_callback() {
    let dds = DevDds::start().unwrap();
    let node = start_with_callback(&dds);
    let address: SocketAddr = node.callback_address().unwrap().unwrap();
    let own = Arc::new(Mutex::new(None));
    let inside = Arc::clone(&own);
    let (gone, is_gone) = mpsc::channel();
    let dropped = Dropped(gone);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    node.set_event_callback(move |event| {
        let _keep = &dropped;
        if event.kind == EventKind::Healthcheck {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(inside.lock().unwrap().take());
        }
    })
    .unwrap();
    node.wait(Wait::Registered, Some(GUARD)).unwrap();
    *own.lock().unwrap() = Some(node);
    dds.probe_health().unwrap();
    is_gone.recv_timeout(GUARD).expect("the callback is dropped");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
}

#[test]
fn a_replaced_callback_is_dropped_after_its_last_call() {
    let dds = DevDds::start().unwrap();
    let node = start_with_callback(&dds);
    node.wait(Wait::Secret, Some(GUARD)).unwrap();
    for clear in [false, true] {
        let (gone, is_gone) = mpsc::channel();
        let dropped = Dropped(gone);
        let (entered, has_entered) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        node.set_event_callback(move |_| {
            let _keep = &dropped;
            let _ = entered.send(());
            let _ = released.lock().unwrap().recv();
        })
        .unwrap();
        dds.probe_health().unwrap();
        has_entered.recv_timeout(GUARD).unwrap();
        if clear {
            node.clear_event_callback().unwrap();
        } else {
            node.set_event_callback(|_| {}).unwrap();
        }
        assert!(is_gone.try_recv().is_err(), "not while it runs");
        drop(release);
        is_gone.recv_timeout(GUARD).expect("dropped after its last call");
    }
}

// scenario: stuck-callback
#[test]
fn stop_times_out_while_a_callback_is_stuck_and_can_be_repeated() {
    let dds = DevDds::start().unwrap();
    let node = start_with_callback(&dds);
    let (entered, has_entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    node.set_event_callback(move |event| {
        if event.kind == EventKind::Healthcheck {
            let _ = entered.send(());
            let _ = released.lock().unwrap().recv();
        }
    })
    .unwrap();
    dds.probe_health().unwrap();
    has_entered.recv_timeout(GUARD).unwrap();
    let error = node.stop(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    assert!(!node.status().unwrap().running);
    assert_eq!(code(node.wait(Wait::Secret, None)), ErrorCode::Stopped);
    drop(release);
    node.stop(GUARD).unwrap();
}

#[test]
fn a_node_dropped_while_its_callback_is_stuck_stops_when_it_returns() {
    let dds = DevDds::start().unwrap();
    let node = start_with_callback(&dds);
    let address = node.callback_address().unwrap().unwrap();
    let (gone, is_gone) = mpsc::channel();
    let dropped = Dropped(gone);
    let (entered, has_entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    node.set_event_callback(move |event| {
        let _keep = &dropped;
        if event.kind == EventKind::Healthcheck {
            let _ = entered.send(());
            let _ = released.lock().unwrap().recv();
        }
    })
    .unwrap();
    dds.probe_health().unwrap();
    has_entered.recv_timeout(GUARD).unwrap();
    drop(node);
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
    assert!(is_gone.try_recv().is_err(), "not while it runs");
    drop(release);
    is_gone.recv_timeout(GUARD).expect("dropped after its last call");
}

/// DDS can call no node without a callback server, so a wait for a secret would never end.
// scenario: wait-cannot-succeed
#[test]
fn a_wait_for_a_secret_that_cannot_come_fails_at_once() {
    let dds = DevDds::start().unwrap();
    let node = Node::start(&config(&dds)).unwrap();
    let (called, calls) = mpsc::channel();
    let pending = node.wait_then(Wait::Secret, move |result| called.send(result).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for result in [
        node.wait(Wait::Secret, None),
        node.wait(Wait::Secret, Some(GUARD)),
        runtime.block_on(node.wait_secret()),
        calls.recv_timeout(GUARD).unwrap(),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound);
        assert!(error.message().contains("callback_bind"), "{error}");
    }
    drop(pending);
    node.wait(Wait::Registered, Some(GUARD)).unwrap();
    node.stop(GUARD).unwrap();
    assert_eq!(code(node.wait(Wait::Secret, None)), ErrorCode::Stopped);
}

#[test]
fn an_async_wait_works_on_any_executor() {
    let dds = DevDds::start().unwrap();
    let node = start_with_callback(&dds);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(node.wait_registered()).unwrap();
    runtime.block_on(node.wait_secret()).unwrap();
    let pending = node.wait_registered();
    node.stop(GUARD).unwrap();
    assert_eq!(code(runtime.block_on(pending)), ErrorCode::Stopped);
}

// scenario: wait-cancelled
#[test]
fn a_wait_callback_is_called_once_or_cancelled() {
    let dds = DevDds::start().unwrap();
    dds.inject(Endpoint::Challenge, Fault::Hang, 1);
    let node = start_with_callback(&dds);
    assert!(dds.wait_for_requests(Endpoint::Challenge, 1, GUARD));
    let (called, calls) = mpsc::channel();
    let wait = |name: &'static str, what| {
        let called = called.clone();
        node.wait_then(what, move |result| {
            assert_eq!(thread::current().name(), Some("posemesh-events"));
            called.send((name, result.map_err(|error| error.code()))).unwrap();
        })
        .unwrap()
    };
    let pending = wait("registered", Wait::Registered);
    drop(wait("cancelled", Wait::Registered));
    assert!(calls.try_recv().is_err());
    node.rearm().unwrap();
    assert_eq!(calls.recv_timeout(GUARD).unwrap(), ("registered", Ok(())));
    drop(pending);
    node.wait(Wait::Secret, Some(GUARD)).unwrap();
    let pending = wait("at once", Wait::Secret);
    assert_eq!(calls.recv_timeout(GUARD).unwrap(), ("at once", Ok(())));
    drop(pending);

    dds.inject(Endpoint::Challenge, Fault::Hang, 1);
    node.rearm().unwrap();
    let _pending = wait("stopped", Wait::Registered);
    node.stop(GUARD).unwrap();
    assert_eq!(calls.try_recv().unwrap(), ("stopped", Err(ErrorCode::Stopped)));
    assert!(calls.try_recv().is_err(), "each is called once, and none after stop");
    assert_eq!(code(node.wait_then(Wait::Secret, |_| {}).map(|_| ())), ErrorCode::Stopped);
}

#[test]
fn a_notifying_wait_is_called_at_once_or_after_the_events() {
    let dds = DevDds::start().unwrap();
    let node = Node::start(&config(&dds)).unwrap();
    let (called, calls) = mpsc::channel();
    let registers_again = || {
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        let asked = dds.requests_to(Endpoint::Challenge).len();
        dds.inject(Endpoint::Challenge, Fault::Hang, 1);
        node.rearm().unwrap();
        assert!(dds.wait_for_requests(Endpoint::Challenge, asked + 1, GUARD));
        let called = called.clone();
        let pending = node.wait_then_notify(Wait::Registered, move |result| {
            called.send((result.is_ok(), thread::current().name().map(str::to_owned))).unwrap();
        });
        node.rearm().unwrap();
        let call = calls.recv_timeout(GUARD).unwrap();
        drop(pending.unwrap());
        call
    };
    assert_eq!(registers_again(), (true, Some("posemesh-rt".into())));

    let heard = called.clone();
    node.set_event_callback(move |event: &Event| {
        if matches!(event.kind, EventKind::StatusChanged { state: State::Registered, .. }) {
            heard.send((true, Some("an event".into()))).unwrap();
        }
    })
    .unwrap();
    assert_eq!(registers_again(), (true, Some("an event".into())));
    let after = calls.recv_timeout(GUARD).unwrap();
    assert_eq!(after, (true, Some("posemesh-events".into())));

    // A panic in a callback does not stop the registration.
    node.clear_event_callback().unwrap();
    node.rearm().unwrap();
    let pending = node.wait_then_notify(Wait::Registered, |_| panic!("a test panics on purpose"));
    node.wait(Wait::Registered, Some(GUARD)).unwrap();
    drop(pending.unwrap());
    assert_eq!(registers_again(), (true, Some("posemesh-rt".into())));
}

#[test]
fn nodes_of_one_process_are_independent() {
    let dds = DevDds::start().unwrap();
    let nodes: Vec<_> = (0..20).map(|_| Node::start(&config(&dds)).unwrap()).collect();
    for node in &nodes {
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
    }
    nodes[0].stop(GUARD).unwrap();
    nodes[1].rearm().unwrap();
    nodes[1].wait(Wait::Registered, Some(GUARD)).unwrap();
    assert_eq!(dds.nodes().len(), 20);
    assert!(nodes[2..].iter().all(|node| node.status().unwrap().attempts == 1));
}
