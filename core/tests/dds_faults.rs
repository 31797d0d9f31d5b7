//! How a node reports a DDS that refuses, fails or misbehaves, and that it recovers without help.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posemesh_dev_dds::{DevDds, Endpoint, Fault};
use posemesh_node_registration::crypto::load_secp256k1_privhex;
use posemesh_node_registration::error::ErrorCode;
use posemesh_node_registration::event::EventKind;
use posemesh_node_registration::log::{Level, Record};
use posemesh_node_registration::node::{Node, Wait};
use posemesh_node_registration::register::{
    RegistrationAttempt, RegistrationAttemptKind as Kind, register_once,
};
use posemesh_node_registration::status::State;
use serde_json::{Value, json};
use support::{CREDENTIALS, Events, GUARD, KEY};

const BOTH: [Endpoint; 2] = [Endpoint::Challenge, Endpoint::Register];

/// A fault and how it is classified.
struct Case {
    endpoint: Endpoint,
    fault: Fault,
    kind: Kind,
    says: &'static str,
}

impl Case {
    fn code(&self) -> ErrorCode {
        if self.kind == Kind::RetryableFailure { ErrorCode::Unavailable } else { ErrorCode::Rejected }
    }

    /// Short only for the fault that needs a timeout, because the machine may be busy.
    fn timeout(&self) -> Duration {
        if self.fault == Fault::Hang { Duration::from_secs(1) } else { GUARD }
    }
}

fn header_bomb() -> Fault {
    let headers = (0..2000).map(|n| (format!("x-bomb-{n}"), "b".repeat(500))).collect();
    Fault::Answer { code: 200, headers, body: Vec::new() }
}

fn cases() -> Vec<Case> {
    use Kind::{Conflict, RetryableFailure as Retryable, SlowRetryFailure as Slow};
    let at_both = [
        (Fault::status(500), Retryable, "500 Internal Server Error"),
        (Fault::status(503), Retryable, "503 Service Unavailable"),
        (Fault::status(599), Retryable, "599"),
        (Fault::status(429), Retryable, "429 Too Many Requests"),
        (Fault::status(408), Retryable, "408 Request Timeout"),
        (Fault::status(409), Conflict, "409 Conflict"),
        (Fault::status(400), Slow, "400 Bad Request"),
        (Fault::status(401), Slow, "401 Unauthorized"),
        (Fault::status(403), Slow, "403 Forbidden"),
        (Fault::status(404), Slow, "404 Not Found"),
        (Fault::status(304), Slow, "304 Not Modified"),
        (Fault::Reset, Retryable, "did not answer"),
        (Fault::NotHttp, Retryable, "did not answer"),
        (Fault::Hang, Retryable, "timed out"),
        (header_bomb(), Retryable, "did not answer"),
    ];
    let at_challenge = [
        (Fault::HalfBody, Retryable, "broke off"),
        (Fault::EndlessBody, Retryable, "more than 65536 bytes"),
        (Fault::Garbage, Retryable, "something other than a challenge"),
        (Fault::InvalidUtf8, Retryable, "something other than a challenge"),
        (Fault::status(204), Retryable, "something other than a challenge"),
        (Fault::StaleNonce, Slow, "401 Unauthorized: the nonce was used before"),
    ];
    let case = |endpoint| move |(fault, kind, says)| Case { endpoint, fault, kind, says };
    let mut cases: Vec<Case> = at_challenge.into_iter().map(case(Endpoint::Challenge)).collect();
    for endpoint in BOTH {
        cases.extend(at_both.clone().into_iter().map(case(endpoint)));
    }
    cases
}

fn dds() -> DevDds {
    DevDds::start().expect("a DDS")
}

fn once(dds: &DevDds, credentials: &str) -> RegistrationAttempt {
    once_within(GUARD, dds, credentials)
}

/// Registers once with a client that follows redirects, as reqwest's clients do by default.
fn once_within(timeout: Duration, dds: &DevDds, credentials: &str) -> RegistrationAttempt {
    let key = load_secp256k1_privhex(KEY).expect("a good key");
    let client = support::client(timeout);
    let capabilities = ["/example/v1".to_owned()];
    support::runtime().block_on(register_once(&dds.url(), "1.2.3", credentials, &key, &client, &capabilities))
}

fn error_text(attempt: &RegistrationAttempt) -> &str {
    attempt.error_text().expect("a failure")
}

