//! State that outlives a process, and processes that share it. Real processes, ended by real signals.
//!
//! Environment variables extend the long tests:
//! - `POSEMESH_KILL_ROUNDS` (default 30): how often the writer of new secrets is killed.
//! - `POSEMESH_CHAOS_SECONDS` (default 3): how long eight processes are killed and started on one directory.

#[cfg(target_os = "linux")]
#[path = "state_dir/linux.rs"]
mod linux;
#[path = "support/place.rs"]
mod place;
mod support;
#[path = "support/worker.rs"]
mod worker;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{TimeZone as _, Utc};
use place::{Place, free_port, write_private};
use posemesh_dev_dds::{DevDds, Endpoint, Fault};
use posemesh_node_registration::error::{Error, ErrorCode};
use posemesh_node_registration::node::{Node, Wait};
use posemesh_node_registration::state::{
    RegistrationState, STATUS_DISCONNECTED, STATUS_REGISTERED, STATUS_REGISTERING, StateDir,
};
use posemesh_node_registration::status::{Role, State};
use rand::Rng as _;
use support::{Events, GUARD, config, dds_that_calls_when_told, logged, until_probed};
use worker::{Worker, leader_of, three};

/// Not a test: the body of a worker process.
#[test]
fn worker() {
    if support::child_case().is_some() {
        worker::work();
    }
}

fn names(directory: &str) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[cfg(unix)]
fn mode(path: impl AsRef<Path>) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// What is in the directory of a node that has stopped. On Windows, the lock is a file of its own.
const LEFT: &[&str] = if cfg!(windows) { &["lock", "state"] } else { &["state"] };

/// A wallet of its own for each node of this process.
fn start(dds: &DevDds, state: &str, key: &str) -> Result<Node, Error> {
    Node::start(&config(
        &dds.url(),
        &[("state_dir", state), ("secp256k1_privhex", key), ("callback_bind", "127.0.0.1:0")],
    ))
}

fn key() -> String {
    static LAST: AtomicUsize = AtomicUsize::new(0x5000);
    format!("{:064x}", LAST.fetch_add(1, Ordering::Relaxed))
}

fn node_url(dds: &DevDds, node: &Node) {
    let address = node.callback_address().expect("ours").expect("a server");
    dds.set_node_url(Some(format!("http://{address}"))).expect("loopback");
}

fn secret(node: &Node) -> Option<String> {
    node.read_secret().expect("ours").map(|secret| secret.expose().to_owned())
}

/// Registers, receives a secret and stops; returns the secret.
fn leave_a_record(dds: &DevDds, state: &str, key: &str) -> String {
    let node = start(dds, state, key).expect("it starts");
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    node_url(dds, &node);
    assert_eq!(dds.call_back().expect("an answer").status, 200);
    let secret = secret(&node).expect("a secret");
    node.stop(GUARD).expect("stopped");
    secret
}

// scenario: restart
#[test]
fn a_restarted_node_has_its_secret_at_once_and_registers_again() {
    let (dds, place, key) = (dds_that_calls_when_told(), Place::new(), key());
    let secret_before = leave_a_record(&dds, &place.state(), &key);
    assert_eq!(names(&place.state()), LEFT);
    #[cfg(unix)]
    assert_eq!((mode(place.state()), mode(Path::new(&place.state()).join("state"))), (0o700, 0o600));
    let record = fs::read_to_string(Path::new(&place.state()).join("state")).expect("a record");
    assert!(record.starts_with("posemesh-node-state 1 ") && record.contains("\"status\":\"registered\""));
    assert!(!record.contains(&secret_before) && !record.contains(&key), "{record}");

    // The secret is there although DDS does not answer.
    dds.inject(Endpoint::Challenge, Fault::Hang, 1);
    let node = start(&dds, &place.state(), &key).expect("it starts");
    let status = node.status().expect("ours");
    assert_eq!(secret(&node), Some(secret_before.clone()));
    assert!(status.has_secret && status.registered_at.is_some());
    assert_eq!((status.secret_version, status.role), (1, Role::Leader));
    assert_eq!(status.persistence_error, None);
    assert_ne!(status.state, State::Registered);
    assert!(dds.wait_for_requests(Endpoint::Challenge, 2, GUARD), "the attempt that hangs");
    node.rearm().expect("it runs");
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    assert_eq!(dds.nodes()[0].registrations, 2);

    // The next registration may bring another secret.
    node_url(&dds, &node);
    dds.set_secret(Some("another secret".into()));
    assert_eq!(dds.call_back().expect("an answer").status, 200);
    assert_eq!(node.status().expect("ours").secret_version, 2);
    drop(node);
    let node = start(&dds, &place.state(), &key).expect("it starts");
    assert_eq!(secret(&node).as_deref(), Some("another secret"));
}

