//! The routes in the servers of several processes of one node, which share a `state_dir`: real processes, killed and
//! stopped at any moment.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError, channel};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::place::{Mount, Place};
use crate::worker::{Worker, leader_of};
use posemesh_dev_dds::DevDds;
use posemesh_node_registration::bindings::{Handled, NodeExt as _};
use posemesh_node_registration::node::Wait;
use posemesh_node_registration::{ErrorCode, Node};

use super::{DDS, JSON, REGISTRATIONS, assert_unavailable, callback, exchange, secret, status, stop};
use crate::support::{self, GUARD, dds_that_calls_when_told};

/// Processes of one registered node, the leader first, and the address of the server in each.
struct Processes {
    workers: Vec<Worker>,
    addresses: Vec<SocketAddr>,
    dds: DevDds,
    _place: Place,
}

impl Processes {
    fn start(count: usize) -> Self {
        let (dds, place) = (dds_that_calls_when_told(), Place::new());
        let state = place.state();
        let mut workers: Vec<_> =
            (0..count).map(|_| Worker::start(&dds.url(), &[("STATE_DIR", &state)])).collect();
        for worker in &mut workers {
            assert_eq!(worker.ask("registered"), "Ok(())");
        }
        assert!(workers[0].is_leader());
        let serve = |worker: &mut Worker| worker.ask("serve").parse().expect("an address");
        let addresses = workers.iter_mut().map(serve).collect();
        Self { workers, addresses, dds, _place: place }
    }

    /// Every process has this secret, and none has logged it.
    fn assert_secret(&mut self, expected: &str) {
        for worker in &mut self.workers {
            worker.until_answer("secret", |held| held == expected);
            assert!(worker.told().iter().all(|line| !line.contains(expected)), "{:?}", worker.told());
        }
    }
}

/// The status of a callback, the header of the response in lowercase, and its body.
fn call(address: SocketAddr, text: &str) -> (u16, String, String) {
    exchange(address, "POST", REGISTRATIONS, &[JSON], secret(text).as_bytes())
}

#[test]
fn callbacks_that_are_spread_over_processes_get_the_verdict_of_the_leader() {
    let mut processes = Processes::start(4);
    let callers = (0..4).map(|caller| {
        let addresses = processes.addresses.clone();
        thread::spawn(move || {
            let calls = (0..50).map(|nth| {
                let sent = format!("secret-number-{}", (caller + nth) % 3);
                let (status, _, why) = call(addresses[(caller + nth) % addresses.len()], &sent);
                (sent, status, why)
            });
            calls.collect::<Vec<_>>()
        })
    });
    let callers: Vec<_> = callers.collect();
    let responses: Vec<_> = callers.into_iter().flat_map(|caller| caller.join().expect("no panic")).collect();
    assert_eq!(responses.len(), 200);
    let won = processes.workers[0].ask("secret");
    for (sent, status, why) in &responses {
        let expected = if *sent == won { 200 } else { 403 };
        assert_eq!(*status, expected, "{sent} while {won} has won: {why}");
    }
    processes.assert_secret(&won);
    for worker in &mut processes.workers {
        assert!(worker.ask("status").contains("version=1 "), "one secret");
    }
    // A new registration takes another secret, through any process.
    assert!(processes.workers[3].ask("rearm").starts_with("Ok(())"));
    assert!(processes.dds.wait_for(GUARD, |dds| dds.nodes()[0].registrations == 2));
    assert_eq!(processes.workers[0].ask("registered"), "Ok(())");
    assert_eq!(call(processes.addresses[2], "the secret of the second registration").0, 200);
    processes.assert_secret("the secret of the second registration");
}