/// A node whose first attempt hangs, so that no event is missed; `rearm` begins the next attempt.
fn observed(dds: &DevDds, options: &[(&str, &str)]) -> (Node, Events) {
    dds.inject(Endpoint::Challenge, Fault::Hang, u32::MAX);
    let node = support::start(dds, options);
    let events = Events::of(&node);
    assert!(dds.wait_for_requests(Endpoint::Challenge, 1, GUARD), "the first attempt");
    dds.clear_faults();
    (node, events)
}

fn next_failure(events: &Events) -> (ErrorCode, String, Duration) {
    events.next("failed attempt", |kind| match kind {
        EventKind::AttemptFailed { code, message, retry_in } => Some((*code, message.clone(), *retry_in)),
        _ => None,
    })
}

/// Runs all cases in parallel, because each waits for a real backoff.
fn in_parallel<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        let run = &run;
        for case in cases {
            scope.spawn(move || run(case));
        }
    });
}

#[test]
fn register_once_classifies_every_fault() {
    in_parallel(&cases(), |case| {
        let dds = dds();
        dds.inject(case.endpoint, case.fault.clone(), 1);
        let attempt = once_within(case.timeout(), &dds, CREDENTIALS);
        assert_eq!(attempt.kind(), case.kind, "{:?}: {attempt:?}", case.fault);
        let error = error_text(&attempt);
        assert!(error.contains(case.says), "{:?}: {error}", case.fault);
        // The next attempt is not affected by what this one left behind.
        assert_eq!(once(&dds, CREDENTIALS).kind(), Kind::Registered);
    });
}

#[test]
fn a_node_reports_every_fault_and_recovers() {
    in_parallel(&cases(), |case| {
        let dds = dds();
        let timeout = case.timeout().as_secs().to_string();
        let (node, events) =
            observed(&dds, &[("register_interval_secs", "1"), ("request_timeout_secs", &timeout)]);
        dds.inject(case.endpoint, case.fault.clone(), u32::MAX);
        node.rearm().expect("the node runs");

        let (code, message, retry_in) = next_failure(&events);
        assert_eq!(code, case.code(), "{message}");
        assert!(message.contains(case.says), "{:?}: {message}", case.fault);
        if case.kind == Kind::RetryableFailure {
            assert!(retry_in >= Duration::from_millis(1600), "{retry_in:?}");
        } else {
            assert_eq!(retry_in, Duration::from_secs(1));
        }
        let status = node.status().expect("this process");
        assert_eq!((status.state, status.last_error), (State::Registering, Some(code)));
        assert!(status.consecutive_failures >= 1);
        let last_error = node.last_error().expect("this process").expect("a failure");
        assert_eq!(last_error.code(), code);
        assert!(last_error.message().contains(case.says), "{last_error}");

        dds.clear_faults();
        node.wait(Wait::Registered, Some(GUARD)).expect("recovers");
        let status = node.status().expect("this process");
        assert_eq!((status.last_error, status.consecutive_failures), (None, 0));
        assert_eq!(status.next_attempt_in(), None);
        assert_eq!(node.last_error(), Ok(None));
        assert_eq!(dds.nodes().len(), 1);
        node.stop(GUARD).expect("stops");
    });
}

#[test]
fn any_2xx_registers_whatever_its_body() {
    let faults = [
        Fault::status(200),
        Fault::status(204),
        Fault::status(299),
        Fault::HalfBody,
        Fault::EndlessBody,
        Fault::Garbage,
        Fault::InvalidUtf8,
    ];
    for fault in faults {
        let dds = dds();
        dds.inject(Endpoint::Register, fault.clone(), 2);
        assert_eq!(once(&dds, CREDENTIALS).kind(), Kind::Registered, "{fault:?}");
        let node = support::start(&dds, &[]);
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        assert_eq!(node.status().expect("this process").attempts, 1, "{fault:?}");
        assert_eq!(dds.requests().len(), 4, "{fault:?}");
        node.stop(GUARD).expect("stops while the answer is still being sent");
    }
}

