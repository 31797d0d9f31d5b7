//! Access tokens: one sign-in for any number of callers, refreshes in time, and recovery when DDS has lost the node.

mod support;

use std::collections::BTreeSet;
use std::sync::{Mutex, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posemesh_dev_dds::{DevDds, Endpoint, Fault};
use posemesh_node_registration::bindings::NodeExt as _;
use posemesh_node_registration::error::{Error, ErrorCode};
use posemesh_node_registration::event::EventKind;
use posemesh_node_registration::log::Level;
use posemesh_node_registration::node::{Node, Wait};
use posemesh_node_registration::status::State;
use posemesh_node_registration::token::AccessToken;
use serde_json::{Value, json};
use support::{Events, GUARD, KEY, WALLET, start};

fn dds() -> DevDds {
    DevDds::start().expect("a DDS")
}

fn sign_ins(dds: &DevDds) -> usize {
    dds.requests_to(Endpoint::Verify).len()
}

fn code(result: Result<AccessToken, Error>) -> ErrorCode {
    result.expect_err("no token").code()
}

fn refusal(code: u16, body: &str) -> Fault {
    Fault::Status { code, retry_after: None, body: body.into() }
}

// scenario: one-sign-in
#[test]
fn the_first_request_for_a_token_signs_in_once_for_all_callers() {
    let dds = dds();
    let node = start(&dds, &[]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    assert_eq!(node.status().expect("this process").token_expires_at, None);
    assert_eq!(sign_ins(&dds), 0);

    let tokens: BTreeSet<String> = thread::scope(|scope| {
        let callers: Vec<_> = (0..20).map(|_| scope.spawn(|| node.access_token(Some(GUARD)))).collect();
        let token = |caller: thread::ScopedJoinHandle<'_, _>| {
            let token: AccessToken = Result::<_, Error>::expect(caller.join().expect("no panic"), "a token");
            token.value().to_owned()
        };
        callers.into_iter().map(token).collect()
    });
    assert_eq!((tokens.len(), sign_ins(&dds)), (1, 1));
    let token = node.access_token(Some(Duration::ZERO)).expect("from memory");
    assert!(tokens.contains(token.value()) && dds.token_is_good(token.value()));
    let expires_at = token.expires_at().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let status = node.status().expect("this process");
    assert_eq!((status.token_expires_at, status.sign_in_failures), (Some(expires_at.as_secs()), 0));

    node.stop(GUARD).expect("stops");
    assert_eq!(code(node.access_token(None)), ErrorCode::Stopped);
    assert_eq!(node.status().expect("this process").token_expires_at, None);
}

#[test]
fn every_form_of_wait_receives_the_token_after_the_registration() {
    let dds = dds();
    dds.inject(Endpoint::Challenge, Fault::Hang, 1);
    let node = start(&dds, &[]);
    let (done, is_done) = mpsc::channel();
    let pending = node.access_token_then(move |token| drop(done.send(token))).expect("the node runs");
    let (cancelled, is_cancelled) = mpsc::channel::<()>();
    let ignored = node.access_token_then(move |_| cancelled.send(()).expect("the test listens"));
    drop(ignored.expect("the node runs"));
    let later = node.wait_access_token();
    let error = node.access_token(Some(Duration::ZERO)).expect_err("not registered");
    assert_eq!(error.code(), ErrorCode::Timeout);
    assert!(error.message().contains("no access token in time"), "{error}");

    assert!(dds.wait_for_requests(Endpoint::Challenge, 1, GUARD), "the first attempt");
    node.rearm().expect("the node runs");
    let token = node.access_token(Some(GUARD)).expect("a token");
    let by_callback = is_done.recv_timeout(GUARD).expect("called").expect("a token");
    let by_future = support::runtime().block_on(later).expect("a token");
    assert_eq!([by_callback.value(), by_future.value()], [token.value(); 2]);
    assert!(is_cancelled.recv().is_err(), "a cancelled wait is not called");
    assert_eq!(sign_ins(&dds), 1);
    drop(pending);
    assert!(!format!("{token:?} {node:?}").contains(token.value()));
}

// scenario: logs
#[test]
fn a_warning_that_there_is_no_token_is_followed_by_its_end() {
    support::alone("a_warning_that_there_is_no_token_is_followed_by_its_end", || {
        support::logged();
        let dds = dds();
        let node = start(&dds, &[]);
        node.access_token(Some(GUARD)).expect("a token");
        let failure = Fault::Status { code: 500, retry_after: None, body: "not today".into() };
        dds.inject(Endpoint::Challenge, failure, 1);
        for _ in 0..2 {
            node.invalidate_token().expect("the node runs");
            node.access_token(Some(GUARD)).expect("another token");
        }
        node.stop(GUARD).expect("stops");

        let told: Vec<_> = support::logged()
            .into_iter()
            .filter(|record| record.target == "posemesh_node::token" && record.level <= Level::Info)
            .map(|record| (record.level, record.message))
            .collect();
        let [(Level::Warn, failed), (Level::Info, recovered)] = &told[..] else { panic!("{told:#?}") };
        assert!(failed.starts_with("no access token: ") && failed.contains("not today"), "{failed}");
        assert_eq!(recovered, "the node has an access token again");
    });
}

// scenario: token-refused
#[test]
fn a_refused_token_is_replaced_once_for_all_callers() {
    let dds = dds();
    let node = start(&dds, &[]);
    node.invalidate_token().expect("without a token there is nothing to do");
    let first = node.access_token(Some(GUARD)).expect("a token");
    node.invalidate_token_if("another token").expect("the node runs");
    assert_eq!(node.access_token(Some(GUARD)).expect("the same").value(), first.value());

    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                node.invalidate_token_if(first.value()).expect("the node runs");
                let next = node.access_token(Some(GUARD)).expect("a token");
                assert_ne!(next.value(), first.value());
            });
        }
    });
    assert_eq!(sign_ins(&dds), 2);
    let second = node.access_token(Some(GUARD)).expect("a token");
    node.invalidate_token().expect("the node runs");
    assert_ne!(node.access_token(Some(GUARD)).expect("a token").value(), second.value());
    assert_eq!(sign_ins(&dds), 3);
}