#[test]
fn a_callback_survives_the_death_of_the_leader() {
    let mut processes = Processes::start(3);
    // The leader does not respond, so the callbacks of both followers are under way.
    processes.workers[0].signal("STOP");
    let calls: Vec<_> = processes.addresses[1..]
        .iter()
        .map(|&address| thread::spawn(move || call(address, "the-secret-that-survives")))
        .collect();
    thread::sleep(Duration::from_millis(100));
    assert!(calls.iter().all(|call| !call.is_finished()), "without a leader there is no verdict");
    processes.workers.remove(0).kill();
    for call in calls {
        let (status, _, why) = call.join().expect("no panic");
        assert_eq!(status, 200, "{why}");
    }
    leader_of(&mut processes.workers);
    processes.assert_secret("the-secret-that-survives");
}

#[test]
fn callbacks_while_leaders_die_get_no_wrong_verdict() {
    let mut processes = Processes::start(4);
    let address = processes.addresses[3];
    let (done, ended) = channel::<()>();
    let caller = thread::spawn(move || {
        let mut accepted = 0;
        while ended.try_recv() == Err(TryRecvError::Empty) {
            let (status, head, why) = call(address, "the-only-secret");
            match status {
                200 => accepted += 1,
                503 => assert!(head.contains("\r\nretry-after: "), "{head}"),
                _ => panic!("{status} {why}"),
            }
        }
        accepted
    });
    for _ in 0..3 {
        let leader = leader_of(&mut processes.workers);
        if leader + 1 == processes.workers.len() {
            break;
        }
        processes.workers.remove(leader).kill();
        let last = processes.workers.len() - 1;
        processes.workers[last].until_answer("secret", |held| held == "the-only-secret");
    }
    drop(done);
    let _ = caller.join().expect("no wrong verdict");
    assert_eq!(call(address, "the-only-secret").0, 200);
    assert_eq!(call(address, "another-secret").0, 403);
}

