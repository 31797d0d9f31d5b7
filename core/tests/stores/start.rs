//! A store that cannot be used when the replicas start. They run as followers, send DDS nothing, show no credential, and
//! lead soon after the repair.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::certificate::Certificate;
use crate::etcd::Etcd;
use crate::fleet::Fleet;
use crate::redis::Redis;
use crate::relay::Relay;

const PASSWORD: &str = "correct-horse-battery";
/// How long replicas would wait for a leader that is silent.
const SILENCE: Duration = Duration::from_secs(10);

/// Starts two replicas while the URL leads to `bad`, and then has it lead to `good`.
fn the_store_is_repaired(scheme: &str, userinfo: &str, ca_file: Option<&str>, ports: [u16; 2], why: &str) {
    let [bad, good] = ports;
    let relay = Relay::to(bad);
    let url = format!("{scheme}://{userinfo}{}", relay.authority());
    let options: Vec<_> = ca_file.map(|path| ("CA_FILE", path)).into_iter().collect();
    let mut fleet = Fleet::start(&[&url, &url], &options);
    for nth in [0, 1] {
        fleet.until(nth, why, |status| status.starts_with("follower") && status.contains(why));
    }
    // Some tries later.
    thread::sleep(Duration::from_secs(4));
    for nth in [0, 1] {
        fleet.until(nth, why, |status| status.starts_with("follower disconnected"));
    }
    assert_eq!(fleet.dds.requests().len(), 0, "nobody may register");

    let repaired = Instant::now();
    relay.move_to(good);
    fleet.leader();
    let took = repaired.elapsed();
    assert!(took < SILENCE, "{why}: it leads {took:?} after the repair");
    fleet.until_registered();
    assert_eq!(fleet.dds.nodes()[0].registrations, 1);

    let told = fleet.told().join("\n");
    assert!(told.contains("log warn state_url"), "{told}");
    for replica in &fleet.replicas {
        let lines = replica.worker.told();
        let warnings: Vec<_> = lines.iter().filter(|line| line.starts_with("log warn")).collect();
        let reasons: BTreeSet<_> = warnings.iter().collect();
        assert_eq!(reasons.len(), warnings.len(), "each reason is logged once: {warnings:?}");
    }
    for secret in [PASSWORD, "wrong-pony", "Y29ycmVjdC1ob3JzZS", "correct-horse"] {
        assert!(!told.contains(secret), "{told}");
    }
}

/// A port on which nothing listens, as long as the value lives.
fn closed_port() -> u16 {
    crate::server_process::free_port()
}

#[test]
fn a_redis_that_is_down_at_start() {
    let good = Redis::start(&[]);
    the_store_is_repaired("redis", "", None, [closed_port(), good.port], "state_url");
}

#[test]
fn a_redis_that_refuses_the_user() {
    let protected = [&format!("requirepass {PASSWORD}")[..]];
    let (good, other) = (Redis::start(&protected), Redis::start(&["requirepass another-one"]));
    let userinfo = format!(":{PASSWORD}@");
    the_store_is_repaired("redis", &userinfo, None, [other.port, good.port], "password");
    let acl = format!("user alice on >{PASSWORD} ~* &* +@all");
    let userinfo = format!("alice:{PASSWORD}@");
    // The second one refuses what the script does, and not the script.
    for commands in ["+@read +@connection", "+@all -set"] {
        // Not every server has them, nor needs a user to be allowed to use them.
        let without = ["ROLE", "INFO", "WAIT"].map(|command| format!("rename-command {command} \"\""));
        let [role, info, wait] = without.each_ref().map(String::as_str);
        let good = Redis::start(&[&acl, role, info, wait]);
        let other = Redis::start(&[&acl.replace("+@all", commands)]);
        the_store_is_repaired("redis", &userinfo, None, [other.port, good.port], "the user needs");
    }
}

#[test]
fn a_redis_with_a_certificate_of_another_authority_or_none() {
    let (ours, theirs) = (Certificate::new(), Certificate::new());
    let ca = ours.ca_file();
    let protected = [&format!("requirepass {PASSWORD}")[..]];
    let userinfo = format!(":{PASSWORD}@");
    let (good, other) = (Redis::start_tls(&ours, &protected), Redis::start_tls(&theirs, &protected));
    the_store_is_repaired("rediss", &userinfo, Some(&ca), [other.port, good.port], "certificate");
    // It waits for the rest of what it takes for a command.
    let plain = Redis::start(&protected);
    the_store_is_repaired("rediss", &userinfo, Some(&ca), [plain.port, good.port], "TLS failed");
}

#[test]
fn an_etcd_that_cannot_be_used_at_start() {
    let (ours, theirs) = (Certificate::new(), Certificate::new());
    let ca = ours.ca_file();
    let (good, other, plain) = (Etcd::start_tls(&ours), Etcd::start_tls(&theirs), Etcd::start(&[]));
    let with_users = |password: &str| {
        let mut etcd = Etcd::start(&[]);
        etcd.ask(&["user", "add", &format!("root:{password}")]);
        etcd.ask(&["auth", "enable"]);
        etcd.set_access(&format!("root:{password}"));
        etcd
    };
    let (users, other_users) = (with_users(PASSWORD), with_users("wrong-pony"));
    let userinfo = format!("root:{PASSWORD}@");
    let cases = [
        ("etcd+http", "", None, [closed_port(), plain.port], "cannot be reached"),
        ("etcd+http", &userinfo[..], None, [other_users.port, users.port], "password is wrong"),
        ("etcd+https", "", Some(&ca[..]), [other.port, good.port], "certificate"),
        ("etcd+https", "", Some(&ca[..]), [plain.port, good.port], "does not use TLS"),
    ];
    thread::scope(|scope| {
        for (scheme, userinfo, ca_file, ports, why) in cases {
            scope.spawn(move || the_store_is_repaired(scheme, userinfo, ca_file, ports, why));
        }
    });
}
