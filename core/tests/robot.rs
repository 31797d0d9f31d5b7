//! Robots: nodes with registration credentials and without a wallet.

#[cfg(target_os = "linux")]
#[path = "support/place.rs"]
mod place;
mod support;
#[cfg(target_os = "linux")]
#[path = "support/worker.rs"]
mod worker;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posemesh_dev_dds::{DevDds, Endpoint, Fault};
use posemesh_node_registration::config::{Config, Identity};
use posemesh_node_registration::event::EventKind;
use posemesh_node_registration::{Error, ErrorCode, Node, NodeId, State, Wait};
use serde_json::{Value, json};
use support::{Events, GUARD, KEY};

const ROBOT_ID: &str = "7d3f1c52-1111-4222-8333-444455556666";

fn dds() -> DevDds {
    DevDds::start().expect("a DDS")
}

/// Credentials that hold no id, and other ones for each robot.
fn credentials() -> String {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    format!("r0b0t-9c41f7-{:04}", LAST.fetch_add(1, Ordering::Relaxed))
}

fn config(dds: &DevDds, credentials: &str, options: &[(&str, &str)]) -> Config {
    let mut config = Config::new();
    let url = dds.url();
    let required = [
        ("dds_base_url", url.as_str()),
        ("identity", "robot"),
        ("reg_secret", credentials),
        ("node_version", "1.2.3"),
    ];
    for (name, value) in required.iter().chain(options) {
        config.set(name, value).expect("a good option");
    }
    config
}

fn start(dds: &DevDds, options: &[(&str, &str)]) -> Node {
    Node::start(&config(dds, &credentials(), options)).expect("the robot starts")
}

fn registered(dds: &DevDds, options: &[(&str, &str)]) -> Node {
    let node = start(dds, options);
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    node
}

/// The requests so far: registrations of robots, and token requests of robots.
fn requests(dds: &DevDds) -> (usize, usize) {
    (dds.requests_to(Endpoint::RegisterRobot).len(), dds.requests_to(Endpoint::VerifyRobot).len())
}

/// Starts a robot and waits until DDS has received its first registration, which hangs.
fn start_hanging(dds: &DevDds, config: &Config) -> Node {
    dds.clear_requests();
    dds.inject(Endpoint::RegisterRobot, Fault::Hang, 1);
    let node = Node::start(config).expect("the robot starts");
    assert!(dds.wait_for_requests(Endpoint::RegisterRobot, 1, GUARD));
    node
}

fn refusal(code: u16, body: &str) -> Fault {
    Fault::Status { code, retry_after: None, body: body.into() }
}

fn patch(field: &str, value: Value) -> Fault {
    let Value::Object(fields) = json!({ field: value }) else { unreachable!() };
    Fault::Patch { fields }
}

