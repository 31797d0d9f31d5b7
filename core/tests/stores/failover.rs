//! A server of the store dies while secrets arrive, and another one takes its place.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::etcd::Etcd;
use crate::fleet::Fleet;
use crate::redis::{Redis, Sentinel};
use crate::relay::Relay;
use crate::scale;
use crate::support::GUARD;

const OPEN: &[(&str, &str)] = &[("CALLBACK_POLICY", "open")];

/// What replicas have shown while secrets arrived.
struct Witness {
    fleet: Fleet,
    /// Those that were sent, and whether they were acknowledged.
    sent: Vec<(String, bool)>,
    versions: [u64; 3],
}

impl Witness {
    fn new(urls: &[&str; 3]) -> Self {
        let mut fleet = Fleet::start(urls, OPEN);
        fleet.leader();
        fleet.until_registered();
        Self { fleet, sent: Vec::new(), versions: [0; 3] }
    }

    /// Has DDS send some secrets, to each replica in turn.
    fn send(&mut self, count: usize) {
        for _ in 0..count {
            let secret = format!("secret number {}", self.sent.len());
            // A replica that cannot reach the store refuses it.
            let status = self.fleet.call_back(self.sent.len() % 3, &secret);
            self.sent.push((secret, status.is_ok_and(|status| status == 200)));
            self.look();
        }
    }

    /// No replica holds what was not sent, or what is older than what it held.
    fn look(&mut self) {
        let numbers: BTreeMap<_, _> =
            self.sent.iter().enumerate().map(|(nth, (sent, _))| (sent, nth)).collect();
        for nth in 0..3 {
            let held = self.fleet.replicas[nth].worker.ask("secret");
            assert!(held == "none" || numbers.contains_key(&held), "forged or torn: {held}");
            let version = self.fleet.version_of_secret(nth);
            assert!(version >= self.versions[nth], "versions never fall");
            self.versions[nth] = version;
        }
    }

    /// Sends secrets until one is acknowledged again, and waits until all replicas hold it.
    fn recover(&mut self) {
        let deadline = Instant::now() + GUARD;
        loop {
            self.send(1);
            let (secret, acknowledged) = self.sent.last().expect("just sent").clone();
            if acknowledged {
                self.fleet.until_held(&[0, 1, 2], &secret);
                return;
            }
            assert!(Instant::now() < deadline, "no secret is taken: {:?}", self.fleet.told());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Every replica holds the last secret that was acknowledged, or one that was sent after it.
    fn lost_nothing(&mut self) {
        let last = self.sent.iter().rposition(|(_, acknowledged)| *acknowledged).expect("one was");
        let deadline = Instant::now() + GUARD;
        for nth in 0..3 {
            loop {
                let held = self.fleet.replicas[nth].worker.ask("secret");
                if self.sent[last..].iter().any(|(sent, _)| *sent == held) {
                    break;
                }
                assert!(Instant::now() < deadline, "replica {nth} holds {held}");
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn acknowledged(&self) -> usize {
        self.sent.iter().filter(|(_, acknowledged)| *acknowledged).count()
    }
}

#[test]
fn a_promoted_replica_of_redis_continues() {
    for _ in 0..scale(1, 10) {
        let primary = Redis::start(&[]);
        let replica = primary.replica();
        let relay = Relay::to(primary.port);
        let url = format!("redis://{}", relay.authority());
        let mut witness = Witness::new(&[&url; 3]);
        witness.send(6);
        assert_eq!(witness.acknowledged(), 6);
        drop(primary);
        replica.ask(&["REPLICAOF", "NO", "ONE"]);
        relay.move_to(replica.port);
        // What was acknowledged had reached the replica.
        witness.lost_nothing();
        witness.recover();
        witness.fleet.leader();
        witness.look();
    }
}

#[test]
fn a_redis_that_becomes_a_replica_is_left() {
    let primary = Redis::start(&[]);
    let replica = primary.replica();
    let relay = Relay::to(primary.port);
    let url = format!("redis://{}", relay.authority());
    let mut witness = Witness::new(&[&url; 3]);
    witness.recover();
    // Without a broken connection: the former primary refuses writes.
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    primary.ask(&["REPLICAOF", "127.0.0.1", &replica.port.to_string()]);
    witness.send(1);
    assert!(!witness.sent.last().expect("sent").1, "it must not be acknowledged");
    witness.fleet.until(0, "a replica", |status| status.contains("read-only replica"));
    relay.move_to(replica.port);
    witness.recover();
}

/// Sentinel promotes a server, and the URL names all of them.
#[test]
fn a_failover_by_sentinel_loses_nothing_that_was_acknowledged() {
    for _ in 0..scale(1, 10) {
        let primary = Redis::start(&[]);
        let replica = primary.replica();
        let sentinel = Sentinel::start(&primary);
        let url = format!("{},{}", replica.url(), primary.authority());
        let mut witness = Witness::new(&[&url; 3]);
        witness.send(6);
        assert_eq!(witness.acknowledged(), 6);
        drop(primary);
        let deadline = Instant::now() + GUARD;
        while sentinel.primary() != replica.port {
            witness.send(1);
            assert!(Instant::now() < deadline, "no failover");
        }
        witness.lost_nothing();
        witness.recover();
        witness.fleet.leader();
        witness.look();
    }
}

#[test]
fn an_etcd_of_three_goes_on_without_one() {
    for victim in 0..scale(1, 3) as usize {
        let mut members = Etcd::start_three();
        let [one, two, three] = [0, 1, 2].map(|nth| members[(victim + nth) % 3].authority());
        let url = format!("etcd+http://{one},{two},{three}");
        let mut witness = Witness::new(&[&url; 3]);
        witness.send(6);
        assert_eq!(witness.acknowledged(), 6);
        // The first one of the URL, which all of them use.
        members[victim].kill();
        witness.lost_nothing();
        witness.recover();
        witness.fleet.leader();
        assert_eq!(witness.fleet.dds.nodes()[0].registrations, 1, "nobody registered again");
    }
}