#[test]
fn a_restored_secret_causes_no_event() {
    let (dds, place, key) = (dds_that_calls_when_told(), Place::new(), key());
    leave_a_record(&dds, &place.state(), &key);
    let node = start(&dds, &place.state(), &key).expect("it starts");
    let events = Events::of(&node);
    node.rearm().expect("it runs");
    events.until_state(State::Registered);
    node.stop(GUARD).expect("stopped");
    let secrets = events.rest().into_iter().filter(|event| format!("{event:?}").contains("SecretChanged"));
    assert_eq!(secrets.count(), 0);
}

#[test]
fn a_directory_is_for_one_node_of_a_process() {
    let (dds, place) = (dds_that_calls_when_told(), Place::new());
    let node = start(&dds, &place.state(), &key()).expect("it starts");
    let other_way = format!("{}/../state", place.state());
    for state in [place.state(), other_way] {
        let error = start(&dds, &state, &key()).expect_err("in use");
        assert_eq!(error.code(), ErrorCode::AlreadyRunning);
        assert!(error.message().contains("directory of its own"), "{error}");
    }
    assert_eq!(node.status().expect("ours").role, Role::Leader);
    node.stop(GUARD).expect("stopped");
    start(&dds, &place.state(), &key()).expect("free again");
}

#[test]
fn an_unusable_record_is_renamed_and_reported_once() {
    logged();
    let dds = dds_that_calls_when_told();
    let whole = {
        let place = Place::new();
        leave_a_record(&dds, &place.state(), &key());
        fs::read(Path::new(&place.state()).join("state")).expect("a record")
    };
    let flipped = {
        let mut bytes = whole.clone();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        bytes
    };
    let newer = b"posemesh-node-state 7 what comes then\n".to_vec();
    for (kind, why, bytes) in [
        ("damaged", "checksum", whole[..whole.len() - 1].to_vec()),
        ("damaged", "checksum", flipped),
        ("damaged", "cut off", Vec::new()),
        ("damaged", "not a state file", b"something else\n".to_vec()),
        ("damaged", "not a state file", vec![0; 2 * 1024 * 1024]),
        ("newer", "format 7", newer),
        ("foreign", "belongs to wallet 0x", whole.clone()),
    ] {
        let (place, key) = (Place::new(), key());
        let state = place.state();
        drop(StateDir::open(&state).expect("it is made"));
        write_private(Path::new(&state).join("state"), &bytes);
        let node = start(&dds, &state, &key).expect("it runs");
        assert_eq!(secret(&node), None);
        assert_eq!(node.status().expect("ours").persistence_error, None);
        node.wait(Wait::Registered, Some(GUARD)).expect("registered");
        node.stop(GUARD).expect("stopped");
        let aside: Vec<_> =
            names(&state).into_iter().filter(|name| name.starts_with(&format!("state.{kind}-"))).collect();
        assert_eq!(aside.len(), 1, "{:?}", names(&state));
        assert_eq!(fs::read(Path::new(&state).join(&aside[0])).expect("ours"), bytes);
        let said = logged().into_iter().filter(|record| record.message.contains(&aside[0]));
        let said: Vec<_> = said.filter(|record| record.message.contains(&place.state())).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].message.contains(why), "{said:?}");
        // The new record is in its place.
        let node = start(&dds, &state, &key).expect("it starts");
        assert!(node.status().expect("ours").registered_at.is_some());
    }
}

