//! What is in the store is lost, old, foreign or damaged. The replicas hold the newest state, and mend the store.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::etcd::Etcd;
use crate::fleet::Fleet;
use crate::redis::Redis;

use crate::scale;
use crate::support::{self, GUARD};

const OPEN: &[(&str, &str)] = &[("CALLBACK_POLICY", "open")];

/// Three registered replicas that hold a secret.
fn three_with_a_secret(url: &str, secret: &str) -> Fleet {
    let mut fleet = Fleet::start(&[url, url, url], OPEN);
    fleet.leader();
    fleet.until_registered();
    deliver(&mut fleet, 0, secret);
    fleet
}

/// Has DDS send a secret to one replica, and waits until all of them hold it.
fn deliver(fleet: &mut Fleet, nth: usize, secret: &str) {
    let deadline = Instant::now() + GUARD;
    // Until a damaged store is mended, DDS is told to call again.
    while fleet.call_back(nth, secret).expect("it responds") != 200 {
        assert!(Instant::now() < deadline, "{secret} is not taken: {:?}", fleet.told());
    }
    fleet.until_held(&[0, 1, 2], secret);
}

/// Damages the store again and again, and delivers a secret after each time. Nothing that was acknowledged is lost, and
/// versions never fall.
fn survives(fleet: &mut Fleet, times: u32, damage: impl Fn(u32)) {
    let leader = fleet.leader();
    for time in 0..times {
        let secret = format!("secret number {time}");
        deliver(fleet, time as usize % 3, &secret);
        let versions = [0, 1, 2].map(|nth| fleet.version_of_secret(nth));
        damage(time);
        // A replica that starts now finds the secret as soon as the store is mended.
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && time % 2 == 0 {
            for (nth, version) in versions.iter().enumerate() {
                assert_eq!(fleet.replicas[nth].worker.ask("secret"), secret);
                assert!(fleet.version_of_secret(nth) >= *version, "versions never fall");
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
    assert_eq!(fleet.leader(), leader, "the leader stays");
    assert_eq!(fleet.dds.nodes()[0].registrations, 1, "nobody registered again");
}

/// A replica that starts now holds this secret.
fn a_newcomer_holds(fleet: &mut Fleet, url: &str, secret: &str) {
    fleet.add(url, OPEN);
    fleet.until_held(&[fleet.replicas.len() - 1], secret);
}

#[test]
fn an_emptied_redis_is_filled_again() {
    let redis = Redis::start(&[]);
    let mut fleet = three_with_a_secret(&redis.url(), "first");
    survives(&mut fleet, scale(3, 30), |_| assert_eq!(redis.ask(&["FLUSHALL"]), "OK"));
    let secret = format!("secret number {}", scale(3, 30) - 1);
    a_newcomer_holds(&mut fleet, &redis.url(), &secret);
}

#[test]
fn an_emptied_etcd_is_filled_again() {
    let etcd = Etcd::start(&[]);
    let mut fleet = three_with_a_secret(&etcd.url(), "first");
    survives(&mut fleet, scale(3, 30), |_| drop(etcd.ask(&["del", "", "--prefix"])));
    let secret = format!("secret number {}", scale(3, 30) - 1);
    a_newcomer_holds(&mut fleet, &etcd.url(), &secret);
}

#[test]
fn a_redis_that_is_set_back_in_time_is_brought_up_to_date() {
    let redis = Redis::start(&[]);
    let mut fleet = three_with_a_secret(&redis.url(), "first");
    let keys = redis.keys();
    let [key] = &keys[..] else { panic!("one key per node: {keys:?}") };
    assert_eq!(redis.ask(&["COPY", key, "old"]), "1");
    survives(&mut fleet, scale(3, 30), |_| assert_eq!(redis.ask(&["COPY", "old", key, "REPLACE"]), "1"));
    let secret = format!("secret number {}", scale(3, 30) - 1);
    a_newcomer_holds(&mut fleet, &redis.url(), &secret);
}

#[test]
fn a_redis_key_of_another_type_is_named_and_left_alone() {
    let redis = Redis::start(&[]);
    let mut fleet = three_with_a_secret(&redis.url(), "first");
    let key = redis.keys()[0].clone();
    redis.ask(&["RPUSH", "list", "theirs"]);
    redis.ask(&["RENAME", "list", &key]);
    for nth in 0..3 {
        fleet.until(nth, "the type of the key", |status| status.contains(&key));
    }
    assert_eq!(redis.ask(&["LRANGE", &key, "0", "-1"]), "theirs");
    redis.ask(&["DEL", &key]);
    a_newcomer_holds(&mut fleet, &redis.url(), "first");
}

/// Every bit of the sealed record counts. Who changes the line that shows the leader causes a change of leader, at most.
#[test]
fn a_value_that_was_altered_is_mended() {
    let redis = Redis::start(&[]);
    let mut fleet = three_with_a_secret(&redis.url(), "first");
    let key = &redis.keys()[0];
    let bits = 8 * redis.ask(&["STRLEN", key]).parse::<u32>().expect("a number");
    let times = scale(4, 100);
    survives(&mut fleet, times, |time| {
        // Between the end of the line and the end of the value.
        let first = 8 * (u32::try_from(redis.header(key).len()).expect("short") + 1);
        let offset = (first + (bits - 8 - first) / (times - 1) * time).to_string();
        let flipped = if redis.ask(&["GETBIT", key, &offset]) == "0" { "1" } else { "0" };
        redis.ask(&["SETBIT", key, &offset, flipped]);
    });
    let last_digit = (redis.header(key).len() - 1).to_string();
    let digit = redis.ask(&["GETRANGE", key, &last_digit, &last_digit]);
    let leader = fleet.leader();
    redis.ask(&["SETRANGE", key, &last_digit, if digit == "0" { "1" } else { "0" }]);
    fleet.until(leader, "it gives up", |status| status.starts_with("follower"));
    fleet.leader();
    deliver(&mut fleet, 0, "after the change of leader");
    assert_eq!(fleet.dds.nodes()[0].registrations, 1, "nobody registered again");
}

/// Replicas read only as much of it as shows that it is none of theirs.
#[test]
fn what_fills_the_key_is_replaced() {
    const SIZE: usize = 64_000_000;
    let redis = Redis::start(&[]);
    let mut fleet = three_with_a_secret(&redis.url(), "first");
    let key = &redis.keys()[0];
    survives(&mut fleet, 2, |_| {
        let fill = format!("return redis.call('SET', KEYS[1], string.rep('x', {SIZE}))['ok']");
        assert_eq!(redis.ask(&["EVAL", &fill, "1", key]), "OK");
        redis.until(&["EVAL", "return redis.call('STRLEN', KEYS[1]) < 10000", "1", key], "1");
    });
    let figure = |section: &str, name: &str| -> usize {
        let text = redis.ask(&["INFO", section]);
        let rest = text.lines().find_map(|line| line.strip_prefix(name)).expect("it is listed");
        rest.split([',', '\r']).next().and_then(|figure| figure.parse().ok()).expect("a number")
    };
    let (sent, reads) =
        (figure("stats", "total_net_output_bytes:"), figure("commandstats", "cmdstat_getrange:calls="));
    // How often they read depends on how fast they are.
    let each = 2 * 1024 * 1024;
    assert!(each < SIZE && sent < reads * each, "{sent} bytes in {reads} reads");
}

/// It is read whole, up to what an etcd takes.
#[test]
fn what_fills_the_key_of_an_etcd_is_replaced() {
    let etcd = Etcd::start(&[]);
    let mut fleet = three_with_a_secret(&etcd.url(), "first");
    let key = &etcd.keys()[0];
    let value = "x".repeat(1_400_000);
    survives(&mut fleet, 2, |_| {
        etcd.put(key, &value);
        let deadline = Instant::now() + support::GUARD;
        while etcd.ask(&["get", key, "--print-value-only"]).len() >= value.len() {
            assert!(Instant::now() < deadline, "it is still there");
            thread::sleep(Duration::from_millis(100));
        }
    });
}

/// The keys are evicted while secrets arrive.
#[test]
fn a_redis_that_evicts_keys_loses_no_secret() {
    let redis = Redis::start(&["maxmemory 3mb", "maxmemory-policy allkeys-lru"]);
    let mut fleet = three_with_a_secret(&redis.url(), "first");
    assert!(fleet.told().iter().any(|line| line.contains("allkeys-lru")), "it warns: {:?}", fleet.told());
    survives(&mut fleet, scale(4, 40), |_| {
        let port = redis.port.to_string();
        let flood = ["-p", &port, "-t", "set", "-n", "20000", "-r", "1000000", "-d", "1000", "-q"];
        let status = Command::new("redis-benchmark").args(flood).stdout(Stdio::null()).status();
        assert!(status.expect("of redis-tools").success());
    });
}

#[test]
fn the_clock_of_the_store_decides_nothing() {
    let redis = Redis::start_with_clock();
    let mut fleet = three_with_a_secret(&redis.url(), "first");
    let leader = fleet.leader();
    let year = 365 * 24 * 3600;
    for offset in [year, -year, 0] {
        let before: i64 = redis.ask(&["TIME"]).lines().next().and_then(|s| s.parse().ok()).expect("seconds");
        redis.set_clock(&format!("{offset:+}"));
        let after: i64 = redis.ask(&["TIME"]).lines().next().and_then(|s| s.parse().ok()).expect("seconds");
        assert!((after - before).abs() > year / 2, "the clock has moved");
        // For longer than a leader may be silent.
        redis.until_renewed(4);
        assert!(fleet.status(leader).starts_with("leader"));
        deliver(&mut fleet, 1, &format!("at {offset}"));
    }
    assert_eq!(fleet.registrars(), [leader]);
    assert_eq!(fleet.dds.nodes()[0].registrations, 1);
}

#[test]
fn nodes_that_share_a_database_do_not_meet() {
    let redis = Redis::start(&[]);
    let other_key = "11".repeat(32);
    let mut fleets: Vec<_> = [support::KEY, &other_key, support::KEY]
        .into_iter()
        .map(|key| {
            let options = [("SECP256K1_PRIVHEX", key), ("CALLBACK_POLICY", "open")];
            let mut fleet = Fleet::start(&[&redis.url(), &redis.url()], &options);
            fleet.leader();
            fleet.until_registered();
            fleet
        })
        .collect();
    assert_eq!(redis.keys().len(), 3, "a wallet and a DDS have a key");
    for (nth, fleet) in fleets.iter_mut().enumerate() {
        assert_eq!(fleet.call_back(1, &format!("secret of {nth}")).expect("it responds"), 200);
    }
    for (nth, fleet) in fleets.iter_mut().enumerate() {
        fleet.until_held(&[0, 1], &format!("secret of {nth}"));
        assert_eq!(fleet.version_of_secret(0), 1);
    }
    // The record of one node under the name of another.
    let keys = redis.keys();
    let holder = |key: &str| redis.header(key).split(' ').nth(1).map(str::to_owned);
    assert_eq!(redis.ask(&["COPY", &keys[0], &keys[1], "REPLACE"]), "1");
    let (foreign, deadline) = (holder(&keys[1]), Instant::now() + GUARD);
    while holder(&keys[1]) == foreign {
        assert!(Instant::now() < deadline, "it is not mended: {}", redis.header(&keys[1]));
        thread::sleep(Duration::from_millis(20));
    }
    for (nth, fleet) in fleets.iter_mut().enumerate() {
        fleet.until_held(&[0, 1], &format!("secret of {nth}"));
        assert_eq!(fleet.dds.nodes()[0].registrations, 1);
    }
}