#[test]
fn the_first_backoff_is_two_seconds_and_retry_after_extends_it() {
    let after = |retry_after: Option<&str>| Fault::Status {
        code: 503,
        retry_after: retry_after.map(str::to_owned),
        body: Vec::new(),
    };
    let cases = [
        (None, 1600..=2400),
        (Some("1"), 1600..=2400),
        (Some("soon"), 1600..=2400),
        (Some("Thu, 01 Jan 1970 00:00:00 GMT"), 1600..=2400),
        (Some("7"), 7000..=9400),
        (Some("86400"), 600_000..=660_000),
        (Some("99999999999999999999"), 1600..=2400),
        (Some("Fri, 31 Dec 9999 23:59:59 GMT"), 600_000..=660_000),
    ];
    for (retry_after, millis) in cases {
        let dds = dds();
        let (node, events) = observed(&dds, &[]);
        dds.inject(Endpoint::Challenge, after(retry_after), u32::MAX);
        node.rearm().expect("the node runs");
        let (_, message, retry_in) = next_failure(&events);
        assert!(millis.contains(&retry_in.as_millis()), "{retry_after:?}: {retry_in:?} after {message}");
    }
}

#[test]
fn retry_after_is_honoured_after_a_conflict_and_a_refusal() {
    for code in [409, 403] {
        for (retry_after, pause) in [("1", 2), ("7", 7), ("86400", 600)] {
            let dds = dds();
            let (node, events) = observed(&dds, &[("register_interval_secs", "2")]);
            let fault = Fault::Status { code, retry_after: Some(retry_after.into()), body: Vec::new() };
            dds.inject(Endpoint::Register, fault, u32::MAX);
            node.rearm().expect("the node runs");
            let (_, message, retry_in) = next_failure(&events);
            assert_eq!(retry_in, Duration::from_secs(pause), "{retry_after} after {message}");
        }
    }
}

#[test]
fn a_refusal_says_what_to_do_next() {
    const HOLDS: &str = "; another online node holds this wallet";
    const CHECK_SECRET: &str = "; check that reg_secret is the whole text that the console shows";
    const CHECK_URL: &str = "; check that dds_base_url is the URL of a DDS";
    let refusal = |code, body: &str| Fault::Status { code, retry_after: None, body: body.into() };
    for (endpoint, fault, end) in [
        (Endpoint::Register, refusal(409, ""), format!("409 Conflict{HOLDS}")),
        (Endpoint::Register, refusal(409, "wait"), format!("409 Conflict: wait{HOLDS}")),
        (Endpoint::Challenge, refusal(409, ""), format!("409 Conflict{HOLDS}")),
        (Endpoint::Register, refusal(401, ""), format!("401 Unauthorized{CHECK_SECRET}")),
        (Endpoint::Register, refusal(401, "bad"), format!("401 Unauthorized: bad{CHECK_SECRET}")),
        (Endpoint::Challenge, refusal(401, ""), "401 Unauthorized".to_owned()),
        (Endpoint::Register, refusal(401, "invalid nonce"), "401 Unauthorized: invalid nonce".to_owned()),
        (Endpoint::Challenge, refusal(404, ""), format!("404 Not Found{CHECK_URL}")),
        (Endpoint::Register, refusal(404, ""), "404 Not Found".to_owned()),
        (Endpoint::Challenge, refusal(405, ""), format!("405 Method Not Allowed{CHECK_URL}")),
        (Endpoint::Challenge, refusal(501, ""), format!("501 Not Implemented{CHECK_URL}")),
        (
            Endpoint::Challenge,
            refusal(200, "<html>"),
            format!("expected value at line 1 column 1{CHECK_URL}"),
        ),
        (Endpoint::Register, refusal(403, ""), "403 Forbidden".to_owned()),
    ] {
        let dds = dds();
        let (node, events) = observed(&dds, &[]);
        dds.inject(endpoint, fault, u32::MAX);
        node.rearm().expect("the node runs");
        next_failure(&events);
        let error = node.wait(Wait::Registered, Some(Duration::ZERO)).expect_err("refused");
        assert!(error.message().ends_with(&end), "{error}");
        assert!(node.ready(false).expect("this process").reason().ends_with(&end), "{error}");
    }
}

