//! What a node counts, and when it is ready. A real node against a local DDS.

#[cfg(target_os = "linux")]
#[path = "support/place.rs"]
mod place;
mod support;
#[cfg(target_os = "linux")]
#[path = "support/worker.rs"]
mod worker;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use posemesh_dev_dds::{Callback, DevDds, Endpoint, Fault};
use posemesh_node_registration::error::{Error, ErrorCode};
use posemesh_node_registration::node::{Node, Wait};
use posemesh_node_registration::status::{Role, State};
use support::{Events, GUARD, WALLET, start};

/// The samples in a text for Prometheus, by their names with labels.
#[derive(Debug)]
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn of(node: &Node) -> Self {
        Self::parse(&node.metrics_text().expect("this process"))
    }

    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            (series.to_owned(), value.parse().expect("a number"))
        });
        Self(samples.collect())
    }

    #[track_caller]
    fn get(&self, series: &str) -> f64 {
        let series = format!("posemesh_node_{series}");
        *self.0.get(&series).unwrap_or_else(|| panic!("no {series} in {self:?}"))
    }

    #[track_caller]
    fn assert(&self, expected: &[(&str, u32)]) {
        for (series, value) in expected {
            assert_eq!(self.get(series), f64::from(*value), "{series}");
        }
    }
}

/// Waits until a sample has this value.
#[track_caller]
fn until(node: &Node, series: &str, value: u32) {
    let deadline = Instant::now() + GUARD;
    while Scrape::of(node).get(series) != f64::from(value) {
        assert!(Instant::now() < deadline, "{series} is not {value}: {:?}", Scrape::of(node));
        std::thread::yield_now();
    }
}

/// A node that DDS calls when it is told to.
fn node_with_callback(dds: &DevDds, options: &[(&str, &str)]) -> Node {
    let node = start(dds, &[&[("callback_bind", "127.0.0.1:0")], options].concat());
    let address = node.callback_address().expect("this process").expect("a server");
    dds.set_node_url(Some(format!("http://{address}"))).expect("loopback");
    node
}

fn quiet_dds() -> DevDds {
    DevDds::builder().callback(Callback::Never).start().expect("a DDS")
}