#[test]
fn a_directory_that_is_led_with_another_wallet_is_refused() {
    let (dds, place) = (dds_that_calls_when_told(), Place::new());
    let _leader = Worker::start(&dds.url(), &[("STATE_DIR", &place.state())]);
    for options in [[("SECP256K1_PRIVHEX", key().as_str())], [("DDS_BASE_URL", "http://127.0.0.1:9")]] {
        let mut all = vec![("STATE_DIR", place.state())];
        all.extend(options.map(|(name, value)| (name, value.to_owned())));
        let all: Vec<_> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let refused = Worker::spawn(&dds.url(), &all).until("refused");
        assert!(refused.starts_with("ERR_INVALID_CONFIG"), "{refused}");
        assert!(refused.contains("give each node a directory of its own"), "{refused}");
        assert!(refused.contains(support::WALLET), "{refused}");
    }
}

// scenario: workers
#[test]
fn followers_show_the_state_of_the_leader() {
    let (dds, place, bind) = (dds_that_calls_when_told(), Place::new(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let mut workers = three(&dds, &place.state(), &bind);
    assert_eq!(dds.nodes()[0].registrations, 1, "one registrar");

    dds.set_secret(Some("the secret".into()));
    assert_eq!(dds.call_back().expect("an answer").status, 200);
    assert_eq!(dds.probe_health().expect("an answer"), 200);
    let answered = Instant::now();
    let seen = workers.each_mut().map(|worker| {
        worker.until("event secret 1");
        answered.elapsed().as_micros()
    });
    println!("microseconds from DDS's answer until each process has reported the secret: {seen:?}");
    for worker in &mut workers {
        assert_eq!(worker.ask("has-secret"), "Ok(())");
        assert_eq!(worker.ask("secret"), "the secret");
        assert_eq!(worker.ask("address"), format!("Some({bind})"));
        let status = worker.until_answer("status", |status| !status.contains("healthcheck=0"));
        assert!(status.contains("version=1 attempts=1 failures=0"), "{status}");
        assert!(status.ends_with("persistence=fine"), "{status}");
    }

    // A refusal, and what follows it.
    dds.inject(Endpoint::Register, Fault::status(403), 1);
    assert!(workers[2].ask("rearm").starts_with("Ok(())"));
    for worker in &mut workers {
        worker.until("event failed ERR_REJECTED");
        worker.until_answer("error", |error| error.contains("403"));
    }
    // Each re-arm of a follower leads to one registration.
    for round in 2..=6 {
        let worker = &mut workers[round % 3];
        assert!(worker.ask("rearm").starts_with("Ok(())"));
        assert_eq!(worker.ask("registered"), "Ok(())");
        assert_eq!(dds.nodes()[0].registrations, round as u64);
        for worker in &mut workers {
            worker.until_answer("status", |status| {
                status.contains(" registered ") && status.contains(&format!("attempts={} ", round + 1))
            });
        }
    }
    for (worker, told) in workers.map(|worker| (worker.id(), worker.end())) {
        let count = |what: &str| told.iter().filter(|line| line.starts_with(what)).count();
        assert_eq!(count("event secret"), 0, "{worker}: there was one, which was read above: {told:?}");
        assert!(count("event healthcheck") >= 1, "{worker}: {told:?}");
        let warned = told.iter().any(|line| is_warning(line) && !line.contains("403"));
        assert!(!warned, "{worker}: {told:?}");
    }
    // The record has the state from which the next leader would continue.
    let record = fs::read_to_string(Path::new(&place.state()).join("state")).expect("a record");
    assert!(record.contains("\"status\":\"registered\""));
}

/// Each process signs in and has its own tokens. When one of them finds the node lost, the leader registers again.
#[test]
fn the_leader_registers_again_when_a_follower_finds_the_node_lost() {
    let (dds, place) = (DevDds::start().expect("a DDS"), Place::new());
    let mut workers = three(&dds, &place.state(), &free_port());
    let tokens = workers.each_mut().map(|worker| worker.ask("token"));
    assert!(tokens.iter().all(|token| dds.token_is_good(token)), "{tokens:?}");
    assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2]);

    dds.forget_all();
    let leader = leader_of(&mut workers);
    let [first, second] = [(leader + 1) % 3, (leader + 2) % 3];
    for worker in [first, second, leader] {
        assert_eq!(workers[worker].ask("token-refused"), "Ok(())");
        let token = workers[worker].ask("token");
        assert!(dds.token_is_good(&token), "{token}");
    }
    // Once, for the process that noticed it first.
    assert_eq!(dds.requests_to(Endpoint::Register).len(), 2);
    for (at, worker) in workers.into_iter().enumerate() {
        let told = worker.end();
        let lost = told.iter().filter(|line| line.contains("the registration is lost")).count();
        assert_eq!(lost, usize::from(at == first), "{told:?}");
    }
}