#[test]
fn the_log_reports_an_outage_and_its_end_but_no_repetition() {
    support::alone("the_log_reports_an_outage_and_its_end_but_no_repetition", || {
        support::logged();
        // No pause is longer than a second.
        let fast = [("register_interval_secs", "1"), ("max_retry", "0")];
        let begins = (Level::Info, "Registering node with DDS", "");

        let dds = dds();
        dds.inject(Endpoint::Challenge, Fault::status(503), 2);
        dds.inject(Endpoint::Challenge, Fault::status(409), 1);
        let node = support::start(&dds, &fast);
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        node.rearm().expect("the node runs");
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        node.stop(GUARD).expect("stops");
        let first = registration_log(0);
        assert_shown(
            &first,
            &[
                begins,
                (
                    Level::Warn,
                    "DDS answered",
                    "max_retry reached, pausing for one interval; next attempt in 1.0 s",
                ),
                (Level::Warn, "DDS answered", "another online node holds this wallet; next attempt in 1.0 s"),
                (Level::Info, "registered with DDS in", " ms, after 3 failed attempts"),
                begins,
                (Level::Info, "registered with DDS in", " ms"),
            ],
        );
        let attempts = first.iter().filter(|record| record.message.starts_with(begins.1)).count();
        assert_eq!(attempts, 3 + 2, "{first:#?}");

        // In the background.
        let node = support::start(&dds, &[fast.as_slice(), &[("reregister_secs", "1")]].concat());
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        dds.inject(Endpoint::Register, Fault::status(503), 1);
        let now = dds.requests_to(Endpoint::Register).len();
        assert!(dds.wait_for_requests(Endpoint::Register, now + 3, GUARD), "it registers again");
        node.stop(GUARD).expect("stops");
        assert_shown(
            &registration_log(first.len()),
            &[
                begins,
                (Level::Info, "registered with DDS in", " ms"),
                (Level::Warn, "registering again failed", "next attempt in 1.0 s"),
                (Level::Info, "registered again with DDS", ", after 1 failed attempt"),
            ],
        );
    });
}

/// What was logged about registrations, without the first `skipped` records.
fn registration_log(skipped: usize) -> Vec<Record> {
    let of_registration = |record: &Record| record.target == "posemesh_node::register";
    support::logged().into_iter().filter(of_registration).skip(skipped).collect()
}

/// These records, with their levels, beginnings and ends, are the ones that a log without debug records shows.
fn assert_shown(logged: &[Record], expected: &[(Level, &str, &str)]) {
    let shown: Vec<_> = logged.iter().filter(|record| record.level <= Level::Info).collect();
    let is_expected = shown.len() == expected.len()
        && shown.iter().zip(expected).all(|(record, (level, begin, end))| {
            record.level == *level && record.message.starts_with(begin) && record.message.ends_with(end)
        });
    assert!(is_expected, "{logged:#?}");
}

// scenario: dds-unreachable
#[test]
fn an_unreachable_dds_is_named_and_retried() {
    // Bound but not listening: no other process receives the port, and connections are refused.
    let dead = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    dead.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    let address = dead.local_addr().expect("bound").as_socket().expect("IPv4");

    let config = support::config(&format!("http://{address}"), &[]);
    let node = Node::start(&config).expect("the node starts without DDS");
    let events = Events::of(&node);
    node.rearm().expect("the node runs");
    let (code, message, _) = next_failure(&events);
    assert_eq!(code, ErrorCode::Unavailable);
    assert!(message.contains(&address.to_string()) && message.contains("refused"), "{message}");

    drop(dead);
    let dds = DevDds::builder().bind(address).start().expect("the port is free again");
    node.wait(Wait::Registered, Some(GUARD)).expect("recovers");
    assert_eq!(dds.nodes().len(), 1);
    node.stop(GUARD).expect("stops");
}

#[test]
fn redirects_never_carry_credentials() {
    for endpoint in BOTH {
        for code in [301, 302, 303, 307, 308] {
            let [dds, elsewhere] = [dds(), dds()];
            let location = format!("{}{}", elsewhere.url(), endpoint.path());
            dds.inject(endpoint, Fault::Redirect { code, location: location.clone() }, u32::MAX);

            let (node, events) = observed(&dds, &[]);
            dds.inject(endpoint, Fault::Redirect { code, location: location.clone() }, u32::MAX);
            node.rearm().expect("the node runs");
            let (error, message, _) = next_failure(&events);
            assert_eq!(error, ErrorCode::Rejected);
            assert!(message.contains(&code.to_string()) && message.contains(&location), "{message}");
            node.stop(GUARD).expect("stops");
            assert_eq!(elsewhere.requests().len(), 0, "{code} at {endpoint:?}, from a node");

            let attempt = once(&dds, CREDENTIALS);
            assert_eq!(attempt.kind(), Kind::SlowRetryFailure, "{attempt:?}");
            assert!(error_text(&attempt).contains("redirect"), "{attempt:?}");
            let followed = elsewhere.requests();
            if [307, 308].contains(&code) {
                assert_eq!(followed.len(), 0, "{code} at {endpoint:?}, from a client that follows");
            }
            // The host's client turns the others into a GET without a body.
            for request in followed {
                assert_eq!((request.method.as_str(), request.body.as_slice()), ("GET", b"".as_slice()));
                assert!(!format!("{:?}", request.headers).contains(CREDENTIALS));
            }
        }
    }
}

