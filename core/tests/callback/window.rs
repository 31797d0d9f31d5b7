//! A callback confirms a registration from the moment its signed challenge is handed in until DDS refuses it. At any
//! other time it changes nothing.

use std::time::Duration;

use posemesh_dev_dds::{Callback, DevDds, Endpoint, Fault};
#[cfg(target_os = "linux")]
use posemesh_node_registration::node::Node;
use posemesh_node_registration::node::Wait;
use posemesh_node_registration::status::State;
use serde_json::json;

#[cfg(target_os = "linux")]
use crate::support;
use crate::support::{GUARD, WALLET};
use crate::{Answer, ID, Setup};

/// The progress of a registration when a callback arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    ChallengeRequested,
    HandInInFlight,
    Registered,
    /// DDS has answered the hand-in with this status.
    Answered(u16),
    OnlineElsewhere,
    TimedOut,
    ConnectionReset,
    Rearmed,
}

const OUTSIDE: [Moment; 7] = [
    Moment::ChallengeRequested,
    Moment::Answered(401),
    Moment::Answered(403),
    Moment::Answered(409),
    Moment::Answered(302),
    Moment::OnlineElsewhere,
    Moment::Rearmed,
];

const INSIDE: [Moment; 7] = [
    Moment::HandInInFlight,
    Moment::Registered,
    Moment::Answered(500),
    Moment::Answered(503),
    Moment::Answered(429),
    Moment::TimedOut,
    Moment::ConnectionReset,
];

/// A node that received the secret `former` in its last registration, and whose next one is at this moment.
fn reach(moment: Moment, policy: &str) -> Setup {
    let options = [("callback_policy", policy), ("request_timeout_secs", "1")];
    let patient = [("callback_policy", policy), ("request_timeout_secs", "3600")];
    let setup = Setup::new(if moment == Moment::TimedOut { &options } else { &patient });
    assert_eq!(setup.send_secret("former"), 200);
    let (dds, node) = (&setup.dds, &setup.node);
    let requests = |endpoint| dds.requests_to(endpoint).len();
    let (challenges, hand_ins) = (requests(Endpoint::Challenge), requests(Endpoint::Register));
    let fails = |fault: Option<Fault>| {
        if let Some(fault) = fault {
            dds.inject(Endpoint::Register, fault, u32::MAX);
        }
        node.rearm().expect("the node runs");
        setup.until_failed();
    };
    match moment {
        Moment::ChallengeRequested => {
            dds.inject(Endpoint::Challenge, Fault::Hang, u32::MAX);
            node.rearm().expect("the node runs");
            assert!(dds.wait_for_requests(Endpoint::Challenge, challenges + 1, GUARD));
        }
        Moment::HandInInFlight => {
            dds.inject(Endpoint::Register, Fault::Hang, u32::MAX);
            node.rearm().expect("the node runs");
            assert!(dds.wait_for_requests(Endpoint::Register, hand_ins + 1, GUARD));
        }
        Moment::Registered => {
            node.rearm().expect("the node runs");
            node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        }
        Moment::Answered(code) => fails(Some(Fault::status(code))),
        Moment::OnlineElsewhere => {
            dds.set_online_elsewhere(WALLET, true);
            fails(None);
        }
        Moment::TimedOut => fails(Some(Fault::Hang)),
        Moment::ConnectionReset => fails(Some(Fault::Reset)),
        Moment::Rearmed => {
            dds.inject(Endpoint::Register, Fault::Hang, u32::MAX);
            node.rearm().expect("the node runs");
            assert!(dds.wait_for_requests(Endpoint::Register, hand_ins + 1, GUARD));
            dds.inject(Endpoint::Challenge, Fault::Hang, u32::MAX);
            node.rearm().expect("the node runs");
            assert!(dds.wait_for_requests(Endpoint::Challenge, challenges + 2, GUARD));
        }
    }
    setup
}

fn send(setup: &Setup, secret: &str) -> Answer {
    setup.call(&json!({ "id": ID, "secret": secret }).to_string())
}

