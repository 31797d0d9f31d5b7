//! A signer of the host's in place of a private key, next to a local DDS, which verifies its signatures.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use posemesh_dev_dds::{DevDds, Endpoint};
use posemesh_node_registration::config::{Config, SigningRequest};
use posemesh_node_registration::crypto::{load_secp256k1_privhex, sign_eip191};
use posemesh_node_registration::error::ErrorCode;
use posemesh_node_registration::event::EventKind;
use posemesh_node_registration::node::{Node, Wait};
use support::{CREDENTIALS, Events, GUARD, KEY, WALLET, start};

/// What the KMS of these tests responds with.
fn kms_sign(request: &SigningRequest) -> Result<String, String> {
    let key = load_secp256k1_privhex(KEY).map_err(|error| error.to_string())?;
    Ok(sign_eip191(&key, request.message()))
}

fn config(dds: &DevDds, sign: impl Fn(SigningRequest) + Send + Sync + 'static) -> Config {
    let mut config = Config::new();
    for (name, value) in [
        ("dds_base_url", dds.url().as_str()),
        ("reg_secret", CREDENTIALS),
        ("capabilities", "/example/v1"),
        ("node_version", "1.2.3"),
        ("request_timeout_secs", "1"),
    ] {
        config.set(name, value).expect("a good option");
    }
    config.set_signer(WALLET, sign).expect("a good address");
    config
}

/// A node whose signer passes each request to the test.
fn start_with_requests(dds: &DevDds) -> (Node, Receiver<SigningRequest>) {
    let (sender, requests) = channel();
    let sender = Mutex::new(sender);
    let config = config(dds, move |request| {
        let _ = sender.lock().expect("no panics").send(request);
    });
    (Node::start(&config).expect("the node starts"), requests)
}

fn failure(events: &Events) -> String {
    events.next("failed attempt", |kind| match kind {
        EventKind::AttemptFailed { message, .. } => Some(message.clone()),
        _ => None,
    })
}

// scenario: signer
#[test]
fn a_signer_may_respond_later_on_another_thread() {
    let dds = DevDds::start().expect("a port on loopback");
    let (node, requests) = start_with_requests(&dds);
    let kms = thread::spawn(move || {
        for request in requests {
            assert_eq!(request.address(), WALLET);
            assert!(!format!("{request:?}").contains("Nonce"));
            let signature = kms_sign(&request);
            request.respond(signature);
        }
    });
    assert_eq!(node.wallet_address().expect("not forked"), WALLET);
    node.access_token(Some(GUARD)).expect("registered and signed in");
    assert_eq!(dds.requests_to(Endpoint::Verify).len(), 1);
    let error = node.sign(b"hello").expect_err("the key is not in this process");
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert!(error.message().contains("signer"), "{error}");
    drop(node);
    kms.join().expect("the signer is dropped with the node");
}

#[test]
fn failures_of_a_signer_are_reported_and_retried() {
    let dds = DevDds::start().expect("a port on loopback");
    let (node, requests) = start_with_requests(&dds);
    let events = Events::of(&node);
    let next = || requests.recv_timeout(GUARD).expect("a request to sign");

    let first = next();
    first.respond(Err::<String, _>("the HSM is locked\n\u{1b}[2J"));
    let message = failure(&events);
    assert!(message.contains("the signer failed: the HSM is locked"), "{message}");
    assert!(!message.contains(['\n', '\u{1b}']), "{message:?}");
    assert_eq!(node.status().expect("not forked").last_error, Some(ErrorCode::Unavailable));

    // This one is retried without a re-arm.
    drop(next());
    assert!(failure(&events).contains("the signer did not respond"));

    node.rearm().expect("the node runs");
    next().respond(Ok::<_, String>(format!("0x{}", "11".repeat(65))));
    assert!(failure(&events).contains("unusable signature"));
    assert!(dds.requests_to(Endpoint::Register).is_empty(), "none of this was sent to DDS");

    node.rearm().expect("the node runs");
    let late = next();
    assert!(late.is_pending());
    assert!(failure(&events).contains("did not respond within 1 s"));
    assert!(!late.is_pending());
    let signature = kms_sign(&late);
    late.respond(signature);

    node.rearm().expect("the node runs");
    let request = next();
    let signature = kms_sign(&request);
    request.respond(signature);
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    assert_eq!(dds.requests_to(Endpoint::Register).len(), 1);
}

#[test]
fn a_blocked_signer_delays_neither_other_nodes_nor_the_stop() {
    let dds = DevDds::start().expect("a port on loopback");
    let (entered, has_entered) = channel();
    let (release, released) = channel::<()>();
    let (entered, released) = (Mutex::new(entered), Mutex::new(released));
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let config = config(&dds, move |_request| {
        counted.fetch_add(1, Ordering::Relaxed);
        let _ = entered.lock().expect("no panics").send(());
        let _ = released.lock().expect("no panics").recv();
    });
    let blocked = Node::start(&config).expect("the node starts");
    has_entered.recv_timeout(GUARD).expect("the signer is called");

    let other = start(&dds, &[("secp256k1_privhex", &"1".repeat(64))]);
    other.access_token(Some(GUARD)).expect("the runtime is not blocked");
    drop(release);
    blocked.stop(GUARD).expect("stopped");
    let called = calls.load(Ordering::Relaxed);
    other.rearm().expect("the node runs");
    other.wait(Wait::Registered, Some(GUARD)).expect("registered");
    assert_eq!(calls.load(Ordering::Relaxed), called, "a stopped node does not call its signer");
}

#[test]
fn a_signer_excludes_a_key_and_a_robot() {
    let dds = DevDds::start().expect("a port on loopback");
    let with = |options: &[(&str, &str)]| {
        let mut config = config(&dds, |_| {});
        for (name, value) in options {
            config.set(name, value).expect("a good option");
        }
        config
    };
    assert_eq!(with(&[]).check().expect("a good configuration").as_deref(), Some(WALLET));
    for (options, says) in [
        (&[("secp256k1_privhex", KEY)][..], "secp256k1_privhex and a signer are both set"),
        (&[("secp256k1_keystore_file", "/keystore")], "secp256k1_keystore_file and a signer are both set"),
        (&[("identity", "robot")], "a signer is set although identity is robot"),
    ] {
        let error = with(options).check().expect_err(says);
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert!(error.message().contains(says), "{error}");
    }
    let mut without = with(&[]);
    without.clear_signer();
    let error = without.check().expect_err("nothing signs");
    assert!(error.message().contains("secp256k1_privhex"), "{error}");
}