/// Waits until there is such a value.
fn until<T>(what: &str, value: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + GUARD;
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(Instant::now() < deadline, "no {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn last_error(node: &Node) -> Error {
    until("error", || node.last_error().expect("this process"))
}

fn node_id(node: &Node) -> Option<String> {
    let id = node.node_id().expect("this process");
    assert_eq!(node.status().expect("this process").node_id, id);
    id.map(|id| id.to_string())
}

fn token(node: &Node) -> String {
    node.access_token(Some(GUARD)).expect("a token").value().to_owned()
}

// scenario: robot
#[test]
fn a_robot_registers_without_a_wallet_and_has_its_first_token_at_once() {
    let dds = dds();
    let credentials = credentials();
    let node =
        Node::start(&config(&dds, &credentials, &[("capabilities", "/a,/b")])).expect("the robot starts");
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    let token = node.try_access_token().expect("this process").expect("the token of the registration");
    assert!(dds.accepts_token(token.value()));
    assert_eq!(self::token(&node), token.value());
    assert_eq!(requests(&dds), (1, 0));
    assert_eq!(dds.requests().len(), 1, "no challenge and no other request");
    let sent: Value =
        serde_json::from_slice(&dds.requests_to(Endpoint::RegisterRobot)[0].body).expect("JSON");
    assert_eq!(
        sent,
        json!({ "registration_credentials": credentials, "version": "1.2.3", "capabilities": ["/a", "/b"] })
    );
    let status = node.status().expect("this process");
    assert_eq!((status.state, status.sign_in_failures), (State::Registered, 0));
    assert!(status.token_expires_at.is_some());
    assert_eq!(node_id(&node), Some(dds.nodes()[0].node_id.clone()));
    let claims = token.claims().expect("a JWT");
    assert_eq!(claims["node_type"], "robot");
    node.stop(GUARD).expect("stopped");
    assert_eq!(node.try_access_token().expect("this process"), None);
}

#[test]
fn a_registration_is_followed_by_the_event_of_its_token() {
    let dds = dds();
    let node = start_hanging(&dds, &config(&dds, &credentials(), &[]));
    let events = Events::of(&node);
    node.rearm().expect("the node runs");
    events.next("token", |kind| matches!(kind, EventKind::TokenRefreshed { .. }).then_some(()));
    assert!(node.try_access_token().expect("this process").is_some());
}

#[test]
fn a_caller_that_waits_before_the_registration_gets_its_token() {
    let dds = dds();
    let node = start_hanging(&dds, &config(&dds, &credentials(), &[]));
    let error = node.access_token(Some(Duration::ZERO)).expect_err("not registered");
    assert_eq!(error.code(), ErrorCode::Timeout);
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| token(&node))).collect();
        node.rearm().expect("the node runs");
        let tokens: Vec<_> = waiting.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        assert!(tokens.iter().all(|token| *token == tokens[0]), "{} tokens", tokens.len());
    });
    assert_eq!(requests(&dds), (2, 0));
}

#[test]
fn later_tokens_come_from_the_credentials_alone() {
    let dds = dds();
    let credentials = credentials();
    let node = Node::start(&config(&dds, &credentials, &[])).expect("the robot starts");
    let first = token(&node);
    node.invalidate_token_if("another token").expect("the node runs");
    assert_eq!(token(&node), first);
    node.invalidate_token().expect("the node runs");
    let second = token(&node);
    assert_ne!(first, second);
    assert!(dds.accepts_token(&second));
    assert_eq!(requests(&dds), (1, 1));
    let sent: Value = serde_json::from_slice(&dds.requests_to(Endpoint::VerifyRobot)[0].body).expect("JSON");
    assert_eq!(sent, json!({ "registration_credentials": credentials }));
}

#[test]
fn the_token_of_a_registration_is_refreshed_although_no_caller_asks() {
    let dds = DevDds::builder().token_lifetime(Duration::from_secs(1)).start().expect("a DDS");
    let _node = registered(&dds, &[]);
    assert!(dds.wait_for_requests(Endpoint::VerifyRobot, 1, GUARD));
    assert_eq!(requests(&dds).0, 1);
}

#[test]
fn a_rearm_registers_again_and_brings_another_token() {
    let dds = dds();
    let node = registered(&dds, &[]);
    let (first, id) = (token(&node), node_id(&node));
    node.rearm().expect("the node runs");
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    assert_ne!(token(&node), first);
    assert_eq!(node_id(&node), id);
    assert_eq!(requests(&dds), (2, 0));
}