#[test]
fn a_refused_challenge_is_never_signed() {
    let refused = [
        ("nonce", json!("short")),
        ("nonce", json!("with a space")),
        ("nonce", json!("nonce123\nURI: https://evil.example")),
        ("nonce", Value::Null),
        ("domain", json!("evil.example")),
        ("uri", json!("https://evil.example/")),
        ("uri", json!("no uri")),
        ("uri", json!("javascript://127.0.0.1/%0aalert(1)")),
        ("uri", json!("https://127.0.0.1/")),
        ("version", json!("2")),
        ("chainId", json!(0)),
        ("chainId", json!(-8453)),
        ("issuedAt", json!("2020-01-01T00:00:00Z")),
        ("issuedAt", json!("yesterday")),
    ];
    for (field, value) in refused {
        let dds = dds();
        let (node, events) = observed(&dds, &[]);
        dds.set_challenge(Some(json!({ field: value })));
        node.rearm().expect("the node runs");
        let (code, message, _) = next_failure(&events);
        assert_eq!(code, ErrorCode::Unavailable, "{message}");
        assert!(message.contains(&format!("refused to sign the challenge of DDS: {field} ")), "{message}");
        assert!(!message.contains(char::is_control), "{message:?}");
        node.stop(GUARD).expect("stops");

        let attempt = once(&dds, CREDENTIALS);
        assert_eq!(attempt.kind(), Kind::RetryableFailure, "{attempt:?}");
        assert_eq!(dds.requests_to(Endpoint::Register).len(), 0, "{field}");
    }
}

#[test]
fn a_challenge_that_is_an_array_is_refused() {
    let dds = dds();
    let now = chrono::Utc::now().to_rfc3339();
    let body = json!(["abcdefgh1234", dds.authority(), dds.url(), "1", 8453, now]).to_string().into_bytes();
    dds.inject(Endpoint::Challenge, Fault::Answer { code: 200, headers: vec![], body }, 1);
    let attempt = once(&dds, CREDENTIALS);
    assert_eq!(attempt.kind(), Kind::RetryableFailure, "{attempt:?}");
    assert!(error_text(&attempt).contains("sequence, expected an object"), "{attempt:?}");
    assert_eq!(dds.requests_to(Endpoint::Register).len(), 0);
}

#[test]
fn a_challenge_of_64_kib_is_read_and_a_longer_one_is_not() {
    for (length, kind) in [(65_536, Kind::Registered), (65_537, Kind::RetryableFailure)] {
        let dds = dds();
        let issued_at = chrono::Utc::now().to_rfc3339();
        let mut challenge = json!({
            "nonce": "abcdefgh1234",
            "domain": dds.authority(),
            "uri": dds.url(),
            "version": "1",
            "chainId": 8453,
            "issuedAt": issued_at,
            "padding": "",
        });
        challenge["padding"] = "x".repeat(length - challenge.to_string().len()).into();
        let body = challenge.to_string().into_bytes();
        assert_eq!(body.len(), length);
        dds.inject(Endpoint::Challenge, Fault::Answer { code: 200, headers: vec![], body }, 1);
        dds.inject(Endpoint::Register, Fault::status(200), 1);
        let attempt = once(&dds, CREDENTIALS);
        assert_eq!(attempt.kind(), kind, "{length} bytes: {attempt:?}");
    }
}

#[test]
fn a_challenge_issued_at_another_time_is_refused() {
    for minutes in [-6, 6] {
        let dds = dds();
        let issued_at = chrono::Utc::now() + chrono::TimeDelta::minutes(minutes);
        dds.set_challenge(Some(json!({ "issuedAt": issued_at.to_rfc3339() })));
        let attempt = once(&dds, CREDENTIALS);
        assert!(error_text(&attempt).contains("check the clock"), "{attempt:?}");
    }
}

#[test]
fn a_wrong_clock_does_not_prevent_a_registration() {
    for hours in [-5, 5] {
        let dds = DevDds::builder().clock_offset_secs(hours * 3600).start().expect("a DDS");
        assert_eq!(once(&dds, CREDENTIALS).kind(), Kind::Registered);
    }
}

