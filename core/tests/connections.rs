//! A node's connections to a DDS that keeps them open, and to one that closes them after each answer.

#[path = "support/closing.rs"]
mod closing;
mod support;

use std::thread;
use std::time::Duration;

use closing::{Close, ClosingDds};
use posemesh_node_registration::crypto::load_secp256k1_privhex;
use posemesh_node_registration::node::{Node, Wait};
use posemesh_node_registration::register::{RegistrationAttemptKind as Kind, register_once};
use support::{CREDENTIALS, GUARD, KEY};

const CLOSES: [Close; 5] = [Close::Silent, Close::Reset, Close::Half, Close::Announced, Close::Http10];
const CHALLENGE: &str = "/siwe/request";
const REGISTER: &str = "/register-wallet";
const VERIFY: &str = "/siwe/verify";

/// A node with a wallet of its own.
fn start(dds: &ClosingDds, wallet: usize) -> Node {
    let key = format!("{:064x}", wallet + 1);
    Node::start(&support::config(&dds.url(), &[("secp256k1_privhex", &key)])).expect("the node starts")
}

/// More than the time after which a connection that is still open counts as kept.
fn settle() {
    thread::sleep(Duration::from_millis(150));
}

#[test]
fn first_attempts_succeed_however_dds_closes_connections() {
    thread::scope(|scope| {
        for close in CLOSES {
            scope.spawn(move || {
                let dds = ClosingDds::start(close);
                // All of them keep running, so they share their connections.
                let nodes: Vec<_> = (0..60)
                    .map(|wallet| {
                        let node = start(&dds, wallet);
                        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
                        node.access_token(Some(GUARD)).expect("a token");
                        node
                    })
                    .collect();
                for node in &nodes {
                    let status = node.status().expect("this process");
                    assert_eq!(
                        (status.attempts, status.sign_in_failures),
                        (1, 0),
                        "{close:?}: {:?}",
                        node.last_error()
                    );
                }
                let requests = [CHALLENGE, REGISTER, VERIFY].map(|path| dds.requests(path));
                assert_eq!(requests, [120, 60, 60], "{close:?}");
                for node in nodes {
                    node.stop(GUARD).expect("stops");
                }
            });
        }
    });
}

#[test]
fn nodes_that_register_together_succeed_at_the_first_attempt() {
    let dds = ClosingDds::start(Close::Silent);
    let nodes: Vec<_> = (0..30).map(|wallet| start(&dds, wallet)).collect();
    for node in &nodes {
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        assert_eq!(node.status().expect("this process").attempts, 1);
    }
    assert_eq!([CHALLENGE, REGISTER].map(|path| dds.requests(path)), [30, 30]);
}

#[test]
fn register_once_succeeds_with_the_hosts_client() {
    for close in CLOSES {
        let dds = ClosingDds::start(close);
        let client = support::client(GUARD);
        let key = load_secp256k1_privhex(KEY).expect("a good key");
        let capabilities = ["/example/v1".to_owned()];
        support::runtime().block_on(async {
            for _ in 0..60 {
                let attempt =
                    register_once(&dds.url(), "1.2.3", CREDENTIALS, &key, &client, &capabilities).await;
                assert_eq!(attempt.kind(), Kind::Registered, "{close:?}: {attempt:?}");
            }
        });
        assert_eq!([CHALLENGE, REGISTER].map(|path| dds.requests(path)), [60, 60], "{close:?}");
    }
}

#[test]
fn one_connection_is_used_while_dds_keeps_it_open() {
    let dds = ClosingDds::start(Close::Never);
    let node = start(&dds, 0);
    let again = || {
        node.rearm().expect("the node runs");
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    };
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    settle();
    again();
    let proven = dds.connections();
    for _ in 0..5 {
        again();
    }
    assert_eq!(dds.connections(), proven, "no further connection");
    node.stop(GUARD).expect("stops");
}

#[test]
fn one_connection_is_used_from_the_start_if_dds_announces_that_it_stays_open() {
    let dds = ClosingDds::start(Close::KeepAlive);
    let node = start(&dds, 0);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    node.access_token(Some(GUARD)).expect("a token");
    assert_eq!(dds.connections(), 1);
    assert_eq!([CHALLENGE, REGISTER, VERIFY].map(|path| dds.requests(path)), [2, 1, 1]);
    node.stop(GUARD).expect("stops");
}

#[test]
fn a_dds_that_announces_it_and_closes_connections_costs_one_attempt() {
    let dds = ClosingDds::start(Close::KeepAliveBroken);
    let node = start(&dds, 0);
    for _ in 0..8 {
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        node.rearm().expect("the node runs");
    }
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    let attempts = node.status().expect("this process").attempts;
    assert!(attempts <= 10, "{attempts} attempts for 9 registrations");
    node.stop(GUARD).expect("stops");
}

#[test]
fn a_dds_that_answers_only_the_first_request_of_a_connection_costs_one_failure() {
    for close in [Close::KeepAliveDeaf, Close::KeepAliveTruncated, Close::KeepAliveRefusing] {
        let dds = ClosingDds::start(close);
        let key = format!("{:064x}", 1);
        let options = [
            ("secp256k1_privhex", key.as_str()),
            ("request_timeout_secs", "1"),
            ("register_interval_secs", "1"),
        ];
        let node = Node::start(&support::config(&dds.url(), &options)).expect("the node starts");
        for _ in 0..4 {
            node.wait(Wait::Registered, Some(GUARD)).expect("registers");
            node.rearm().expect("the node runs");
        }
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        node.access_token(Some(GUARD)).expect("a token");
        let status = node.status().expect("this process");
        let failures = status.attempts - 5 + u64::from(status.sign_in_failures);
        assert!(failures <= 1, "{close:?}: {} attempts, {:?}", status.attempts, node.last_error());
        node.stop(GUARD).expect("stops");
    }
}

#[test]
fn a_dds_that_begins_to_close_connections_costs_one_attempt_at_most() {
    let dds = ClosingDds::start(Close::Never);
    let node = start(&dds, 0);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    settle();
    node.rearm().expect("the node runs");
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");

    dds.set(Close::Reset);
    let before = node.status().expect("this process").attempts;
    for _ in 0..8 {
        node.rearm().expect("the node runs");
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    }
    let attempts = node.status().expect("this process").attempts - before;
    assert!(attempts <= 9, "{attempts} attempts for 8 registrations");
    assert!(dds.requests(REGISTER) <= 11, "no request was sent twice within an attempt");
    node.stop(GUARD).expect("stops");
}