// scenario: leader-killed
#[test]
fn a_follower_takes_over_when_the_leader_is_killed_or_stops() {
    let (dds, place, bind) = (dds_that_calls_when_told(), Place::new(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let options = [("STATE_DIR", place.state()), ("CALLBACK_BIND", bind.clone())];
    let options = options.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut workers = Vec::from(three(&dds, &place.state(), &bind));
    dds.set_secret(Some("first".into()));
    assert_eq!(dds.call_back().expect("an answer").status, 200);
    let mut took = Vec::new();
    for round in 0..6 {
        let leader = leader_of(&mut workers);
        let mut leader = workers.remove(leader);
        let began = Instant::now();
        if round % 2 == 0 {
            leader.kill();
        } else {
            leader.end();
        }
        // The next leader has the port, and does not register again.
        until_probed(&dds);
        took.push(began.elapsed().as_millis());
        let successor = leader_of(&mut workers);
        let status = workers[successor].ask("status");
        assert!(status.starts_with("leader registered version=1"), "{status}");
        assert_eq!(dds.nodes()[0].registrations, 1);
        // Still the registration of the first secret.
        dds.set_secret(Some("second".into()));
        assert_eq!(dds.call_back().expect("an answer").status, 403);
        dds.set_secret(Some("first".into()));
        assert_eq!(dds.call_back().expect("an answer").status, 200);
        for worker in &mut workers {
            assert_eq!(worker.ask("secret"), "first");
        }
        workers.push(Worker::start(&dds.url(), &options));
    }
    println!("milliseconds from the end of a leader to an answer of the next one: {took:?}");
}

#[test]
fn a_follower_registers_when_the_leader_died_before_it_had() {
    let (dds, place) = (dds_that_calls_when_told(), Place::new());
    dds.inject(Endpoint::Challenge, Fault::Hang, 1);
    let mut leader = Worker::start(&dds.url(), &[("STATE_DIR", &place.state())]);
    assert!(dds.wait_for_requests(Endpoint::Challenge, 1, GUARD));
    let mut follower = Worker::start(&dds.url(), &[("STATE_DIR", &place.state())]);
    leader.kill();
    assert_eq!(follower.ask("registered"), "Ok(())");
    assert!(follower.is_leader());
    assert_eq!(dds.nodes()[0].registrations, 1);

    // The same for a re-arm that the leader did not finish.
    let mut second = Worker::start(&dds.url(), &[("STATE_DIR", &place.state())]);
    dds.inject(Endpoint::Challenge, Fault::Hang, 1);
    // The leader may have begun already.
    let rearmed = second.ask("rearm");
    assert!(matches!(&*rearmed, "Ok(()) disconnected" | "Ok(()) registering"), "{rearmed}");
    assert!(dds.wait_for_requests(Endpoint::Challenge, 3, GUARD));
    follower.kill();
    assert_eq!(second.ask("registered"), "Ok(())");
    assert_eq!(dds.nodes()[0].registrations, 2);
}

#[test]
fn a_new_leader_continues_to_watch_for_health_probes() {
    let (dds, place, bind) = (dds_that_calls_when_told(), Place::new(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let state = place.state();
    let options = [("STATE_DIR", state.as_str()), ("CALLBACK_BIND", &bind), ("HEALTHCHECK_TTL_SECS", "3")];
    let mut leader = Worker::start(&dds.url(), &options);
    let mut follower = Worker::start(&dds.url(), &options);
    assert_eq!(follower.ask("registered"), "Ok(())");
    assert_eq!(dds.probe_health().expect("an answer"), 200);
    follower.until("event healthcheck");
    leader.kill();
    // DDS is silent from here on.
    let lost = follower.until("log warn the registration is lost");
    assert!(lost.contains("has not probed this node for 3 s"), "{lost}");
    assert!(dds.wait_for(GUARD, |dds| dds.nodes()[0].registrations == 2));
}

/// New secrets arrive all the time, and SIGKILL at a random moment: a secret that was confirmed to DDS is on the disk,
/// complete.
#[test]
fn a_kill_never_leaves_a_partial_record() {
    let rounds = number("POSEMESH_KILL_ROUNDS", 30);
    let (dds, place, bind) = (dds_that_calls_when_told(), Place::new(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let state = place.state();
    let options = [("STATE_DIR", state.as_str()), ("CALLBACK_BIND", &bind), ("CALLBACK_POLICY", "open")];
    let mut random = rand::thread_rng();
    let (mut last, mut kept, mut lost_answers) = (0_u64, 0_u64, 0);
    let start = || {
        let mut worker = Worker::start(&dds.url(), &options);
        // Before that it accepts no callback.
        worker.ask("registered");
        worker
    };
    let mut worker = start();
    for round in 0..rounds {
        let after = Duration::from_micros(random.gen_range(0..30_000));
        thread::scope(|scope| {
            let killed = scope.spawn(|| {
                thread::sleep(after);
                worker.kill();
            });
            while !killed.is_finished() {
                last += 1;
                // Long, so that a write takes a while.
                dds.set_secret(Some(format!("{last}-{}", "x".repeat(3000))));
                match dds.call_back() {
                    Ok(answer) if answer.status == 200 => kept = last,
                    _ => {
                        lost_answers += 1;
                        break;
                    }
                }
            }
        });
        worker = start();
        let secret = worker.ask("secret");
        let found: u64 = secret.split('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        assert!(kept <= found && found <= last, "round {round}: {found}, not {kept} to {last}");
        assert!(
            found == 0 || secret == format!("{found}-{}", "x".repeat(3000)),
            "round {round}: a partial secret"
        );
        (kept, last) = (found, last.max(found));
        let told = worker.told();
        assert!(!told.iter().any(|line| is_warning(line)), "round {round}: {told:?}");
    }
    println!("{rounds} kills, {last} secrets, {lost_answers} callbacks without an answer");
    drop(worker);
    assert_eq!(names(&state).iter().filter(|name| name.contains("damaged")).count(), 0);
}

/// Eight processes on one directory, killed, stopped and started at random, and re-armed all the time. The versions in
/// DDS's requests show who registered: a registrar that continued next to its successor would appear again.
#[test]
fn there_is_one_registrar_whichever_process_is_killed() {
    let seconds = number("POSEMESH_CHAOS_SECONDS", 3);
    let (dds, place, bind) = (DevDds::start().expect("a DDS"), Place::new(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let state = place.state();
    let mut random = rand::thread_rng();
    let mut started = 0;
    let mut start = || {
        started += 1;
        let version = format!("1.0.{started}");
        let options = [("STATE_DIR", state.as_str()), ("CALLBACK_BIND", &bind), ("NODE_VERSION", &version)];
        Worker::start(&dds.url(), &options)
    };
    let mut workers: Vec<_> = (0..8).map(|_| start()).collect();
    let mut heard = Vec::new();
    let (mut killed, mut slowest) = (0, Duration::ZERO);
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        let victim = if random.gen_bool(0.7) { leader_of(&mut workers) } else { random.gen_range(0..8) };
        let mut victim = workers.swap_remove(victim);
        let led = victim.is_leader();
        for _ in 0..random.gen_range(0..3) {
            workers[random.gen_range(0..7)].ask("rearm");
        }
        if random.gen_bool(0.8) {
            victim.kill();
        } else {
            victim.end();
        }
        killed += 1;
        if led {
            let began = Instant::now();
            leader_of(&mut workers);
            slowest = slowest.max(began.elapsed());
        }
        workers.push(start());
        let mut secrets = Vec::new();
        for worker in &mut workers {
            // No process is stuck, and none has lost the state.
            assert_eq!(worker.ask("registered"), "Ok(())");
            assert_eq!(worker.ask("has-secret"), "Ok(())");
            secrets.push(worker.ask("secret"));
        }
        assert!(secrets.iter().all(|secret| secret.len() > 8), "{} secrets", secrets.len());
        for request in dds.requests_to(Endpoint::Register) {
            let body = request.json().expect("JSON");
            heard.push(body["version"].as_str().expect("a version").to_owned());
        }
        dds.clear_requests();
    }
    heard.dedup();
    let mut once = heard.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), heard.len(), "two registrars took turns: {heard:?}");
    // In the end all have the same secret.
    dds.set_secret(Some("the last one".into()));
    workers[3].ask("rearm");
    for worker in &mut workers {
        worker.until_answer("secret", |held| held == "the last one");
        // A callback for an earlier registration may arrive late; it is refused.
        let late = |line: &str| line.contains("registration callback refused with 4");
        let told = worker.told();
        assert!(!told.iter().any(|line| is_warning(line) && !late(line)), "{told:?}");
    }
    println!(
        "{killed} ends, {} registrars, slowest takeover {} ms, {seconds} s",
        heard.len(),
        slowest.as_millis()
    );
}

fn until_record(state: &str, part: &str) {
    let deadline = Instant::now() + GUARD;
    while !fs::read_to_string(Path::new(state).join("state")).expect("a record").contains(part) {
        assert!(Instant::now() < deadline, "{part} is not kept");
        thread::yield_now();
    }
}

#[test]
fn the_state_functions_of_a_directory_persist() {
    let (dds, place) = (dds_that_calls_when_told(), Place::new());
    let at = Utc.timestamp_opt(1_704_164_645, 6_007_008).single().expect("a valid time");
    let state = StateDir::open(place.state()).expect("it is made");
    assert_eq!(state.read_state().expect("empty").status, STATUS_DISCONNECTED);
    assert_eq!(state.read_node_secret(), Ok(None));
    state
        .write_state(&RegistrationState { status: STATUS_REGISTERING.into(), last_healthcheck: Some(at) })
        .expect("it is kept");
    state.write_node_secret("é\u{1f511}\0").expect("it is kept");
    state.set_status(STATUS_REGISTERED).expect("it is kept");
    assert_eq!(
        state.set_status("offline").expect_err("none of the three").code(),
        ErrorCode::InvalidArgument
    );
    drop(state);

    let state = StateDir::open(place.state()).expect("it is there");
    let read = state.read_state().expect("it was kept");
    assert_eq!((read.status.as_str(), read.last_healthcheck), (STATUS_REGISTERED, Some(at)));
    assert_eq!(state.read_node_secret(), Ok(Some("é\u{1f511}\0".into())));
    let lock = state.try_lock().expect("it works").expect("it is free");
    assert!(state.try_lock().expect("it works").is_none());
    state.touch_healthcheck_now().expect("its holder writes");
    assert!(state.try_lock().expect("it works").is_none(), "still locked");
    drop(lock);
    state.clear_node_secret().expect("it is free");
    assert_eq!(state.read_node_secret(), Ok(None));
    assert!(state.read_state().expect("it was kept").last_healthcheck > Some(at));
    assert!(state.try_lock().expect("it works").is_some());

    let record = Path::new(&place.state()).join("state");
    fs::write(&record, "posemesh-node-state 1").expect("ours");
    let error = state.read_state().expect_err("damaged");
    assert!(error.code() == ErrorCode::Io && error.message().contains("cut off"), "{error}");
    state.write_node_secret("after").expect("the damaged record is renamed");
    assert_eq!(state.read_node_secret(), Ok(Some("after".into())));
    assert_eq!(names(&place.state()).iter().filter(|name| name.contains("damaged")).count(), 1);
    drop(state);

    // While a node of another process leads, it reads and cannot write.
    let other = Place::new();
    let mut worker = Worker::start(&dds.url(), &[("STATE_DIR", &other.state())]);
    assert_eq!(worker.ask("registered"), "Ok(())");
    until_record(&other.state(), "\"status\":\"registered\"");
    let state = StateDir::open(other.state()).expect("it is there");
    assert_eq!(state.read_state().expect("whole").status, STATUS_REGISTERED);
    assert!(state.try_lock().expect("it works").is_none());
    let error = state.write_node_secret("mine").expect_err("not the registrar");
    assert_eq!(error.code(), ErrorCode::AlreadyRunning);
    worker.kill();
    assert!(state.try_lock().expect("it works").is_some(), "the kernel has released the lock");
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().expect("a number"))
}

/// Whether this is a warning other than the one about the credentials of the tests.
fn is_warning(line: &str) -> bool {
    line.starts_with("log warn") && !line.contains("reg_secret")
}