// scenario: sign-in-refused
#[test]
fn a_refused_sign_in_fails_callers_at_once_without_new_requests() {
    let dds = dds();
    let words = "this wallet is blocked";
    let fault = Fault::Status { code: 403, retry_after: Some("600".into()), body: words.into() };
    dds.inject(Endpoint::Verify, fault, 1);
    let node = start(&dds, &[]);
    let error = node.access_token(Some(GUARD)).expect_err("refused");
    assert_eq!(error.code(), ErrorCode::Rejected);
    assert!(error.message().contains(words), "{error}");
    // The same until the next sign-in is due.
    for _ in 0..1000 {
        assert_eq!(node.access_token(Some(GUARD)), Err(error.clone()), "the same error");
    }
    assert_eq!(sign_ins(&dds), 1);
    assert_eq!(node.status().expect("this process").sign_in_failures, 1);

    node.rearm().expect("the node runs");
    assert!(dds.wait_for_requests(Endpoint::Verify, 2, GUARD), "a new registration is worth a sign-in");
    assert!(dds.token_is_good(node.access_token(Some(GUARD)).expect("a token").value()));
    assert_eq!(node.status().expect("this process").sign_in_failures, 0);
}

/// There is no event for a failed sign-in; the status shows it.
fn until_sign_in_failed(node: &Node) {
    let deadline = Instant::now() + GUARD;
    while node.status().expect("this process").sign_in_failures == 0 {
        assert!(Instant::now() < deadline, "no sign-in has failed");
        thread::yield_now();
    }
}