#[test]
fn without_a_leader_that_responds_a_callback_is_told_to_come_again() {
    let mut processes = Processes::start(2);
    processes.workers[0].signal("STOP");
    let began = Instant::now();
    let (status, head, _) = call(processes.addresses[1], "secret-number-1");
    assert_eq!(status, 503);
    assert!(head.contains("\r\nretry-after: "), "{head}");
    let (status, head, _) = exchange(processes.addresses[1], "GET", "/health", &[DDS], b"");
    assert!(status == 503 && head.contains("\r\nretry-after: "), "{head}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    processes.workers[0].signal("CONT");
    // The node has this secret or none, so the same one is accepted.
    assert_eq!(call(processes.addresses[1], "secret-number-1").0, 200);
    processes.assert_secret("secret-number-1");
    // A process that is stopped is none of the node's.
    assert_eq!(processes.workers[1].ask("stop"), "Ok(())");
    assert_eq!(call(processes.addresses[1], "secret-number-1").0, 503);
    assert_eq!(call(processes.addresses[0], "secret-number-1").0, 200);
}

#[test]
fn a_probe_of_a_follower_counts_as_one_of_the_leader() {
    let mut processes = Processes::start(3);
    assert!(processes.workers[0].ask("status").contains("healthcheck=0 "));
    assert_eq!(exchange(processes.addresses[2], "GET", "/health", &[DDS], b"").0, 200);
    assert!(!processes.workers[0].ask("status").contains("healthcheck=0 "), "at once");
    processes.workers[1].until_answer("status", |status| !status.contains("healthcheck=0 "));
    assert!(processes.workers[0].ask("metrics").contains("health_probes_total 1"));
    assert!(processes.workers[2].ask("metrics").contains("health_probes_total 0"));
}

fn registered_in(state_dir: &str) -> (DevDds, Node) {
    let dds = dds_that_calls_when_told();
    let node = support::start(&dds, &[("state_dir", state_dir)]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    (dds, node)
}

#[test]
fn bindings_get_the_response_when_the_secret_is_on_the_disk() {
    let place = Place::new();
    let (_dds, node) = registered_in(&place.state());
    let (sender, responses) = channel();
    let done = move |response: Option<_>| sender.send(response).expect("the test waits");
    let later = match node.handle_or_then(callback(secret("s-1")), done).expect("this process") {
        Handled::Later(pending) => pending,
        Handled::Now(_) => panic!("the disk was not asked"),
    };
    let response = responses.recv_timeout(GUARD).expect("a call").expect("for the library");
    assert_eq!(response.status(), 200);
    assert!(responses.recv_timeout(GUARD).is_err(), "one call");
    drop(later);
    let response = node.handle_within(callback(secret("s-1")), GUARD).expect("in time");
    assert_eq!(response.expect("for the library").status(), 200);
    stop(&node);
}

#[test]
fn a_frozen_disk_holds_back_the_response_and_nothing_else() {
    let Some(disk) = Mount::disk() else { return };
    let (_dds, node) = registered_in(&disk.0.state());
    let Some(frozen) = disk.freeze() else { return stop(&node) };

    let (sender, responses) = channel();
    let began = Instant::now();
    let done = move |response: Option<_>| sender.send(response).expect("the test waits");
    let Handled::Later(later) = node.handle_or_then(callback(secret("s-1")), done).expect("this process")
    else {
        panic!("the disk was not asked");
    };
    let dropped = |_| panic!("it was given up");
    let given_up = node.handle_or_then(callback(secret("s-1")), dropped).expect("this process");
    assert!(matches!(given_up, Handled::Later(_)));
    drop(given_up);
    assert!(began.elapsed() < Duration::from_secs(1), "it does not block");
    let error = node.handle_within(callback(secret("s-1")), Duration::from_millis(20)).expect_err("frozen");
    assert_eq!(error.code(), ErrorCode::Timeout);
    // Refusals and probes wait for no disk.
    assert_eq!(status(&node, callback(secret("another"))), 403);
    assert_eq!(status(&node, super::request("GET", "/health", &[DDS], "")), 200);
    assert!(matches!(responses.recv_timeout(Duration::from_millis(20)), Err(RecvTimeoutError::Timeout)));
    drop(frozen);
    let response = responses.recv_timeout(GUARD).expect("a call").expect("for the library");
    assert_eq!(response.status(), 200);
    drop(later);
    stop(&node);
    assert_unavailable(node.handle_within(callback(secret("s-1")), GUARD).expect("this process"));
}

#[test]
fn a_forked_child_refuses_requests_at_once() {
    let mut processes = Processes::start(2);
    for worker in &mut processes.workers {
        assert_eq!(worker.ask("fork-handle"), "true");
        assert!(worker.told().contains(&"child 503 503 none".to_owned()), "{:?}", worker.told());
        assert_eq!(worker.ask("secret"), "none");
    }
    let response = exchange(processes.addresses[1], "POST", REGISTRATIONS, &[JSON], secret("s-1").as_bytes());
    assert_eq!(response.0, 200, "the parent is not affected");
}

#[test]
fn a_stop_ends_what_waits_for_a_frozen_disk() {
    let Some(disk) = Mount::disk() else { return };
    let (_dds, node) = registered_in(&disk.0.state());
    let Some(frozen) = disk.freeze() else { return stop(&node) };

    let (sender, responses) = channel();
    let done = move |response: Option<_>| sender.send(response).expect("the test waits");
    let later = node.handle_or_then(callback(secret("s-1")), done).expect("this process");
    assert!(matches!(later, Handled::Later(_)), "the disk was not asked");
    let (mut response, mut context) =
        (pin!(node.handle(callback(secret("s-1")))), Context::from_waker(Waker::noop()));
    assert!(response.as_mut().poll(&mut context).is_pending());
    thread::scope(|scope| {
        let within = scope.spawn(|| node.handle_within(callback(secret("s-1")), Duration::MAX));
        let stopping = scope.spawn(|| node.stop(GUARD));
        assert_unavailable(responses.recv_timeout(GUARD).expect("a call"));
        assert_unavailable(within.join().expect("no panic").expect("a response"));
        let response =
            support::runtime().block_on(async { tokio::time::timeout(GUARD, response.as_mut()).await });
        assert_unavailable(response.expect("it does not wait any more"));
        assert!(!stopping.is_finished(), "the record is written before the end");
        drop(frozen);
        stopping.join().expect("no panic").expect("stops");
    });
}