#[test]
fn a_callback_that_no_registration_waits_for_is_refused() {
    for policy in ["per_registration", "open"] {
        for moment in OUTSIDE {
            let setup = reach(moment, policy);
            for secret in ["first", "former", "first"] {
                let answer = send(&setup, secret);
                assert_eq!(answer.status, 409, "{policy}, {moment:?}, {secret}: {answer:?}");
                let why = "the node is not waiting for a callback: ";
                assert!(answer.body.starts_with(why), "{policy}, {moment:?}: {answer:?}");
            }
            let status = setup.node.status().expect("this process");
            assert_eq!(status.state, State::Registering, "{policy}, {moment:?}");
            assert_eq!((setup.secret().as_deref(), setup.version()), (Some("former"), 1));
            // The registrar was not disturbed.
            setup.dds.clear_faults();
            setup.dds.set_online_elsewhere(WALLET, false);
            setup.node.rearm().expect("the node runs");
            setup.node.wait(Wait::Registered, Some(GUARD)).expect("registers");
            assert_eq!(send(&setup, "first").status, 200, "{policy}, {moment:?}");
        }
    }
}

#[test]
fn a_callback_confirms_the_registration_that_waits_for_it() {
    for (policy, other, version) in [("per_registration", 403, 2), ("open", 200, 3)] {
        for moment in INSIDE {
            let setup = reach(moment, policy);
            assert_eq!(send(&setup, "first").status, 200, "{policy}, {moment:?}");
            let state = setup.node.status().expect("this process").state;
            assert_eq!(state, State::Registered, "{policy}, {moment:?}");
            assert_eq!(send(&setup, "first").status, 200, "{policy}, {moment:?}");
            assert_eq!(send(&setup, "other").status, other, "{policy}, {moment:?}");
            assert_eq!(setup.version(), version, "{policy}, {moment:?}");
        }
        // The same secret again confirms the next registration.
        let setup = reach(Moment::HandInInFlight, policy);
        assert_eq!(send(&setup, "former").status, 200);
        assert_eq!(setup.node.status().expect("this process").state, State::Registered);
        assert_eq!((setup.secret().as_deref(), setup.version()), (Some("former"), 1));
    }
}

/// A callback while DDS is unavailable must not mark the node as registered.
// scenario: stranger-calls-back
#[test]
fn a_forged_callback_does_not_park_a_node() {
    for policy in ["per_registration", "open"] {
        let dds = DevDds::builder().callback(Callback::Never).start().expect("a DDS");
        dds.inject(Endpoint::Challenge, Fault::status(503), 1);
        let setup = Setup::with(dds, &[("callback_policy", policy)], false);
        setup.until_failed();
        assert_eq!(setup.send_secret("forged"), 409);
        setup.node.wait(Wait::Registered, Some(GUARD)).expect("DDS is back");
        assert_eq!(setup.secret(), None);
        assert_eq!(setup.dds.nodes().len(), 1);
    }
}

/// A stopped node has no server.
#[test]
fn a_stopped_node_accepts_no_callback() {
    let setup = Setup::new(&[]);
    assert_eq!(setup.send_secret("first"), 200);
    setup.node.stop(Duration::from_secs(10)).expect("stops");
    assert!(std::net::TcpStream::connect(setup.address).is_err());
    assert_eq!(setup.version(), 1);
}

/// A process that starts with the state of an earlier one has not handed in a challenge yet.
#[cfg(target_os = "linux")]
#[test]
fn after_a_restart_callbacks_are_refused_until_the_hand_in() {
    let directory = std::env::temp_dir().join(format!("posemesh-window-{}", std::process::id()));
    let state_dir = directory.to_str().expect("UTF-8");
    let options = [("state_dir", state_dir)];
    let setup = Setup::new(&options);
    assert_eq!(setup.send_secret("former"), 200);
    setup.node.stop(GUARD).expect("stops");

    setup.dds.inject(Endpoint::Challenge, Fault::Hang, 1);
    let bind = [("callback_bind", "127.0.0.1:0"), options[0]];
    let node = Node::start(&support::config(&setup.dds.url(), &bind)).expect("starts");
    let address = node.callback_address().expect("this process").expect("a server");
    let restarted = Setup { dds: setup.dds, node, address };
    assert_eq!(restarted.send_secret("former"), 409);
    assert_eq!(restarted.secret().as_deref(), Some("former"));
    assert!(restarted.dds.wait_for_requests(Endpoint::Challenge, 2, GUARD), "the attempt that hangs");
    restarted.node.rearm().expect("the node runs");
    restarted.node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    assert_eq!(restarted.send_secret("former"), 200);
    restarted.node.stop(GUARD).expect("stops");
    std::fs::remove_dir_all(directory).expect("it is ours");
}