fn callback(id: &str, secret: &str) -> String {
    format!(r#"{{"id":"{id}","secret":"{secret}"}}"#)
}

#[test]
fn every_metric_and_every_label_is_there_from_the_start() {
    let dds = quiet_dds();
    dds.inject(Endpoint::Challenge, Fault::Hang, 1);
    let node = start(&dds, &[]);
    assert!(dds.wait_for_requests(Endpoint::Challenge, 1, GUARD));
    let text = node.metrics_text().expect("this process");
    let expected = "\
        access_token_expiry_timestamp_seconds 0
        callbacks_total{outcome=\"accepted\"} 0
        callbacks_total{outcome=\"forbidden\"} 0
        callbacks_total{outcome=\"malformed\"} 0
        callbacks_total{outcome=\"not_waiting\"} 0
        callbacks_total{outcome=\"unavailable\"} 0
        callbacks_total{outcome=\"unchanged\"} 0
        clock_skew_seconds 0
        dds_request_seconds_total{endpoint=\"challenge\"} 0
        dds_request_seconds_total{endpoint=\"register\"} 0
        dds_request_seconds_total{endpoint=\"verify\"} 0
        dds_requests_total{endpoint=\"challenge\",outcome=\"rejected\"} 0
        dds_requests_total{endpoint=\"challenge\",outcome=\"success\"} 0
        dds_requests_total{endpoint=\"challenge\",outcome=\"unavailable\"} 0
        dds_requests_total{endpoint=\"register\",outcome=\"rejected\"} 0
        dds_requests_total{endpoint=\"register\",outcome=\"success\"} 0
        dds_requests_total{endpoint=\"register\",outcome=\"unavailable\"} 0
        dds_requests_total{endpoint=\"verify\",outcome=\"rejected\"} 0
        dds_requests_total{endpoint=\"verify\",outcome=\"success\"} 0
        dds_requests_total{endpoint=\"verify\",outcome=\"unavailable\"} 0
        events_dropped_total 0
        has_secret 0
        health_probes_total 0
        info{version=\"VERSION\"} 1
        last_probe_timestamp_seconds 0
        leader 1
        next_attempt_timestamp_seconds 0
        persistence_failing 0
        registered_timestamp_seconds 0
        registration_attempts_total{outcome=\"cancelled\"} 0
        registration_attempts_total{outcome=\"conflict\"} 0
        registration_attempts_total{outcome=\"rejected\"} 0
        registration_attempts_total{outcome=\"success\"} 0
        registration_attempts_total{outcome=\"unavailable\"} 0
        registration_consecutive_failures 0
        registrations_lost_total{reason=\"probes_stopped\"} 0
        registrations_lost_total{reason=\"unknown_node\"} 0
        sign_in_consecutive_failures 0
        sign_ins_total{outcome=\"rejected\"} 0
        sign_ins_total{outcome=\"success\"} 0
        sign_ins_total{outcome=\"unavailable\"} 0
        sign_ins_total{outcome=\"unknown_node\"} 0
        state{state=\"disconnected\"} 0
        state{state=\"registered\"} 0
        state{state=\"registering\"} 1";
    let expected = expected.replace("VERSION", posemesh_node_registration::VERSION);
    let expected = expected.lines().map(|line| format!("posemesh_node_{}", line.trim()));
    let mut samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    samples.sort_unstable();
    assert_eq!(samples, expected.collect::<Vec<_>>());
    assert!(text.ends_with('\n') && !text.contains("EOF") && text.is_ascii());

    // Each family is described once, before its samples.
    let mut described = Vec::new();
    for block in text.split("# HELP ").skip(1) {
        let (name, rest) = block.split_once(' ').expect("a description");
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let (_, samples) = rest.split_once(&format!("\n# TYPE {name} {kind}\n")).expect("a type");
        assert!(samples.lines().all(|line| line.split(['{', ' ']).next() == Some(name)), "{block}");
        assert!(!described.contains(&name), "{name}");
        described.push(name);
    }
}

// scenario: metrics
#[test]
fn a_registration_its_callbacks_and_its_probes_are_counted() {
    let dds = quiet_dds();
    let node = node_with_callback(&dds, &[]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    let (id, answer) = ("3f1d7c20-0a54-4b52-9b8e-6f0a8a2f7d11", |body: &str, content_type: &str| {
        dds.call_back_with(body, content_type).expect("an answer").status
    });
    let json = "application/json";
    assert_eq!(answer(&callback(id, "first"), json), 200);
    assert_eq!(answer(&callback(id, "first"), json), 200);
    assert_eq!(answer(&callback(id, "first"), json), 200);
    assert_eq!(answer(&callback(id, "second"), json), 403);
    assert_eq!(answer("{", json), 400);
    assert_eq!(answer(&callback(id, " "), json), 422);
    assert_eq!(answer(&callback(id, "first"), "text/plain"), 415);
    for _ in 0..3 {
        assert_eq!(dds.probe_health().expect("an answer"), 200);
    }
    let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let token = node.access_token(Some(GUARD)).expect("a token");

    let scrape = Scrape::of(&node);
    scrape.assert(&[
        ("callbacks_total{outcome=\"accepted\"}", 1),
        ("callbacks_total{outcome=\"unchanged\"}", 2),
        ("callbacks_total{outcome=\"forbidden\"}", 1),
        ("callbacks_total{outcome=\"malformed\"}", 3),
        ("callbacks_total{outcome=\"not_waiting\"}", 0),
        ("health_probes_total", 3),
        ("registration_attempts_total{outcome=\"success\"}", 1),
        ("sign_ins_total{outcome=\"success\"}", 1),
        ("dds_requests_total{endpoint=\"challenge\",outcome=\"success\"}", 2),
        ("dds_requests_total{endpoint=\"register\",outcome=\"success\"}", 1),
        ("dds_requests_total{endpoint=\"verify\",outcome=\"success\"}", 1),
        ("has_secret", 1),
        ("leader", 1),
        ("state{state=\"registered\"}", 1),
        ("state{state=\"registering\"}", 0),
        ("next_attempt_timestamp_seconds", 0),
    ]);
    for endpoint in ["challenge", "register", "verify"] {
        let seconds = scrape.get(&format!("dds_request_seconds_total{{endpoint=\"{endpoint}\"}}"));
        assert!(seconds > 0.0 && seconds < GUARD.as_secs_f64(), "{endpoint} {seconds}");
    }
    for time in ["registered_timestamp_seconds", "last_probe_timestamp_seconds"] {
        assert!((scrape.get(time) - before).abs() < GUARD.as_secs_f64(), "{time}");
    }
    assert!(scrape.get("access_token_expiry_timestamp_seconds") > before);
    let text = node.metrics_text().expect("this process").to_lowercase();
    for private in [&WALLET[2..], id, "first", token.value()] {
        assert!(!text.contains(&private.to_lowercase()), "{private}");
    }

    // The struct has the same numbers.
    let metrics = node.metrics().expect("this process");
    assert_eq!((metrics.state, metrics.role), (State::Registered, Role::Leader));
    assert_eq!((metrics.callbacks.malformed, metrics.callbacks.unchanged), (3, 2));
    assert_eq!((metrics.health_probes, metrics.dds.challenge.responses.success), (3, 2));
    assert!(metrics.dds.challenge.time > Duration::ZERO);

    node.stop(GUARD).expect("stops");
    let last = node.metrics().expect("this process");
    assert_eq!((last.state, last.token_expires_at), (State::Disconnected, None));
    assert_eq!((last.callbacks, last.dds), (metrics.callbacks, metrics.dds));
}

#[test]
fn a_callback_that_no_registration_waits_for_is_counted_as_such() {
    let dds = quiet_dds();
    dds.inject(Endpoint::Challenge, Fault::Hang, 1);
    let node = node_with_callback(&dds, &[]);
    assert!(dds.wait_for_requests(Endpoint::Challenge, 1, GUARD));
    let url = node.callback_address().expect("this process").expect("a server");
    let body = callback("any", "s");
    let mut stream = TcpStream::connect(url).expect("it listens");
    write!(
        stream,
        "POST /internal/v1/registrations HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("an answer");
    assert!(response.starts_with("HTTP/1.1 409 "), "{response}");
    Scrape::of(&node).assert(&[("callbacks_total{outcome=\"not_waiting\"}", 1)]);
}

#[test]
fn failures_are_counted_by_what_dds_answered() {
    let dds = quiet_dds();
    dds.inject(Endpoint::Challenge, Fault::status(503), 1);
    // After each failure the registrar pauses for two minutes.
    let node = start(&dds, &[("max_retry", "1")]);
    let ended = |outcome: &str| format!("registration_attempts_total{{outcome=\"{outcome}\"}}");
    until(&node, "registration_consecutive_failures", 1);
    for (failures, (endpoint, fault, outcome, count)) in (2..).zip([
        (Endpoint::Challenge, Fault::Garbage, "unavailable", 2),
        (Endpoint::Register, Fault::status(409), "conflict", 1),
        (Endpoint::Register, Fault::status(401), "rejected", 1),
        (Endpoint::Register, Fault::status(403), "rejected", 2),
    ]) {
        dds.inject(endpoint, fault, 1);
        node.rearm().expect("it runs");
        until(&node, "registration_consecutive_failures", failures);
        Scrape::of(&node).assert(&[(&ended(outcome), count)]);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let pause = Scrape::of(&node).get("next_attempt_timestamp_seconds") - now;
    assert!(pause > 0.0 && pause < 125.0, "{pause}");

    let seen = dds.requests_to(Endpoint::Challenge).len();
    dds.inject(Endpoint::Challenge, Fault::Hang, 1);
    node.rearm().expect("it runs");
    assert!(dds.wait_for_requests(Endpoint::Challenge, seen + 1, GUARD), "it hangs");
    node.rearm().expect("it runs");
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");

    dds.inject(Endpoint::Verify, Fault::status(401), 1);
    node.access_token(Some(GUARD)).expect_err("refused");
    Scrape::of(&node).assert(&[
        ("registration_attempts_total{outcome=\"conflict\"}", 1),
        ("registration_attempts_total{outcome=\"unavailable\"}", 2),
        ("dds_requests_total{endpoint=\"challenge\",outcome=\"unavailable\"}", 2),
        ("registration_attempts_total{outcome=\"rejected\"}", 2),
        ("registration_attempts_total{outcome=\"success\"}", 1),
        ("registration_attempts_total{outcome=\"cancelled\"}", 1),
        ("dds_requests_total{endpoint=\"register\",outcome=\"rejected\"}", 3),
        ("dds_requests_total{endpoint=\"register\",outcome=\"success\"}", 1),
        ("dds_requests_total{endpoint=\"verify\",outcome=\"rejected\"}", 1),
        ("sign_ins_total{outcome=\"rejected\"}", 1),
        ("sign_in_consecutive_failures", 1),
        ("registration_consecutive_failures", 0),
        ("next_attempt_timestamp_seconds", 0),
    ]);
}

#[test]
fn a_lost_registration_is_counted_by_how_the_loss_was_detected() {
    let dds = quiet_dds();
    let node = node_with_callback(&dds, &[("healthcheck_ttl_secs", "1")]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    dds.forget_all();
    node.access_token(Some(GUARD)).expect("a token, after another registration");
    Scrape::of(&node).assert(&[
        ("registrations_lost_total{reason=\"unknown_node\"}", 1),
        ("registrations_lost_total{reason=\"probes_stopped\"}", 0),
        ("sign_ins_total{outcome=\"unknown_node\"}", 1),
        ("sign_ins_total{outcome=\"success\"}", 1),
        ("registration_attempts_total{outcome=\"success\"}", 2),
    ]);
    assert_eq!(dds.probe_health().expect("an answer"), 200);
    until(&node, "registrations_lost_total{reason=\"probes_stopped\"}", 1);
}

#[test]
fn events_that_a_slow_callback_misses_are_counted() {
    const CAPACITY: u32 = 1024;
    const TOO_MANY: u32 = 7;
    let dds = quiet_dds();
    let node = node_with_callback(&dds, &[]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    let (entered, has_entered) = channel();
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    node.set_event_callback(move |_| {
        let _ = entered.send(());
        let _ = released.lock().expect("one caller").recv();
    })
    .expect("it runs");
    let probe = |times: u32| {
        let address = node.callback_address().expect("this process").expect("a server");
        let mut stream = TcpStream::connect(address).expect("it listens");
        for nth in 1..=times {
            let connection = if nth == times { "connection: close\r\n" } else { "" };
            write!(stream, "GET /health HTTP/1.1\r\nhost: node\r\nuser-agent: DDS v1\r\n{connection}\r\n")
                .expect("sent");
        }
        stream.read_to_end(&mut Vec::new()).expect("answers");
    };
    probe(1);
    has_entered.recv_timeout(GUARD).expect("the callback is stuck");
    probe(CAPACITY + TOO_MANY);
    let scrape = Scrape::of(&node);
    scrape.assert(&[("events_dropped_total", TOO_MANY), ("health_probes_total", 1 + CAPACITY + TOO_MANY)]);
    // A node that is dropped waits for its callback.
    drop(release);
}

// scenario: readiness
#[test]
fn a_node_is_ready_once_it_is_registered_or_has_its_secret() {
    let dds = quiet_dds();
    dds.inject(Endpoint::Register, Fault::status(403), 1);
    let node = node_with_callback(&dds, &[]);
    let events = Events::of(&node);
    until(&node, "registration_consecutive_failures", 1);
    let refused = node.ready(false).expect("this process");
    assert!(!refused.is_ready() && refused.reason().contains("403 Forbidden"), "{refused:?}");
    assert_eq!(refused.error().map(Error::code), Some(ErrorCode::Rejected));

    node.rearm().expect("it runs");
    events.until_state(State::Registered);
    assert!(node.ready(false).expect("this process").is_ready());
    let waiting = node.ready(true).expect("this process");
    assert_eq!(waiting.error().map(Error::code), Some(ErrorCode::NotFound));
    assert!(waiting.reason().contains("DDS calls back"), "{waiting:?}");
    assert_eq!(dds.call_back().expect("an answer").status, 200);
    assert!(node.ready(true).expect("this process").is_ready());

    node.stop(GUARD).expect("stops");
    let stopped = node.ready(false).expect("this process");
    assert_eq!(stopped.error().map(Error::code), Some(ErrorCode::Stopped));
    assert!(stopped.reason().contains("stopped"), "{stopped:?}");
}

/// Not a test: the body of a worker process.
#[cfg(target_os = "linux")]
#[test]
fn worker() {
    if support::child_case().is_some() {
        worker::work();
    }
}

/// The metrics of each process.
#[cfg(target_os = "linux")]
fn scrapes(workers: &mut [worker::Worker]) -> Vec<Scrape> {
    workers.iter_mut().map(|worker| Scrape::parse(&worker.ask("metrics").replace(" | ", "\n"))).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn the_sum_over_the_processes_of_a_node_counts_everything_once() {
    let (dds, directory, bind) =
        (support::dds_that_calls_when_told(), place::Place::new(), place::free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let mut workers = worker::three(&dds, &directory.state(), &bind);
    for _ in 0..4 {
        assert_eq!(dds.call_back().expect("an answer").status, 200);
        assert_eq!(dds.probe_health().expect("an answer"), 200);
    }
    for worker in &mut workers {
        assert_eq!(worker.ask("has-secret"), "Ok(())");
        worker.ask("token");
    }
    assert!(workers[1].ask("rearm").starts_with("Ok(())"));
    assert_eq!(workers[1].ask("registered"), "Ok(())");
    assert!(dds.wait_for(GUARD, |dds| dds.nodes()[0].registrations == 2));
    for worker in &mut workers {
        worker.until_answer("status", |status| {
            status.contains(" registered ") && status.contains("attempts=2") && !status.contains("check=0 ")
        });
    }

    let scrapes = scrapes(&mut workers);
    let sum = |series: &str| scrapes.iter().map(|scrape| scrape.get(series)).sum::<f64>();
    for (series, expected) in [
        ("leader", 1.0),
        ("callbacks_total{outcome=\"accepted\"}", 1.0),
        ("callbacks_total{outcome=\"unchanged\"}", 3.0),
        ("health_probes_total", 4.0),
        ("registration_attempts_total{outcome=\"success\"}", 2.0),
        ("dds_requests_total{endpoint=\"register\",outcome=\"success\"}", 2.0),
        // Each process has its own tokens.
        ("sign_ins_total{outcome=\"success\"}", 3.0),
        // What describes the node is the same in each of them.
        ("has_secret", 3.0),
        ("state{state=\"registered\"}", 3.0),
    ] {
        assert_eq!(sum(series), expected, "{series}");
    }
    assert!(scrapes.iter().all(|scrape| scrape.get("last_probe_timestamp_seconds") > 0.0));
}
