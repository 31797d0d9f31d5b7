//! Replicas that share a store, while the store and the network are fine: real processes that start, stop, die and sleep,
//! and callbacks that reach any of them.
//!
//! `POSEMESH_LONG_TESTS=1` repeats and prolongs what is short here.
#![cfg(target_os = "linux")]

#[path = "support/certificate.rs"]
mod certificate;
#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/place.rs"]
mod place;
#[path = "support/redis.rs"]
mod redis;
#[path = "support/server_process.rs"]
mod server_process;
mod support;
#[path = "support/worker.rs"]
mod worker;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use fleet::Fleet;
use redis::Redis;
use support::GUARD;
use worker::Worker;

/// A leader renews its term this often.
const RENEWAL: Duration = Duration::from_secs(3);
/// A follower takes over this long after the last sign of its leader.
const SILENCE: Duration = Duration::from_secs(10);

/// Not a test: the body of a worker process.
#[test]
fn worker() {
    if support::child_case().is_some() {
        worker::work();
    }
}

/// How often or how long, in short and in long tests.
fn scale(short: u32, long: u32) -> u32 {
    if std::env::var_os("POSEMESH_LONG_TESTS").is_some() { long } else { short }
}

fn url(redis: &Redis) -> String {
    format!("redis://127.0.0.1:{}", redis.port)
}

/// Three replicas that hold a secret.
fn three(url: &str) -> Fleet {
    let mut fleet = Fleet::start(&[url; 3], &[("CALLBACK_POLICY", "open")]);
    fleet.leader();
    fleet.until_registered();
    assert_eq!(fleet.call_back(0, "the secret").expect("it responds"), 200);
    fleet.until_held(&[0, 1, 2], "the secret");
    fleet
}

#[test]
fn a_killed_leader_is_replaced_and_nothing_is_registered_again() {
    let redis = Redis::start(&[]);
    let url = url(&redis);
    let mut fleet = three(&url);
    for _ in 0..scale(2, 20) {
        // So that every replica has seen a leader alive.
        redis.until_renewed(1);
        let leader = fleet.leader();
        let mut killed = fleet.replicas.remove(leader);
        killed.worker.kill();
        fleet.leader();
        fleet.add(&url, &[("CALLBACK_POLICY", "open")]);
        fleet.until_held(&[0, 1, 2], "the secret");
    }
    assert_eq!(fleet.dds.nodes()[0].registrations, 1);
}

#[test]
fn a_leader_that_is_stopped_hands_over_at_once() {
    let redis = Redis::start(&[]);
    let url = url(&redis);
    let mut fleet = three(&url);
    for _ in 0..scale(3, 20) {
        // So that every replica has seen a leader alive.
        redis.until_renewed(1);
        let leader = fleet.leader();
        let stopped = fleet.replicas.remove(leader);
        stopped.worker.end();
        let at = Instant::now();
        fleet.leader();
        assert!(at.elapsed() < SILENCE, "{:?}", at.elapsed());
        fleet.add(&url, &[("CALLBACK_POLICY", "open")]);
        fleet.until_held(&[0, 1, 2], "the secret");
    }
    assert_eq!(fleet.dds.nodes()[0].registrations, 1);
}

#[test]
fn a_leader_that_was_suspended_does_not_act_any_more() {
    let redis = Redis::start(&[]);
    let url = url(&redis);
    let mut fleet = Fleet::start(&[&url, &url], &[("REGISTER_INTERVAL_SECS", "1")]);
    fleet.keep_registering();
    let first = fleet.leader();
    let second = 1 - first;
    fleet.until_registering(2);
    fleet.replicas[first].worker.signal("STOP");
    fleet.until(second, "takes over", |status| status.starts_with("leader"));
    thread::sleep(Duration::from_secs(scale(3, 48).into()));
    fleet.replicas[first].worker.signal("CONT");
    fleet.until(first, "follows", |status| status.starts_with("follower"));
    fleet.until_registering(3);
    assert_eq!(fleet.registrars(), [first, second]);
}