#[test]
fn a_robot_that_dds_does_not_know_any_more_registers_again() {
    let dds = dds();
    let node = registered(&dds, &[]);
    let first = token(&node);
    let events = Events::of(&node);
    dds.forget_all();
    node.invalidate_token().expect("the node runs");
    let reason = events.next("loss", |kind| match kind {
        EventKind::RegistrationLost { reason } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("node not found"), "{reason}");
    let second = token(&node);
    assert_ne!(first, second);
    assert!(dds.accepts_token(&second));
    assert_eq!(requests(&dds), (2, 1));
}

#[test]
fn a_rejected_sign_in_does_not_lead_to_a_registration() {
    for (code, words) in [(401, "invalid credentials"), (403, "robot is disabled")] {
        let dds = dds();
        let node = registered(&dds, &[]);
        dds.inject(Endpoint::VerifyRobot, refusal(code, words), u32::MAX);
        node.invalidate_token().expect("the node runs");
        let error = node.access_token(Some(GUARD)).expect_err("refused");
        assert_eq!(error.code(), ErrorCode::Rejected);
        assert!(error.message().contains(words), "{error}");
        assert_eq!(node.token_error().expect("this process"), Some(error));
        let status = node.status().expect("this process");
        assert_eq!(status.state, State::Registered);
        assert!(status.sign_in_failures > 0);
        assert_eq!(requests(&dds).0, 1);
        // A re-arm is what registers again.
        node.rearm().expect("the node runs");
        node.wait(Wait::Registered, Some(GUARD)).expect("registered");
        assert!(dds.accepts_token(&token(&node)));
        assert_eq!(requests(&dds).0, 2);
    }
}

#[test]
fn a_rejected_registration_does_not_lead_to_a_sign_in() {
    for code in [401, 403] {
        let dds = dds();
        dds.inject(Endpoint::RegisterRobot, refusal(code, "unknown credentials"), 1);
        let node = start(&dds, &[]);
        let error = last_error(&node);
        assert_eq!(error.code(), ErrorCode::Rejected);
        assert!(error.message().contains("unknown credentials"), "{error}");
        assert_eq!(node.access_token(Some(Duration::ZERO)).expect_err("none").code(), ErrorCode::Timeout);
        let status = node.status().expect("this process");
        assert!(status.next_attempt_in().is_some_and(|pause| pause > GUARD), "an interval, not a backoff");
        node.rearm().expect("the node runs");
        node.wait(Wait::Registered, Some(GUARD)).expect("registered");
        assert_eq!(requests(&dds), (2, 0));
    }
}

#[test]
fn a_registration_without_a_usable_robot_id_or_token_does_not_count() {
    for (field, value, says) in [
        ("robot_id", Value::Null, "robot_id is missing"),
        ("robot_id", json!("00000000-0000-0000-0000-000000000000"), "robot_id is not a UUID"),
        ("robot_id", json!("seven"), "robot_id is not a UUID"),
        ("access_token", Value::Null, "access_token is missing"),
        ("access_expires_at", json!("soon"), "access_expires_at is not an RFC 3339 time"),
    ] {
        let dds = dds();
        dds.inject(Endpoint::RegisterRobot, patch(field, value), 1);
        let node = start(&dds, &[]);
        let error = last_error(&node);
        assert_eq!(error.code(), ErrorCode::Unavailable, "{error}");
        assert!(error.message().contains(says), "{error}");
        assert_eq!(node_id(&node), None);
        assert_eq!(node.try_access_token().expect("this process"), None);
        node.rearm().expect("the node runs");
        node.wait(Wait::Registered, Some(GUARD)).expect("registered");
        assert!(node_id(&node).is_some());
    }
}

#[test]
fn a_later_token_without_a_usable_robot_id_is_refused() {
    let dds = dds();
    let node = registered(&dds, &[]);
    dds.inject(Endpoint::VerifyRobot, patch("robot_id", Value::Null), 1);
    node.invalidate_token().expect("the node runs");
    let error = until("error", || node.token_error().expect("this process"));
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(error.message().contains("robot_id is missing"), "{error}");
    assert_eq!(node.try_access_token().expect("this process"), None);
    node.rearm().expect("the node runs");
    assert!(dds.accepts_token(&token(&node)));
}

#[test]
fn the_id_of_a_robot_is_the_one_that_dds_gives_it() {
    let dds = dds();
    let in_credentials = "c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11";
    let credentials = STANDARD.encode(format!("{in_credentials}:{}", credentials()));
    let node = start_hanging(&dds, &config(&dds, &credentials, &[]));
    assert_eq!(node_id(&node).as_deref(), Some(in_credentials));
    dds.inject(Endpoint::RegisterRobot, patch("robot_id", json!(ROBOT_ID.to_uppercase())), 1);
    node.rearm().expect("the node runs");
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    assert_eq!(node_id(&node).as_deref(), Some(ROBOT_ID));
}

#[test]
fn a_robot_has_no_address_and_signs_nothing() {
    let dds = dds();
    let node = start(&dds, &[]);
    let errors = [node.wallet_address().expect_err("no wallet"), node.sign(b"message").expect_err("no key")];
    for error in errors {
        assert_eq!(error.code(), ErrorCode::NotFound);
        assert!(error.message().contains("robot"), "{error}");
    }
    let shown = format!("{node:?}");
    assert!(!shown.contains("r0b0t"), "{shown}");
}

#[test]
fn a_robot_with_a_key_is_refused_before_it_starts() {
    let dds = dds();
    for (option, value) in [
        ("secp256k1_privhex", KEY),
        ("secp256k1_keystore_file", "/nowhere/keystore"),
        ("secp256k1_keystore_password", "a password"),
    ] {
        let error = Node::start(&config(&dds, &credentials(), &[(option, value)])).expect_err("refused");
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert!(error.message().contains(option) && error.message().contains("robot"), "{error}");
        assert!(!error.message().contains(value), "{error}");
    }
    assert_eq!(dds.requests().len(), 0);
}

#[test]
fn a_robot_needs_neither_key_nor_capabilities() {
    let dds = dds();
    let config = Config::builder()
        .dds_base_url(dds.url())
        .identity(Identity::Robot)
        .reg_secret(credentials())
        .node_version("1.2.3")
        .build()
        .expect("good options");
    assert_eq!(config.check().expect("enough for a robot"), None);
    let node = Node::start(&config).expect("the robot starts");
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    assert!(dds.nodes()[0].capabilities.is_empty());

    let mut nothing = Config::new();
    nothing.set("identity", "robot").expect("a good option");
    let error = nothing.check().expect_err("no credentials");
    assert_eq!(error.code(), ErrorCode::InvalidConfig);
    for part in ["reg_secret (ROBOT_REGISTRATION_CREDENTIALS", "node_version"] {
        assert!(error.message().contains(part), "{error}");
    }
    for part in ["secp256k1_privhex", "capabilities"] {
        assert!(!error.message().contains(part), "{error}");
    }
}

#[test]
fn a_second_robot_with_the_same_credentials_is_refused() {
    let dds = dds();
    let credentials = credentials();
    let node = Node::start(&config(&dds, &credentials, &[])).expect("the robot starts");
    let error = Node::start(&config(&dds, &credentials, &[])).expect_err("already running");
    assert_eq!(error.code(), ErrorCode::AlreadyRunning);
    assert!(!error.message().contains(&credentials), "{error}");
    let _other = start(&dds, &[]);
    node.stop(GUARD).expect("stopped");
    Node::start(&config(&dds, &credentials, &[])).expect("free again");
}

#[test]
fn credentials_that_dds_repeats_are_not_shown() {
    let dds = dds();
    let credentials = credentials();
    dds.inject(Endpoint::RegisterRobot, refusal(401, &format!("no robot has {credentials}")), 1);
    let node = Node::start(&config(&dds, &credentials, &[])).expect("the robot starts");
    let error = last_error(&node);
    assert!(error.message().contains("[redacted]") && !error.message().contains(&credentials), "{error}");
}

#[test]
fn dds_calls_a_robot_back_by_its_id() {
    let dds = DevDds::builder()
        .find_node(posemesh_node_registration::bindings::callback_url)
        .start()
        .expect("a DDS");
    let node = start(&dds, &[("callback_bind", "127.0.0.1:0")]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    // The id is known when the response has arrived, so DDS finds the server at the next token at the latest.
    node.invalidate_token().expect("the node runs");
    token(&node);
    node.wait(Wait::Secret, Some(GUARD)).expect("a secret");
    let secret = node.read_secret().expect("this process").expect("a secret");
    assert_eq!(Some(secret.expose()), dds.last_secret().as_deref());
}

/// Loads options from these variables.
fn from_env(variables: &[(&str, &str)]) -> Result<Config, Error> {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    let mut config = Config::new();
    config.load_env_from(|name| variables.get(name).map(OsString::from))?;
    Ok(config)
}

/// The credentials with which a robot registers that is configured like this.
fn sent_credentials(mut config: Config, dds: &DevDds) -> String {
    config.set("dds_base_url", &dds.url()).expect("a good option");
    let node = Node::start(&config).expect("the robot starts");
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    node.stop(GUARD).expect("stopped");
    let sent = dds.requests_to(Endpoint::RegisterRobot);
    let sent: Value = serde_json::from_slice(&sent.last().expect("a registration").body).expect("JSON");
    sent["registration_credentials"].as_str().expect("a text").to_owned()
}

#[test]
fn the_environment_has_variables_of_its_own_for_a_robot() {
    let dds = dds();
    let robot = [("IDENTITY", "robot"), ("NODE_VERSION", "1.2.3"), ("REG_SECRET", "credentials of a wallet")];
    let with = |more: &[(&str, &str)]| from_env(&[&robot[..], more].concat());
    let credentials = |more: &[(&str, &str)]| sent_credentials(with(more).expect("a good environment"), &dds);
    let file = std::env::temp_dir().join(format!("posemesh-robot-{}", std::process::id()));
    std::fs::write(&file, "credentials in a file\n").expect("a file");
    let path = file.to_str().expect("UTF-8");

    assert_eq!(credentials(&[]), "credentials of a wallet");
    assert_eq!(credentials(&[("ROBOT_REGISTRATION_CREDENTIALS", "of the robot\n")]), "of the robot");
    assert_eq!(credentials(&[("ROBOT_REGISTRATION_CREDENTIALS", "  ")]), "credentials of a wallet");
    assert_eq!(credentials(&[("ROBOT_REGISTRATION_CREDENTIALS_FILE", path)]), "credentials in a file");
    let prefixed = [
        ("POSEMESH_ROBOT_REGISTRATION_CREDENTIALS", "with the prefix"),
        ("ROBOT_REGISTRATION_CREDENTIALS", "without the prefix"),
    ];
    assert_eq!(credentials(&prefixed), "with the prefix");
    std::fs::remove_file(&file).expect("a file of this test");

    // What a program sets itself wins.
    let mut config = with(&prefixed).expect("a good environment");
    config.set("reg_secret", "set by the program").expect("a good option");
    assert_eq!(sent_credentials(config, &dds), "set by the program");

    // The identity may be set afterwards.
    let mut config = from_env(&[
        ("NODE_VERSION", "1.2.3"),
        ("ROBOT_REGISTRATION_CREDENTIALS", "of the robot"),
        ("REG_SECRET", "credentials of a wallet"),
    ])
    .expect("a good environment");
    config.set("identity", "robot").expect("a good option");
    assert_eq!(sent_credentials(config, &dds), "of the robot");
}

#[test]
fn the_variables_of_a_robot_do_not_matter_to_a_node_with_a_wallet() {
    let missing = [("ROBOT_REGISTRATION_CREDENTIALS_FILE", "/nowhere/credentials")];
    let common = [("NODE_VERSION", "1.2.3"), ("REG_SECRET", "credentials"), ("CAPABILITIES", "/a")];
    let wallet = [&common[..], &missing, &[("SECP256K1_PRIVHEX", KEY)]].concat();
    from_env(&wallet).expect("a good environment").check().expect("a good configuration");

    let robot = [&common[..], &missing, &[("IDENTITY", "robot")]].concat();
    let error = from_env(&robot).expect("read later").check().expect_err("there is no such file");
    assert_eq!(error.code(), ErrorCode::InvalidConfig);
    assert!(error.message().contains("ROBOT_REGISTRATION_CREDENTIALS_FILE"), "{error}");
}

#[test]
fn a_node_with_a_wallet_has_the_id_in_its_credentials_or_in_its_token() {
    let dds = dds();
    let in_credentials = "c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11";
    let credentials = STANDARD.encode(format!("{}:secret of the node", in_credentials.to_uppercase()));
    let node = support::start(&dds, &[("reg_secret", &credentials)]);
    assert_eq!(node_id(&node).as_deref(), Some(in_credentials));
    node.stop(GUARD).expect("stopped");

    let node = support::start(&dds, &[]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registered");
    assert_eq!(node_id(&node), None);
    token(&node);
    assert_eq!(node_id(&node), Some(dds.nodes()[0].node_id.clone()));
    let id: NodeId = dds.nodes()[0].node_id.parse().expect("a UUID");
    assert_eq!(node.node_id().expect("this process"), Some(id));
}

/// Not a test: what a process does that was started as a worker.
#[cfg(target_os = "linux")]
#[test]
fn worker() {
    if support::child_case().is_some() {
        worker::work();
    }
}

#[cfg(target_os = "linux")]
mod shared {
    use std::fs;
    use std::path::Path;

    use super::place::Place;
    use super::support::dds_that_calls_when_told;
    use super::worker::Worker;
    use super::*;

    fn workers(dds: &DevDds, state: &str, count: usize) -> Vec<Worker> {
        let credentials = credentials();
        let options = [
            ("IDENTITY", "robot"),
            ("ROBOT_REGISTRATION_CREDENTIALS", credentials.as_str()),
            // Blank, so unset.
            ("SECP256K1_PRIVHEX", ""),
            ("STATE_DIR", state),
        ];
        (0..count).map(|_| Worker::start(&dds.url(), &options)).collect()
    }

    #[test]
    fn a_restarted_robot_has_its_id_from_the_state_directory() {
        let (dds, place) = (dds_that_calls_when_told(), Place::new());
        let credentials = credentials();
        let config = config(&dds, &credentials, &[("state_dir", &place.state())]);
        let node = Node::start(&config).expect("the robot starts");
        node.wait(Wait::Registered, Some(GUARD)).expect("registered");
        let id = node_id(&node);
        assert!(id.is_some());
        node.stop(GUARD).expect("stopped");

        let record = fs::read_to_string(Path::new(&place.state()).join("state")).expect("a record");
        assert!(!record.contains(&credentials), "{record}");
        let node = start_hanging(&dds, &config);
        assert_eq!(node_id(&node), id);
        assert_ne!(node.status().expect("this process").state, State::Registered);
    }

    #[test]
    fn the_record_of_a_robot_is_not_used_by_another_node() {
        let (dds, place) = (dds_that_calls_when_told(), Place::new());
        let state = place.state();
        let options = [("state_dir", state.as_str())];
        let node = registered(&dds, &options);
        let id = node_id(&node);
        node.stop(GUARD).expect("stopped");
        let other = registered(&dds, &options);
        assert_ne!(node_id(&other), id);
        other.stop(GUARD).expect("stopped");
        let wallet = support::start(&dds, &options);
        assert_eq!(wallet.node_id().expect("this process"), None);
        wallet.stop(GUARD).expect("stopped");
        let names: Vec<_> = fs::read_dir(&state)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .filter(|name| name.starts_with("state.foreign-"))
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn the_processes_of_a_robot_share_its_registration_and_each_gets_a_token() {
        let (dds, place) = (dds_that_calls_when_told(), Place::new());
        let mut workers = workers(&dds, &place.state(), 2);
        for worker in &mut workers {
            assert_eq!(worker.ask("registered"), "Ok(())");
        }
        let tokens: Vec<_> = workers.iter_mut().map(|worker| worker.ask("token")).collect();
        assert!(tokens.iter().all(|token| dds.accepts_token(token)));
        assert_ne!(tokens[0], tokens[1]);
        // The leader has the token of its registration, the follower signs in.
        assert_eq!(requests(&dds), (1, 1));
        let ids: Vec<_> = workers.iter_mut().map(|worker| worker.ask("id")).collect();
        assert_eq!(ids, vec![dds.nodes()[0].node_id.clone(); 2]);

        // A re-arm of the follower registers once, through the leader.
        assert!(workers[1].ask("rearm").starts_with("Ok(())"));
        for worker in &mut workers {
            assert_eq!(worker.ask("registered"), "Ok(())");
        }
        assert!(dds.wait_for(GUARD, |dds| requests(dds).0 == 2), "{:?}", requests(&dds));

        // The follower takes over, and the robot stays registered.
        workers[0].kill();
        workers[1].until_answer("status", |status| status.starts_with("leader registered"));
        assert_eq!(requests(&dds).0, 2);
        assert!(workers[1].ask("rearm").starts_with("Ok(())"));
        assert_eq!(workers[1].ask("registered"), "Ok(())");
        assert_eq!(requests(&dds).0, 3);
    }
}
