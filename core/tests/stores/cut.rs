//! The leader is cut off from the store, and from nothing else: at most one replica registers at any time.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::certificate::Certificate;
use crate::etcd::Etcd;
use crate::fleet::Fleet;
use crate::redis::Redis;
use crate::relay::Relay;
use crate::scale;
use crate::support::{CHILD_CASE, GUARD, child_case};
use crate::worker::Worker;

/// A leader's term ends this long after the start of its last renewal.
const TERM: Duration = Duration::from_secs(7);
/// A follower takes over when the record has stood still for this long.
const STANDSTILL: Duration = Duration::from_secs(10);

type Cut = fn(&Relay);

/// Registers once a second, and refuses to be registered.
const BUSY: &[(&str, &str)] = &[("REGISTER_INTERVAL_SECS", "1")];

fn the_leader_is_cut_off(scheme: &str, port: u16, cut: Cut) {
    let (to_first, to_second) = (Relay::to(port), Relay::to(port));
    let urls = [&to_first, &to_second].map(|relay| format!("{scheme}://{}", relay.authority()));
    let mut fleet = Fleet::start(&[&urls[0]], BUSY);
    the_next_one_leads(&mut fleet, &urls[1], BUSY, &|| cut(&to_first), &|| to_first.pass());
}

/// The one replica of this fleet is cut off from the store, and another one takes over.
fn the_next_one_leads(
    fleet: &mut Fleet,
    url: &str,
    options: &[(&str, &str)],
    cut: &dyn Fn(),
    mend: &dyn Fn(),
) {
    fleet.keep_registering();
    assert_eq!(fleet.leader(), 0);
    fleet.add(url, options);
    fleet
        .until(1, "follows", |status| status.starts_with("follower") && status.ends_with("persistence=fine"));
    fleet.until_registering(2);

    let cut_at = SystemTime::now();
    cut();
    fleet.until(1, "takes over", |status| status.starts_with("leader"));
    fleet.until_registering(2);
    fleet.until(0, "does not lead", |status| {
        status.starts_with("follower") && !status.ends_with("persistence=fine")
    });
    assert_eq!(fleet.registrars(), [0, 1]);
    let registrations = fleet.registrations();
    let of = |replica: usize| {
        let times = registrations.iter().filter(move |(_, nth)| *nth == replica);
        times.map(|(at, _)| at.duration_since(cut_at).unwrap_or_default())
    };
    let last = of(0).max().expect("it led");
    assert!(last <= TERM, "the last request is {last:?} after the cut");
    let first = of(1).min().expect("it leads");
    assert!(
        first > last,
        "the next replica begins {first:?} after the cut, and {last:?} was the last request"
    );

    mend();
    fleet
        .until(0, "follows", |status| status.starts_with("follower") && status.ends_with("persistence=fine"));
    fleet.until_registering(2);
    assert_eq!(fleet.registrars(), [0, 1]);
}

/// All of them at once, because they mostly wait. Each has a DDS and therefore a key of its own.
fn every_way_to_be_cut_off(scheme: &str, port: u16) {
    let ways: [Cut; 4] = [Relay::cut, Relay::swallow, Relay::swallow_answers, Relay::hold];
    for _ in 0..scale(1, 5) {
        thread::scope(|scope| {
            for way in ways {
                scope.spawn(move || the_leader_is_cut_off(scheme, port, way));
            }
        });
    }
}

#[test]
fn a_leader_that_is_cut_off_from_redis_ends_before_another_begins() {
    let redis = Redis::start(&[]);
    every_way_to_be_cut_off("redis", redis.port);
}

#[test]
fn a_leader_that_is_cut_off_from_etcd_ends_before_another_begins() {
    let etcd = Etcd::start(&[]);
    every_way_to_be_cut_off("etcd+http", etcd.port);
}

/// Requests and responses take longer than usual, and connections end in one direction.
#[test]
fn a_slow_network_changes_no_leader() {
    let redis = Redis::start(&[]);
    let relay = Relay::to(redis.port);
    let url = format!("redis://{}", relay.authority());
    let mut fleet = Fleet::start(&[&url, &url, &url], &[]);
    let leader = fleet.leader();
    fleet.until_registered();
    relay.delay(Duration::from_millis(20));
    let until = Instant::now() + STANDSTILL;
    for nth in [0, 1, 2].into_iter().cycle() {
        relay.half_close();
        // Without a connection, DDS is told to call again.
        let deadline = Instant::now() + GUARD;
        while fleet.call_back(nth, "the secret").expect("it responds") != 200 {
            assert!(Instant::now() < deadline, "the secret is not taken");
            thread::sleep(Duration::from_millis(20));
        }
        fleet.until_held(&[0, 1, 2], "the secret");
        if Instant::now() >= until {
            break;
        }
        thread::sleep(Duration::from_secs(1));
    }
    relay.pass();
    assert_eq!(fleet.leader(), leader);
    assert_eq!(fleet.registrars(), [leader]);
}