#[test]
fn replicas_that_start_at_the_same_time_register_once() {
    let redis = Redis::start(&[]);
    let url = url(&redis);
    for round in 0..scale(4, 200) {
        // The DDS is another one, and with it the key in the store.
        let mut fleet = Fleet::start(&[], &[]);
        for _ in 0..3 {
            fleet.add_by(Worker::spawn, &url, &[]);
        }
        for replica in &fleet.replicas {
            replica.worker.until("started");
        }
        fleet.until_registered();
        fleet.leader();
        assert_eq!(fleet.dds.nodes()[0].registrations, 1, "round {round}");
    }
}

#[test]
fn any_replica_registers_again_when_it_is_asked_to() {
    let redis = Redis::start(&[]);
    let mut fleet = three(&url(&redis));
    let leader = fleet.leader();
    for nth in 0..3 {
        let before = fleet.dds.nodes()[0].registrations;
        fleet.replicas[nth].worker.ask("rearm");
        let deadline = Instant::now() + GUARD;
        while fleet.dds.nodes()[0].registrations == before {
            assert!(Instant::now() < deadline, "replica {nth}");
            thread::sleep(Duration::from_millis(20));
        }
        fleet.until_registered();
    }
    assert_eq!(fleet.registrars(), [leader]);
}

/// DDS's request with a secret; returns the status of the response.
fn post(address: &str, secret: &str) -> u16 {
    let body = format!("{{\"id\":\"any\",\"secret\":\"{secret}\"}}");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(GUARD)).expect("not zero");
    write!(
        stream,
        "POST /internal/v1/registrations HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line")
}

#[test]
fn a_callback_counts_on_every_replica_wherever_it_arrives() {
    let redis = Redis::start(&[]);
    let mut fleet = three(&url(&redis));
    let addresses = [0, 1, 2].map(|nth| fleet.address(nth));
    let callbacks = scale(100, 1000);
    for number in 0..callbacks {
        let nth = number as usize % 3;
        // Every tenth one reaches two replicas at once.
        let versions = if number % 10 == 9 { 2 } else { 1 };
        let before = fleet.version_of_secret(nth);
        thread::scope(|scope| {
            for other in 0..versions {
                let address = &addresses[(nth + other) % 3];
                scope.spawn(move || assert_eq!(post(address, &format!("secret {number} {other}")), 200));
            }
        });
        for at in 0..3 {
            fleet.until(at, "has it", |status| {
                status.contains(&format!(" version={} ", before + versions as u64))
            });
        }
        let secrets: Vec<_> = (0..3).map(|at| fleet.replicas[at].worker.ask("secret")).collect();
        assert!(secrets.iter().all(|secret| *secret == secrets[0]), "{secrets:?}");
    }
}

#[test]
fn a_replica_at_rest_makes_one_request_in_three_seconds() {
    let redis = Redis::start(&[]);
    let _fleet = three(&url(&redis));
    let calls = |command: &str| -> u64 {
        let stats = redis.ask(&["INFO", "commandstats"]);
        let calls = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        calls.and_then(|calls| calls.split(',').next()).map_or(0, |calls| calls.parse().expect("a number"))
    };
    // What came with the secret is over.
    redis.until_renewed(2);
    let counted = ["evalsha", "getrange", "script|load", "subscribe"];
    let (before, began) = (counted.map(calls), Instant::now());
    redis.until_renewed(4);
    let (after, took) = (counted.map(calls), began.elapsed());
    let [renewals, reads, loads, subscriptions] = std::array::from_fn(|nth| after[nth] - before[nth]);
    // The first renewal may have been about to come.
    assert!(took >= 3 * RENEWAL, "{took:?}");
    assert!((4..=5).contains(&renewals), "{renewals} renewals");
    // One of the script and of each follower. The last ones may have been on the way.
    assert!((9..=15).contains(&reads), "{reads} reads");
    assert_eq!((loads, subscriptions), (0, 0));
}