// scenario: clocks-differ
#[test]
fn a_wrong_clock_is_reported_once() {
    support::logged();
    for (hours, says) in [(-2, "ahead of"), (3, "behind")] {
        let dds = DevDds::builder().clock_offset_secs(hours * 3600).start().expect("a DDS");
        let began = Instant::now();
        let node = support::start(&dds, &[]);
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        node.access_token(Some(GUARD)).expect("a token");
        let skew_ms = node.status().expect("this process").clock_skew_ms;
        // `Date` has whole seconds, and may have been written at any time between request and response.
        let uncertainty = 1000 + i64::try_from(began.elapsed().as_millis()).expect("not for ever");
        assert!((skew_ms - i64::from(hours) * 3_600_000).abs() <= uncertainty, "{skew_ms}");
        node.stop(GUARD).expect("stops");

        let off = i64::from(hours.abs()) * 3600;
        let says: Vec<_> = (off - uncertainty / 1000..=off)
            .map(|off| format!("is {off} s {says} the clock of DDS"))
            .collect();
        let logged = support::logged();
        let warnings = logged.iter().filter(|record| says.iter().any(|says| record.message.contains(says)));
        let levels: Vec<_> = warnings.map(|warning| warning.level).collect();
        assert_eq!(levels, [Level::Warn], "{logged:#?}");
    }
}

/// The error of a registration that is answered with this body.
fn refusal(code: u16, body: impl Into<Vec<u8>>) -> String {
    let dds = dds();
    dds.inject(Endpoint::Register, Fault::Status { code, retry_after: None, body: body.into() }, 1);
    error_text(&once(&dds, CREDENTIALS)).to_owned()
}

#[test]
fn text_from_dds_is_cut_at_a_character_boundary() {
    // A two-, a three- and a four-byte character across the 512th byte.
    for character in ["é", "€", "🔑"] {
        for before in 509..=512 {
            let start = "a".repeat(before);
            let error = refusal(500, format!("{start}{character} and more"));
            let whole = before + character.len() <= 512;
            let shown = if whole { format!("{start}{character}") } else { start };
            assert!(error.contains(": aaa") && error.ends_with('…'), "{error}");
            assert!(error.contains(&shown) && error.contains(character) == whole, "{error}");
        }
    }
    let error = refusal(500, "x".repeat(1024 * 1024));
    assert!(error.len() < 1024, "{} bytes", error.len());
    // Nor is it longer where a parser or a redirect quotes it.
    for answer in [
        Fault::Answer {
            code: 200,
            headers: vec![],
            body: json!({ "chainId": "x".repeat(60_000) }).to_string().into(),
        },
        Fault::Redirect { code: 307, location: format!("http://127.0.0.1:1/{}", "x".repeat(10_000)) },
    ] {
        let dds = dds();
        dds.inject(Endpoint::Challenge, answer, 1);
        let attempt = once(&dds, CREDENTIALS);
        assert!(error_text(&attempt).len() < 1024, "{} bytes", error_text(&attempt).len());
    }
}