#[test]
fn an_unavailable_dds_is_retried_and_the_timeout_says_why() {
    let dds = dds();
    dds.inject(Endpoint::Verify, refusal(503, "back in a moment"), u32::MAX);
    let node = start(&dds, &[]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    thread::scope(|scope| {
        let caller = scope.spawn(|| node.access_token(Some(GUARD)));
        until_sign_in_failed(&node);
        let error = node.access_token(Some(Duration::ZERO)).expect_err("not yet");
        assert_eq!(error.code(), ErrorCode::Timeout);
        let message = error.message();
        assert!(message.contains("last sign-in") && message.contains("back in a moment"), "{error}");
        dds.clear_faults();
        caller.join().expect("no panic").expect("a token after all");
    });
    assert!(sign_ins(&dds) >= 2);
}

// scenario: dds-forgets
#[test]
fn a_node_that_dds_lost_registers_again_and_receives_its_token() {
    let dds = dds();
    let node = start(&dds, &[]);
    let first = node.access_token(Some(GUARD)).expect("a token");
    let events = Events::of(&node);
    dds.forget(WALLET);
    node.invalidate_token_if(first.value()).expect("the node runs");
    let token = node.access_token(Some(GUARD)).expect("a token");
    assert!(dds.token_is_good(token.value()));
    assert_eq!(dds.requests_to(Endpoint::Register).len(), 2);
    let reason = events.next("loss", |kind| match kind {
        EventKind::RegistrationLost { reason } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("node not found"), "{reason}");
    let expires_at = events.next("token", |kind| match kind {
        EventKind::TokenRefreshed { expires_at } => Some(*expires_at),
        _ => None,
    });
    assert_eq!(expires_at, token.expires_at());
}

// scenario: stop-during-wait
#[test]
fn a_stop_ends_every_wait_for_a_token() {
    let dds = dds();
    dds.inject(Endpoint::Verify, Fault::Hang, u32::MAX);
    let node = start(&dds, &[]);
    let later = node.wait_access_token();
    let (done, is_done) = mpsc::channel();
    let _pending = node.access_token_then(move |token| drop(done.send(token))).expect("the node runs");
    thread::scope(|scope| {
        let caller = scope.spawn(|| node.access_token(None));
        assert!(dds.wait_for_requests(Endpoint::Verify, 1, GUARD), "a sign-in under way");
        node.stop(GUARD).expect("stops");
        assert_eq!(code(caller.join().expect("no panic")), ErrorCode::Stopped);
    });
    assert_eq!(code(support::runtime().block_on(later)), ErrorCode::Stopped);
    assert_eq!(code(is_done.try_recv().expect("called before stop has returned")), ErrorCode::Stopped);
    assert_eq!(node.invalidate_token().expect_err("stopped").code(), ErrorCode::Stopped);
    assert_eq!(code(node.access_token_then(|_| {}).map(|_| unreachable!())), ErrorCode::Stopped);
}

/// A valid answer to a sign-in, with these fields replaced.
fn answer(code: u16, fields: &Value) -> Fault {
    let mut body = json!({
        "node_id": "c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11",
        "wallet": WALLET,
        "access_token": "s3cr3t-token",
        "access_expires_at": "2999-12-31T23:59:59Z",
    });
    for (name, value) in fields.as_object().expect("an object") {
        body[name] = value.clone();
    }
    Fault::Answer { code, headers: vec![], body: body.to_string().into() }
}

#[test]
fn a_malformed_answer_is_never_used_and_never_quoted() {
    support::logged();
    let garbage = |body: &str| Fault::Answer { code: 200, headers: vec![], body: body.into() };
    let cases = [
        (answer(200, &json!({ "wallet": "0x0000000000000000000000000000000000000001" })), "wallet"),
        (answer(200, &json!({ "access_token": "s3cr3t-token\r\nX-Other: 1" })), "visible ASCII"),
        (answer(200, &json!({ "access_token": "s3cr3t-token".repeat(700) })), "not 1 to 8192"),
        (answer(200, &json!({ "access_token": ["s3cr3t-token"] })), "something other than an access token"),
        (answer(200, &json!({ "access_expires_at": "2020-01-01T00:00:00Z" })), "not in the future"),
        (answer(200, &json!({ "access_expires_at": "s3cr3t-token" })), "not an RFC 3339 time"),
        (garbage("{\"access_token\":\"s3cr3t-token\",\"access_tok"), "something other than an access token"),
        (garbage("\"s3cr3t-token\""), "something other than an access token"),
        (
            garbage(r#"[null, null, "s3cr3t-token", "2999-12-31T23:59:59Z", null]"#),
            "something other than an access token",
        ),
        (garbage(&"s3cr3t-token".repeat(6000)), "more than 65536 bytes"),
        (Fault::HalfBody, "broke off"),
        (Fault::EndlessBody, "more than 65536 bytes"),
        (Fault::Reset, "did not answer"),
        (Fault::status(204), "something other than an access token"),
    ];
    for (fault, says) in cases {
        let dds = dds();
        dds.inject(Endpoint::Verify, fault, u32::MAX);
        let node = start(&dds, &[]);
        let (done, is_done) = mpsc::channel();
        let _asks = node.access_token_then(move |token| drop(done.send(token))).expect("the node runs");
        until_sign_in_failed(&node);
        let error = node.access_token(Some(Duration::ZERO)).expect_err("no token");
        assert_eq!(error.code(), ErrorCode::Timeout);
        assert!(error.message().contains(says), "{error}");
        assert!(!error.message().contains("s3cr3t"), "{error}");
        assert!(is_done.try_recv().is_err(), "it is worth another try");
        assert!(!format!("{node:?}").contains("s3cr3t"));
        node.stop(GUARD).expect("stops");
    }
    // The same answer without an error is accepted, and so is the older form.
    for fields in [json!({}), json!({ "access_expires_at": null, "expires_at": "2999-12-31T23:59:59Z" })] {
        let dds = dds();
        dds.inject(Endpoint::Verify, answer(200, &fields), 1);
        let node = start(&dds, &[]);
        assert_eq!(node.access_token(Some(GUARD)).expect("a token").value(), "s3cr3t-token");
        node.stop(GUARD).expect("stops");
    }
    assert!(!format!("{:?}", support::logged()).contains("s3cr3t"));
}

#[test]
fn a_token_of_another_node_than_that_of_the_credentials_is_refused() {
    let credentials = STANDARD.encode("C3F1D7C2-0a54-4b52-9b8e-6f0a8a2f7d11:in-the-console");
    for (node_id, good) in
        [("c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11", true), ("00000000-0a54-4b52-9b8e-6f0a8a2f7d11", false)]
    {
        let dds = dds();
        dds.inject(Endpoint::Verify, answer(200, &json!({ "node_id": node_id })), 1);
        let node = start(&dds, &[("reg_secret", &credentials)]);
        let token = node.access_token(Some(GUARD)).expect("a token, if not this one");
        assert_eq!(token.value() == "s3cr3t-token", good);
    }
}

#[test]
fn only_an_unknown_node_registers_again() {
    let cases = [
        (403, "node not found", true),
        (403, "{\"error\":\"Node Not Found\"}\n", true),
        (404, "", true),
        (403, "", false),
        (403, "wallet not allowed", false),
        (401, "node not found", false),
        (400, "node not found", false),
        (409, "node not found", false),
    ];
    for (status, body, lost) in cases {
        let dds = dds();
        dds.inject(Endpoint::Verify, refusal(status, body), 1);
        let node = start(&dds, &[]);
        let token = node.access_token(Some(GUARD));
        if lost {
            assert!(dds.token_is_good(token.expect("a token").value()), "{status} {body}");
        } else {
            let error = token.expect_err("refused");
            assert_eq!(error.code(), ErrorCode::Rejected, "{error}");
            assert!(error.message().contains(&status.to_string()), "{error}");
        }
        let registrations = dds.requests_to(Endpoint::Register).len();
        assert_eq!(registrations, if lost { 2 } else { 1 }, "{status} {body}");
    }
}

#[test]
fn another_challenge_replaces_one_that_dds_has_forgotten() {
    let dds = dds();
    let counts = || [Endpoint::Register, Endpoint::Verify].map(|endpoint| dds.requests_to(endpoint).len());
    let forget = |times| dds.inject(Endpoint::Challenge, Fault::StaleNonce, times);
    forget(1);
    let node = start(&dds, &[]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    assert_eq!((node.status().expect("not forked").attempts, counts()), (1, [2, 0]));
    forget(1);
    node.access_token(Some(GUARD)).expect("a token");
    assert_eq!((node.status().expect("not forked").sign_in_failures, counts()), (0, [2, 2]));
    // A DDS that refuses every challenge gets one more request, and not one more each time.
    forget(u32::MAX);
    node.invalidate_token().expect("the node runs");
    let error = node.access_token(Some(GUARD)).expect_err("refused");
    assert_eq!(error.code(), ErrorCode::Rejected, "{error}");
    assert_eq!(counts(), [2, 4]);
    let deadline = Instant::now() + GUARD;
    while node.status().expect("not forked").sign_in_failures < 2 {
        assert!(Instant::now() < deadline, "it signs in again");
        thread::yield_now();
    }
    assert_eq!(counts(), [2, 5]);
}

// scenario: token-refreshed
#[test]
fn a_thousand_callers_cause_one_sign_in_per_token_lifetime() {
    const LIFE: Duration = Duration::from_secs(2);
    let dds = DevDds::builder().token_lifetime(LIFE).start().expect("a DDS");
    // All of them ask before the first token arrives.
    dds.inject(Endpoint::Verify, Fault::Delay(Duration::from_millis(500)), 1);
    let node = start(&dds, &[]);
    let events = Events::of(&node);
    let mut tokens = thread::scope(|scope| {
        let callers: Vec<_> = (0..1000)
            .map(|_| {
                let caller = thread::Builder::new().stack_size(128 * 1024);
                caller.spawn_scoped(scope, || node.access_token(None)).expect("a thread")
            })
            .collect();
        let token = |caller: thread::ScopedJoinHandle<'_, Result<AccessToken, Error>>| {
            caller.join().expect("no panic").expect("a token").value().to_owned()
        };
        callers.into_iter().map(token).collect::<BTreeSet<_>>()
    });
    let refreshed = || {
        events.next("token", |kind| matches!(kind, EventKind::TokenRefreshed { .. }).then_some(()));
    };
    refreshed();
    // Later callers are tasks.
    let runtime = support::runtime();
    for _ in 0..3 {
        refreshed();
        runtime.block_on(async {
            let ask = |_| tokio::spawn(node.wait_access_token());
            for caller in (0..1000).map(ask).collect::<Vec<_>>() {
                tokens.insert(caller.await.expect("no panic").expect("a token").value().to_owned());
            }
        });
    }
    node.stop(GUARD).expect("stops");
    let sign_ins = dds.requests_to(Endpoint::Verify);
    let arrivals: Vec<_> = sign_ins.iter().map(|request| request.since_start).collect();
    for pair in arrivals.windows(2) {
        assert!(pair[1] - pair[0] >= LIFE.mul_f64(0.7), "{arrivals:?}");
    }
    assert!(tokens.len() <= arrivals.len() && arrivals.len() >= 4, "{} of {arrivals:?}", tokens.len());
}

/// A node and its callers, with a DDS that is restarted many times and loses its state each time.
struct Restarts {
    node: Node,
    dds: RwLock<Option<DevDds>>,
    /// Tokens that were refused and invalidated: no caller may receive one of them again.
    stale: Mutex<BTreeSet<String>>,
}

fn is_refused_nonce(error: &Error) -> bool {
    error.code() == ErrorCode::Rejected && error.message().contains("401 Unauthorized: the nonce ")
}

impl Restarts {
    fn new() -> Self {
        let dds = dds();
        let node = start(&dds, &[]);
        Self { node, dds: RwLock::new(Some(dds)), stale: Mutex::default() }
    }

    fn with_dds<T>(&self, with: impl FnOnce(&DevDds) -> T) -> T {
        with(self.dds.read().expect("no panics").as_ref().expect("a DDS"))
    }

    /// Waits for a token. A DDS that restarts between a challenge and the sign-in refuses the nonce, and callers
    /// receive that until the next sign-in.
    fn token(&self) -> AccessToken {
        let deadline = Instant::now() + GUARD;
        loop {
            match self.node.access_token(Some(GUARD)) {
                Ok(token) => return token,
                Err(error) => assert!(is_refused_nonce(&error) && Instant::now() < deadline, "{error}"),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What a caller does: requests a token and uses it, until one is accepted.
    fn use_token(&self) {
        loop {
            let stale = self.stale.lock().expect("no panics").clone();
            let token = self.token();
            assert!(!stale.contains(token.value()), "a stale token");
            if self.with_dds(|dds| dds.token_is_good(token.value())) {
                return;
            }
            self.node.invalidate_token_if(token.value()).expect("the node runs");
            self.stale.lock().expect("no panics").insert(token.value().to_owned());
        }
    }

    /// Restarts DDS while a sign-in is at its challenge, at its verification, or at any point.
    fn round(&self, round: usize) {
        let at = [Some(Endpoint::Challenge), Some(Endpoint::Verify), None][round % 3];
        let token = self.node.access_token(Some(GUARD)).expect("a token");
        let before = self.with_dds(|dds| at.map(|at| dds.requests_to(at).len()));
        if let Some(at) = at {
            self.with_dds(|dds| dds.inject(at, Fault::Hang, 1));
        }
        self.node.invalidate_token_if(token.value()).expect("the node runs");
        if let (Some(at), Some(before)) = (at, before) {
            assert!(self.with_dds(|dds| dds.wait_for_requests(at, before + 1, GUARD)), "a sign-in");
        }
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| self.use_token());
            }
            if let Err(error) = self.node.access_token(Some(Duration::from_millis(1))) {
                assert!(error.code() == ErrorCode::Timeout || is_refused_nonce(&error), "{error}");
            }
            let mut dds = self.dds.write().expect("no panics");
            let address = dds.take().expect("a DDS").authority().parse().expect("an address");
            *dds = Some(DevDds::builder().bind(address).start().expect("the port is free again"));
        });
        // The last caller has used its token; the loss was noticed, and the node registered once.
        self.use_token();
        assert_eq!(self.with_dds(|dds| dds.requests_to(Endpoint::Register).len()), 1, "round {round}");
    }
}

#[test]
fn no_caller_keeps_a_stale_token_when_dds_restarts() {
    // In parallel, because each round waits for a real backoff.
    thread::scope(|scope| {
        for node in 0..25 {
            scope.spawn(move || {
                let restarts = Restarts::new();
                for round in node..node + 4 {
                    restarts.round(round);
                }
                restarts.node.stop(GUARD).expect("stops");
            });
        }
    });
}

// scenario: dds-stops-probing
#[test]
fn a_node_registers_again_when_dds_stops_probing_it() {
    let dds = dds();
    let node = start(&dds, &[("callback_bind", "127.0.0.1:0"), ("healthcheck_ttl_secs", "1")]);
    let address = node.callback_address().expect("this process").expect("a callback server");
    dds.set_node_url(Some(format!("http://{address}"))).expect("on loopback");
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    let events = Events::of(&node);
    for registrations in 2..4 {
        assert_eq!(dds.probe_health().expect("a node"), 200);
        let reason = events.next("loss", |kind| match kind {
            EventKind::RegistrationLost { reason } => Some(reason.clone()),
            _ => None,
        });
        assert!(reason.contains("has not probed this node for 1 s"), "{reason}");
        events.until_state(State::Registered);
        assert_eq!(dds.requests_to(Endpoint::Register).len(), registrations);
    }
}

// scenario: secrets-never-shown
#[test]
fn tokens_and_credentials_are_in_no_event_log_or_error() {
    support::logged();
    let credentials = STANDARD.encode("c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11:in-the-console");
    let dds = DevDds::builder().token_lifetime(Duration::from_secs(2)).start().expect("a DDS");
    let node = start(&dds, &[("reg_secret", &credentials)]);
    let events = Events::of(&node);
    let mut secrets = vec![KEY.to_owned(), credentials, "in-the-console".into()];
    let mut told = String::new();
    let deadline = Instant::now() + GUARD;
    for fault in
        [None, Some(refusal(503, "")), Some(refusal(403, "no")), Some(refusal(403, "node not found"))]
    {
        if let Some(fault) = fault {
            dds.inject(Endpoint::Verify, fault, 1);
        }
        let token = loop {
            match node.access_token(Some(Duration::from_millis(100))) {
                Ok(token) => break token,
                Err(error) => told += &format!("{error} {error:?}"),
            }
            assert!(Instant::now() < deadline, "{told}");
            // A new registration ends the pause after a refused sign-in.
            node.rearm().expect("the node runs");
        };
        told += &format!("{token:?} {node:?} {:?}", node.status());
        secrets.push(token.value().to_owned());
        node.invalidate_token_if(token.value()).expect("the node runs");
    }
    node.stop(GUARD).expect("stops");
    told += &format!("{:?} {:?}", events.rest(), support::logged());
    for secret in secrets {
        assert!(!told.contains(&secret), "{secret} in {told}");
    }
}

// scenario: fork
#[test]
#[cfg(unix)]
#[expect(unsafe_code, reason = "a fork without exec is what is tested")]
fn calls_in_a_forked_child_fail_while_a_token_is_held() {
    support::alone("calls_in_a_forked_child_fail_while_a_token_is_held", || {
        let dds = dds();
        let node = start(&dds, &[]);
        let token = node.access_token(Some(GUARD)).expect("a token");
        // SAFETY: the child uses the node, which is made for that, and then nothing but _exit.
        match unsafe { libc::fork() } {
            0 => {
                let codes = [
                    node.access_token(None).err(),
                    support::at_once(node.wait_access_token()).err(),
                    node.access_token_then(|_| {}).err(),
                    node.invalidate_token().err(),
                    node.invalidate_token_if(token.value()).err(),
                ];
                let told = codes.iter().flatten().filter(|error| error.code() == ErrorCode::Forked).count();
                // SAFETY: ends the child without the parent's exit handlers.
                unsafe { libc::_exit(i32::from(told != codes.len())) }
            }
            child => {
                let mut status = 0;
                // SAFETY: waits for the child made above, into a local variable.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                assert_eq!(status, 0, "every call fails with forked");
            }
        }
        assert_eq!(node.access_token(Some(Duration::ZERO)), Ok(token), "the parent's token is unchanged");
    });
}