/// A new connection needs a round trip for TLS, one for the login, and one for the first request.
#[test]
fn a_distant_store_is_used() {
    let certificate = Certificate::new();
    let redis = Redis::start_tls(&certificate, &[]);
    let relay = Relay::to(redis.port);
    relay.delay(Duration::from_millis(400));
    let url = format!("rediss://{}", relay.authority());
    let ca_file = certificate.ca_file();
    let mut fleet = Fleet::start(&[&url, &url], &[("CA_FILE", &ca_file)]);
    let leader = fleet.leader();
    fleet.until_registered();
    let deadline = Instant::now() + GUARD;
    while fleet.call_back(1 - leader, "the secret").expect("it responds") != 200 {
        assert!(Instant::now() < deadline, "the secret is not taken");
    }
    fleet.until_held(&[0, 1], "the secret");
    assert_eq!(fleet.registrars(), [leader]);
}

/// A child that the host forks closes its copies of the connections.
#[test]
fn no_connection_outlives_a_stopped_node_in_a_forked_child() {
    let (redis, etcd) = (Redis::start(&[]), Etcd::start(&[]));
    for (scheme, port) in [("redis", redis.port), ("etcd+http", etcd.port)] {
        let relay = Relay::to(port);
        let mut fleet = Fleet::start(&[&format!("{scheme}://{}", relay.authority())], &[]);
        fleet.leader();
        assert!(relay.open_connections() > 0);
        let replica = &mut fleet.replicas[0].worker;
        assert!(replica.ask("fork").parse::<u32>().is_ok());
        assert_eq!(replica.ask("stop"), "Ok(())");
        let deadline = Instant::now() + GUARD;
        while relay.open_connections() > 0 {
            assert!(Instant::now() < deadline, "{scheme}: a connection is left");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Packets are lost, as with a cable that is out: nobody learns that the connection has ended.
#[test]
fn a_leader_whose_link_is_down_ends_before_another_begins() {
    const TEST: &str = "cut::a_leader_whose_link_is_down_ends_before_another_begins";
    if child_case().is_none() {
        return in_a_network(TEST);
    }
    run("ip link set lo up").expect("a namespace of our own");
    let network = format!("posemesh-{}", std::process::id());
    run(&format!("ip netns add {network}")).expect("a namespace of our own");
    let _removed = OnDrop(|| drop(run(&format!("ip netns del {network}"))));
    run(&format!("ip -n {network} link set lo up")).expect("a namespace of our own");
    for (link, ip) in [("store", "10.231.1"), ("dds", "10.231.2")] {
        for command in [
            format!("ip link add {link} type veth peer name {link} netns {network}"),
            format!("ip addr add {ip}.1/24 dev {link}"),
            format!("ip link set {link} up"),
            format!("ip -n {network} addr add {ip}.2/24 dev {link}"),
            format!("ip -n {network} link set {link} up"),
        ] {
            run(&command).expect("links between our own namespaces");
        }
    }
    let redis = Redis::start(&[]);
    let mut fleet = Fleet::start(&[], &[]);
    let dds_port = fleet.dds.authority().rsplit(':').next().and_then(|port| port.parse().ok());
    let to_dds = Relay::at("10.231.2.1", dds_port.expect("a port"));
    let to_store = Relay::at("10.231.1.1", redis.port);
    fleet.move_dds_to(&to_dds.authority());
    let options = [BUSY, &[("ALLOW_INSECURE_HTTP", "true")]].concat();
    let start = |dds: &str, options: &[(&str, &str)]| Worker::start_in_namespace(&network, dds, options);
    fleet.add_by(start, &format!("redis://{}", to_store.authority()), &options);
    let link = |state: &str| run(&format!("ip link set store {state}")).expect("our link");
    the_next_one_leads(&mut fleet, &redis.url(), &options, &|| link("down"), &|| link("up"));
}

/// Runs a test of this binary in a network of its own, where it has all permissions.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn in_a_network(test: &str) {
    let program = std::env::current_exe().expect("this binary");
    let output = Command::new("unshare")
        .args(["--net", "--"])
        .arg(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD_CASE, "network")
        .output()
        .expect("unshare, of util-linux");
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    if stderr.contains("unshare failed") {
        println!("SKIPPED: cannot make a network namespace: {stderr}");
        return;
    }
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
}

/// Runs a command of words without spaces.
fn run(command: &str) -> Result<(), String> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().expect("a program")).args(words).output();
    let output = output.map_err(|error| error.to_string())?;
    let failed = || format!("{command}: {}", String::from_utf8_lossy(&output.stderr));
    output.status.success().then_some(()).ok_or_else(failed)
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}