#[test]
fn text_from_dds_is_escaped_to_one_line() {
    let error = refusal(400, "no\r\nWARN forged\u{1b}[2J\u{7f}\0\u{85}\u{2028}\u{202e}end \"é\"");
    assert!(
        error.ends_with(r#": no\r\nWARN forged\u{1b}[2J\u{7f}\u{0}\u{85}\u{2028}\u{202e}end "é""#),
        "{error}"
    );
    assert!(refusal(400, b"not \xff UTF-8".as_slice()).ends_with("not \u{fffd} UTF-8"));
    assert!(refusal(400, " \r\n ").ends_with("400 Bad Request"));
}

#[test]
fn foreign_text_is_cut_and_escaped_everywhere() {
    let hostile = "\r\nWARN forged\u{1b}[2J\u{202e}".repeat(5000);
    let in_json = hostile.chars().take(20_000).collect::<String>();
    let answer = |body: Value| Fault::Answer { code: 200, headers: vec![], body: body.to_string().into() };
    let fit = |error: &str| {
        assert!(error.len() <= 1024, "{} bytes: {error}", error.len());
        assert!(!error.contains(|c: char| c.is_control() || c == '\u{202e}'), "{error:?}");
    };
    for fault in [
        Fault::Status { code: 500, retry_after: None, body: hostile.clone().into() },
        Fault::Status { code: 403, retry_after: None, body: hostile.clone().into() },
        Fault::Answer { code: 200, headers: vec![], body: hostile.clone().into() },
        Fault::Redirect { code: 307, location: "/\u{e9}".repeat(20_000) },
        answer(json!({ "chainId": in_json })),
        answer(json!([in_json])),
        answer(json!({ in_json.as_str(): 1, "nonce": [] })),
    ] {
        let dds = dds();
        dds.inject(Endpoint::Challenge, fault, 1);
        fit(error_text(&once(&dds, CREDENTIALS)));
    }
    for field in ["nonce", "domain", "uri", "version", "issuedAt"] {
        let dds = dds();
        dds.set_challenge(Some(json!({ field: in_json })));
        fit(error_text(&once(&dds, CREDENTIALS)));
    }
    for option in posemesh_node_registration::config::OPTIONS {
        let mut config = support::config("http://127.0.0.1:1", &[]);
        if let Err(error) = config.set(option.name, &hostile) {
            fit(error.message());
        }
    }
    let unknown =
        support::config("http://127.0.0.1:1", &[]).set(&hostile, "value").expect_err("unknown").to_string();
    assert!(unknown.len() <= 4099 && !unknown.contains(char::is_control), "{unknown:?}");
}

#[test]
fn credentials_never_appear_in_an_error() {
    let console = STANDARD.encode("0b5e4f2a-1111-4222-8333-444455556666:in-the-console");
    let long = "long-".repeat(5000);
    // The node's credentials, the answer that repeats them, and the part that must not appear.
    let cases = [
        (console.as_str(), format!("bad {console}"), console.as_str()),
        (&console, "the secret in-the-console is wrong".into(), "in-the-console"),
        (" spaced-secret\n", "bad spaced-secret".into(), "spaced-secret"),
        ("sla/shed&secret", r"bad sla\/shed\u0026secret".into(), "shed"),
        ("sla/shed&secret", "bad sla%2Fshed%26secret".into(), "shed"),
        (&console, "bad 696e2d7468652d636f6e736f6c65".into(), "636f6e"),
        (&console, format!("bad {}", &console[3..]), &console[10..40]),
        (CREDENTIALS, format!("bad {}", STANDARD.encode(format!("x:{CREDENTIALS}"))), "LWNvbn"),
        ("quo\"table\\key", json!({ "got": "quo\"table\\key" }).to_string(), "table"),
        (&long, format!("bad {long}"), "long-"),
        ("cut-short-secret", "bad cut-short-sec".into(), "cut-short"),
        ("twice-over", "twice-overtwice-over".into(), "twice"),
    ];
    for (credentials, body, hidden) in cases {
        for endpoint in BOTH {
            let dds = dds();
            let fault = || Fault::Status { code: 403, retry_after: None, body: body.clone().into() };
            dds.inject(endpoint, fault(), 1);
            let attempt = once(&dds, credentials);
            let shown = format!("{attempt:?}");
            assert!(shown.contains("403") && shown.contains("[redacted]"), "{shown}");
            assert!(!shown.contains(hidden), "{hidden} in {shown}");

            // Nor in the reason for refusing a challenge.
            let dds = self::dds();
            dds.set_challenge(Some(json!({ "nonce": format!("{body} ") })));
            let attempt = once(&dds, credentials);
            assert!(error_text(&attempt).contains("refused to sign"), "{attempt:?}");
            assert!(!error_text(&attempt).contains(hidden), "{hidden} in {attempt:?}");
            dds.set_challenge(None);

            let (node, events) = observed(&dds, &[("reg_secret", credentials)]);
            dds.inject(endpoint, fault(), u32::MAX);
            node.rearm().expect("the node runs");
            let (_, message, _) = next_failure(&events);
            assert!(message.contains("[redacted]") && !message.contains(hidden), "{message}");
            let timed_out = node.wait(Wait::Registered, Some(Duration::ZERO)).expect_err("not registered");
            assert!(!timed_out.message().contains(hidden), "{timed_out}");
            assert!(!format!("{:?}", node.last_error()).contains(hidden));
            node.stop(GUARD).expect("stops");
        }
    }
}

#[test]
fn keys_tokens_and_secrets_never_appear_in_an_error() {
    let dds = DevDds::builder().start().expect("a DDS");
    let (node, events) = observed(&dds, &[("callback_bind", "127.0.0.1:0")]);
    let address = node.callback_address().expect("this process").expect("a callback server");
    dds.set_node_url(Some(format!("http://{address}"))).expect("on loopback");
    node.rearm().expect("the node runs");
    node.wait(Wait::Secret, Some(GUARD)).expect("a secret");
    let token = node.access_token(Some(GUARD)).expect("a token").value().to_owned();
    let secret = node.read_secret().expect("this process").expect("a secret").expose().to_owned();
    for known in [KEY, &KEY.to_uppercase(), &token, &secret] {
        for told in [known.to_owned(), STANDARD.encode(known), format!("id 0b5e4f2a {}", &known[4..])] {
            let fault = Fault::Status { code: 403, retry_after: None, body: told.clone().into() };
            dds.inject(Endpoint::Challenge, fault, 1);
            node.rearm().expect("the node runs");
            let (_, message, _) = next_failure(&events);
            assert!(
                message
                    .ends_with("403 Forbidden: [redacted] (the text repeats credentials and is not shown)"),
                "{message}"
            );
        }
    }
    // A node id is not a secret.
    let id = "0b5e4f2a-1111-4222-8333-444455556666";
    let fault = Fault::Status { code: 403, retry_after: None, body: format!("node {id} is banned").into() };
    dds.inject(Endpoint::Challenge, fault, 1);
    node.rearm().expect("the node runs");
    assert!(next_failure(&events).1.ends_with(&format!("node {id} is banned")));
    node.stop(GUARD).expect("stops");
}

#[test]
fn one_wrong_date_has_no_lasting_effect() {
    let long_ago = "Thu, 01 Jan 1970 00:00:00 GMT";
    let dated = |code: u16, more: &[(&str, &str)]| {
        let mut headers = vec![("date".to_owned(), long_ago.to_owned())];
        headers.extend(more.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        Fault::Answer { code, headers, body: Vec::new() }
    };
    let cases = [
        (Endpoint::Challenge, dated(502, &[])),
        (Endpoint::Register, dated(502, &[])),
        (Endpoint::Challenge, dated(404, &[])),
        (Endpoint::Register, dated(200, &[])),
        (Endpoint::Register, dated(200, &[("age", "100")])),
    ];
    in_parallel(&cases, |(endpoint, fault)| {
        let dds = dds();
        let (node, _) = observed(&dds, &[("register_interval_secs", "1")]);
        dds.inject(*endpoint, fault.clone(), 1);
        node.rearm().expect("the node runs");
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        // Two of the three agree: the challenge, the local clock and the `Date`.
        let skew_ms = node.status().expect("this process").clock_skew_ms;
        assert!(skew_ms.abs() <= 1000, "{skew_ms} after {fault:?}");
        node.access_token(Some(GUARD)).expect("a token, by the right clock");
        node.stop(GUARD).expect("stops");
    });
}

// scenario: dds-refuses, logs
#[test]
fn a_lasting_refusal_shows_in_the_status_and_is_warned_about_once() {
    support::logged();
    let dds = dds();
    let words = "this wallet is not on the list";
    let fault = Fault::Status { code: 403, retry_after: None, body: words.into() };
    dds.inject(Endpoint::Register, fault, u32::MAX);
    let node = support::start(&dds, &[("register_interval_secs", "1")]);
    assert!(dds.wait_for_requests(Endpoint::Register, 4, GUARD), "it keeps trying");

    let status = node.status().expect("this process");
    assert_eq!((status.state, status.last_error), (State::Registering, Some(ErrorCode::Rejected)));
    assert!(status.consecutive_failures >= 3, "{status:?}");
    let error = node.last_error().expect("this process").expect("a refusal");
    assert_eq!(error.code(), ErrorCode::Rejected);
    assert!(error.message().contains(words), "{error}");
    node.stop(GUARD).expect("stops");

    let about: Vec<_> =
        support::logged().into_iter().filter(|record| record.message.contains(&dds.authority())).collect();
    let refusals: Vec<_> = about.iter().filter(|record| record.message.contains(words)).collect();
    let levels: Vec<_> = refusals.iter().map(|record| record.level).collect();
    assert!(levels.len() >= 3, "{about:#?}");
    assert_eq!(levels[0], Level::Warn);
    assert!(levels[1..].iter().all(|level| *level == Level::Debug), "{refusals:#?}");
    assert!(!format!("{about:?}").contains(CREDENTIALS));
}
