//! The callback server of a node, tested over plain sockets.

#[path = "callback/access.rs"]
mod access;
#[path = "callback/crowd.rs"]
mod crowd;
#[cfg(target_os = "linux")]
#[path = "callback/nginx.rs"]
mod nginx;
#[cfg(target_os = "linux")]
#[path = "support/place.rs"]
mod place;
mod support;
#[cfg(target_os = "linux")]
#[path = "callback/tls.rs"]
mod tls;
#[path = "callback/window.rs"]
mod window;
#[cfg(target_os = "linux")]
#[path = "support/worker.rs"]
mod worker;

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posemesh_dev_dds::{Callback, DevDds, Endpoint, Fault};
use posemesh_node_registration::event::EventKind;
use posemesh_node_registration::http::{DdsState, router_dds};
use posemesh_node_registration::node::{Node, Wait};
use posemesh_node_registration::state;
use posemesh_node_registration::status::State;
use serde_json::{Value, json};
use support::{Events, GUARD};

const SECRET: &str = "the-node-secret-5b1e";
const ID: &str = "0b5e4f2a-1111-4222-8333-4444aaaabbbb";

/// Not a test: the body of a worker process.
#[cfg(target_os = "linux")]
#[test]
fn worker() {
    if support::child_case().as_deref() == Some("worker") {
        worker::work();
    }
}

/// A registered node with a callback server, and its DDS, which calls back only on request.
struct Setup {
    dds: DevDds,
    node: Node,
    address: SocketAddr,
}

impl Setup {
    fn new(options: &[(&str, &str)]) -> Self {
        Self::with(DevDds::builder().callback(Callback::Never).start().expect("a DDS"), options, true)
    }

    /// A node whose hand-ins are never answered: it stays `registering` until it is called back.
    fn registering(options: &[(&str, &str)]) -> Self {
        let dds = DevDds::builder().callback(Callback::Never).start().expect("a DDS");
        dds.inject(Endpoint::Register, Fault::Hang, u32::MAX);
        let setup = Self::with(dds, options, false);
        setup.until_handed_in(1);
        setup
    }

    fn until_handed_in(&self, times: usize) {
        assert!(self.dds.wait_for_requests(Endpoint::Register, times, GUARD), "the node hands in");
    }

    fn with(dds: DevDds, options: &[(&str, &str)], registered: bool) -> Self {
        // Some tests read the log from before the start.
        support::logged();
        let options: Vec<_> = [("callback_bind", "127.0.0.1:0")].iter().chain(options).copied().collect();
        let node = support::start(&dds, &options);
        let address = node.callback_address().expect("this process").expect("a callback server");
        if registered {
            node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        }
        Self { dds, node, address }
    }

    fn until_failed(&self) {
        let deadline = Instant::now() + GUARD;
        while self.node.status().expect("this process").consecutive_failures == 0 {
            assert!(Instant::now() < deadline, "the attempt fails");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn call(&self, body: &str) -> Answer {
        exchange(self.address, &callback(body)).expect("an answer")
    }

    fn send_secret(&self, secret: &str) -> u16 {
        self.call(&json!({ "id": ID, "secret": secret }).to_string()).status
    }

    fn secret(&self) -> Option<String> {
        self.node.with_secret(|secret| secret.map(|secret| secret.expose().to_owned())).expect("this process")
    }

    fn version(&self) -> u64 {
        self.node.status().expect("this process").secret_version
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    /// In lowercase.
    head: String,
    body: String,
}

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: node\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn callback(body: impl AsRef<[u8]>) -> Vec<u8> {
    callback_of_type("application/json", body.as_ref())
}

fn callback_of_type(content_type: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!("connection: close\r\ncontent-type: {content_type}\r\n");
    request("POST", "/internal/v1/registrations", &headers, body)
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    request("GET", path, &format!("connection: close\r\n{headers}"), b"")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(GUARD)).expect("not zero");
    stream
}

/// Sends these bytes and reads until the server closes the connection.
fn exchange(address: SocketAddr, bytes: &[u8]) -> io::Result<Answer> {
    let mut stream = connect(address);
    // The server may answer and close before it has read everything.
    let sent = stream.write_all(bytes);
    let received = read_to_end(&mut stream);
    if received.is_empty() {
        Err(sent.err().unwrap_or_else(|| ErrorKind::UnexpectedEof.into()))
    } else {
        Ok(parse(&received))
    }
}

/// Everything that arrives before the connection ends, however it ends.
fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    let end = stream.read_to_end(&mut received);
    assert!(!end.is_err_and(|error| is_timeout(&error)), "the server neither answers nor closes");
    received
}

/// Whether the server has neither closed this connection nor sent anything.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn parse(answer: &[u8]) -> Answer {
    let text = String::from_utf8(answer.to_vec()).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3)).expect("a status line");
    Answer { status: status.parse().expect("a status"), head: head.to_lowercase(), body: body.to_owned() }
}

#[test]
fn an_accepted_secret_shows_in_the_status() {
    let setup = Setup::new(&[]);
    let events = Events::of(&setup.node);
    assert_eq!(setup.secret(), None);
    let answer = setup.call(&json!({ "id": ID, "secret": SECRET }).to_string());
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"ok":true}"#));
    assert!(answer.head.contains("content-type: application/json"), "{answer:?}");
    assert_eq!(setup.secret().as_deref(), Some(SECRET));
    let version = events.next("secret", |kind| match kind {
        EventKind::SecretChanged { version } => Some(*version),
        _ => None,
    });
    let status = setup.node.status().expect("this process");
    assert_eq!((version, status.secret_version, status.has_secret), (1, 1, true));
    setup.node.wait(Wait::Secret, Some(Duration::ZERO)).expect("it is there");
}

#[test]
fn a_callback_before_or_after_the_answer_to_a_hand_in_is_accepted() {
    for callback in [Callback::BeforeAnswer, Callback::AfterAnswer] {
        let dds = DevDds::builder().callback(callback).start().expect("a DDS");
        // It registers only after DDS knows its address.
        dds.inject(Endpoint::Challenge, Fault::Hang, u32::MAX);
        let setup = Setup::with(dds, &[], false);
        setup.dds.set_node_url(Some(format!("http://{}", setup.address))).expect("loopback");
        setup.dds.clear_faults();
        setup.node.rearm().expect("the node runs");
        setup.node.wait(Wait::Secret, Some(GUARD)).expect("DDS calls back");
        assert_eq!(setup.secret(), setup.dds.last_secret());
        setup.node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        assert_eq!(setup.version(), 1, "{callback:?}");
    }
}

#[test]
fn valid_bodies_are_stored_and_invalid_ones_refused() {
    let setup = Setup::new(&[("callback_policy", "open")]);
    let secret_of = |length: usize| json!({ "id": ID, "secret": "s".repeat(length) }).to_string();
    let taken = [
        secret_of(1),
        secret_of(4096),
        // The limit is in bytes.
        json!({ "id": ID, "secret": "é".repeat(2048) }).to_string(),
        json!({ "id": ID, "secret": " a secret with space\n" }).to_string(),
        json!({ "id": ID, "secret": SECRET, "unknown": { "deep": [1, null] } }).to_string(),
        json!({ "id": ID, "secret": SECRET, "organization_id": null, "domains": null }).to_string(),
        json!({ "id": ID, "secret": SECRET, "organization_id": "o", "lighthouses_in_domains": [{}], "domains": [1] })
            .to_string(),
        json!({ "id": ID, "secret": SECRET, "domains": "d".repeat(200 * 1024) }).to_string(),
        format!(" \r\n\t{} \n", json!({ "id": ID, "secret": SECRET })),
    ];
    for body in &taken {
        let answer = setup.call(body);
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"ok":true}"#), "{body:.200}");
        let sent: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(setup.secret().as_deref(), sent["secret"].as_str(), "stored as it came");
    }

    let held = (setup.secret(), setup.version());
    let refused: Vec<(u16, Vec<u8>)> = vec![
        (400, b"".to_vec()),
        (400, b"secret=1".to_vec()),
        (400, format!("{{\"id\":\"{ID}\",\"secret\":\"{SECRET}").into()),
        (400, format!("{} more", json!({ "id": ID, "secret": SECRET })).into()),
        (400, [b"{\"id\":\"a\",\"secret\":\"".as_slice(), b"\xc3\x28\"}"].concat()),
        (
            400,
            [b"\xff\xfe".as_slice(), json!({ "id": ID, "secret": SECRET }).to_string().as_bytes()].concat(),
        ),
        (400, format!("{{\"id\":\"{ID}\",\"secret\":\"{SECRET}\",\"deep\":{}", "[".repeat(100_000)).into()),
        (422, "[".repeat(100_000).into()),
        (422, json!({}).to_string().into()),
        (422, json!({ "id": ID }).to_string().into()),
        (422, json!({ "secret": SECRET }).to_string().into()),
        (422, json!({ "id": "", "secret": SECRET }).to_string().into()),
        (422, json!({ "id": " \t", "secret": SECRET }).to_string().into()),
        (422, json!({ "id": ID, "secret": "" }).to_string().into()),
        (422, json!({ "id": ID, "secret": " \n\u{a0}" }).to_string().into()),
        (422, json!({ "id": ID, "secret": null }).to_string().into()),
        (422, json!({ "id": 1, "secret": SECRET }).to_string().into()),
        (422, json!({ "id": ID, "secret": 1 }).to_string().into()),
        (422, json!({ "id": ID, "secret": [SECRET] }).to_string().into()),
        (422, json!({ "id": ID, "secret": SECRET, "organization_id": 1 }).to_string().into()),
        (422, format!("{{\"id\":\"{ID}\",\"secret\":\"{SECRET}\",\"secret\":\"b\"}}").into()),
        // A C program would read only a part of it.
        (422, r#"{"id":"a","secret":"abc\u0000def"}"#.into()),
        (422, r#"{"id":"a\u0000","secret":"s"}"#.into()),
        (422, r#"{"id":"a","secret":"\u0000"}"#.into()),
        (422, r#"{"id":"a","secret":"s","\u0073ecret":"s"}"#.into()),
        (422, json!({ "id": ID, "secret": { "secret": SECRET } }).to_string().into()),
        (422, json!({ "id": [ID], "secret": SECRET }).to_string().into()),
        // Some parsers read the elements of an array as the fields of an object.
        (422, json!([ID, SECRET, null, null, null]).to_string().into()),
        (422, json!([{ "id": ID, "secret": SECRET }]).to_string().into()),
        (422, format!(" \r\n\t[\"{ID}\",\"{SECRET}\",null,null,null]").into()),
        // Half a surrogate pair, and control characters that JSON allows only as escapes.
        (400, r#"{"id":"a","secret":"\ud83d"}"#.into()),
        (400, r#"{"id":"a","secret":"\udd11\ud83d"}"#.into()),
        (400, b"{\"id\":\"a\",\"secret\":\"a\0b\"}".to_vec()),
        (400, b"{\"id\":\"a\",\"secret\":\"a\nb\"}".to_vec()),
        (422, b"null".to_vec()),
        (422, b"\"text\"".to_vec()),
        (403, secret_of(4097).into()),
        (403, json!({ "id": ID, "secret": "é".repeat(2049) }).to_string().into()),
    ];
    for (status, body) in &refused {
        let shown = String::from_utf8_lossy(body);
        let answer = exchange(setup.address, &callback(body)).expect("an answer");
        assert_eq!(answer.status, *status, "{shown:.200}");
        assert!(!answer.body.is_empty() && !answer.body.contains(SECRET), "{shown:.200}: {answer:?}");
    }
    assert_eq!((setup.secret(), setup.version()), held);
}

#[test]
fn only_json_content_types_are_accepted() {
    let setup = Setup::new(&[("callback_policy", "open")]);
    let body = json!({ "id": ID, "secret": SECRET }).to_string();
    for json in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/problem+json",
    ] {
        let answer = exchange(setup.address, &callback_of_type(json, body.as_bytes())).expect("an answer");
        assert_eq!(answer.status, 200, "{json}");
    }
    for other in
        ["text/plain", "text/json", "application/x-www-form-urlencoded", "", "json", "application/jsonp"]
    {
        let answer = exchange(setup.address, &callback_of_type(other, body.as_bytes())).expect("an answer");
        assert_eq!(answer.status, 415, "{other}");
    }
    let without = request("POST", "/internal/v1/registrations", "connection: close\r\n", body.as_bytes());
    assert_eq!(exchange(setup.address, &without).expect("an answer").status, 415);
}

#[test]
fn an_oversized_body_is_refused_before_it_is_read() {
    let setup = Setup::new(&[]);
    for padding in [256 * 1024, 1024 * 1024, 16 * 1024 * 1024] {
        let body = json!({ "id": ID, "secret": SECRET, "domains": "d".repeat(padding) }).to_string();
        // Closing with unread data resets the connection, and the reset may overtake the answer.
        if let Ok(answer) = exchange(setup.address, &callback(body)) {
            assert_eq!(answer.status, 413);
        }
    }
    // A body whose length is announced is refused before all of it is sent.
    let mut stream = connect(setup.address);
    let announced = "POST /internal/v1/registrations HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\
                     content-type: application/json\r\ncontent-length: 300000\r\n\r\n";
    stream.write_all(announced.as_bytes()).expect("sent");
    stream.write_all(&[b' '; 262_145]).expect("sent");
    assert_eq!(parse(&read_to_end(&mut stream)).status, 413);
    assert_eq!(setup.secret(), None);
}

#[test]
fn an_oversized_header_is_refused() {
    let setup = Setup::new(&[]);
    for (length, status) in [(16 * 1024, 200), (64 * 1024, 431)] {
        let padding = format!("x-padding: {}\r\n", "x".repeat(length));
        // The connection may be closed before the rest of an oversized header is sent.
        let mut stream = connect(setup.address);
        let _ = stream.write_all(&get("/health", &padding));
        let mut answer = vec![0; 12];
        match stream.read_exact(&mut answer) {
            Ok(()) => assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes()),
            Err(error) => assert!(status == 431 && error.kind() == ErrorKind::ConnectionReset, "{error}"),
        }
    }
}

#[test]
fn other_methods_and_paths_are_refused() {
    let setup = Setup::new(&[]);
    let body = json!({ "id": ID, "secret": SECRET }).to_string();
    let headers = "connection: close\r\ncontent-type: application/json\r\n";
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let bytes = request(method, "/internal/v1/registrations", headers, body.as_bytes());
        assert_eq!(exchange(setup.address, &bytes).expect("an answer").status, 405, "{method}");
    }
    let post = request("POST", "/health", headers, b"{}");
    assert_eq!(exchange(setup.address, &post).expect("an answer").status, 405);
    for path in [
        "/",
        "/internal/v1/registrations/",
        "/internal/v1",
        "/internal/v1/registrations/x",
        "/healthz",
        "/HEALTH",
    ] {
        let bytes = request("POST", path, headers, body.as_bytes());
        assert_eq!(exchange(setup.address, &bytes).expect("an answer").status, 404, "{path}");
    }
    // Not HTTP.
    let answer = exchange(setup.address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n");
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 400));
    assert_eq!(setup.secret(), None);
    assert_eq!(setup.send_secret(SECRET), 200, "the server still works");
}

// scenario: health-probe
#[test]
fn only_probes_from_dds_count_as_health_checks() {
    let setup = Setup::new(&[]);
    let events = Events::of(&setup.node);
    for other in [
        "",
        "user-agent: curl/8\r\n",
        "user-agent: dds v1\r\n",
        "user-agent: DDS/1\r\n",
        "user-agent: a DDS v1\r\n",
    ] {
        let answer = exchange(setup.address, &get("/health", other)).expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{other:?}");
    }
    // A value that is not text.
    let bytes = [b"GET /health HTTP/1.1\r\nhost: node\r\nconnection: close\r\nuser-agent: DDS v\xff\r\n\r\n"
        .as_slice()];
    assert_eq!(exchange(setup.address, &bytes.concat()).expect("an answer").status, 200);
    assert_eq!(setup.node.status().expect("this process").last_healthcheck, None);

    let seconds = || SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    for dds in ["user-agent: DDS v1\r\n", "User-Agent: DDS v2.0.0 (x)\r\n"] {
        let before = seconds();
        assert_eq!(exchange(setup.address, &get("/health?x=1", dds)).expect("an answer").status, 200);
        events.next("health check", |kind| matches!(kind, EventKind::Healthcheck).then_some(()));
        let at = setup.node.status().expect("this process").last_healthcheck.expect("it was DDS");
        assert!((before..=seconds()).contains(&at), "{at}");
    }
    setup.dds.set_node_url(Some(format!("http://{}", setup.address))).expect("loopback");
    assert_eq!(setup.dds.probe_health().expect("an answer"), 200);

    let head = request("HEAD", "/health", "connection: close\r\n", b"");
    let answer = exchange(setup.address, &head).expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let setup = Setup::new(&[]);
    let json = "content-type: application/json\r\n";
    let first = json!({ "id": ID, "secret": SECRET }).to_string();
    let second = json!({ "id": ID, "secret": "another" }).to_string();
    let bytes = [
        request("POST", "/internal/v1/registrations", json, first.as_bytes()),
        request("POST", "/internal/v1/registrations", json, second.as_bytes()),
        request("GET", "/nothing", "", b""),
        request("POST", "/internal/v1/registrations", json, first.as_bytes()),
        get("/health", ""),
    ];
    let mut stream = connect(setup.address);
    stream.write_all(&bytes.concat()).expect("sent");
    let received = String::from_utf8(read_to_end(&mut stream)).expect("UTF-8");
    let statuses: Vec<_> = received.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "403", "404", "200", "200"]);
    assert_eq!((setup.secret().as_deref(), setup.version()), (Some(SECRET), 1));
}

#[test]
fn requests_in_small_pieces_and_chunks_are_accepted() {
    let setup = Setup::new(&[]);
    let body = json!({ "id": ID, "secret": SECRET }).to_string();
    let mut stream = connect(setup.address);
    stream.set_nodelay(true).expect("a TCP socket");
    for byte in callback(&body) {
        stream.write_all(&[byte]).expect("sent");
    }
    assert_eq!(parse(&read_to_end(&mut stream)).status, 200);

    let head = "POST /internal/v1/registrations HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\
                content-type: application/json\r\n";
    let chunks: String = body.chars().map(|c| format!("1\r\n{c}\r\n")).collect();
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    assert_eq!(exchange(setup.address, chunked.as_bytes()).expect("an answer").status, 200);

    // As curl sends a long body: it waits for the server's permission.
    let mut stream = connect(setup.address);
    let expect = format!("{head}expect: 100-continue\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(expect.as_bytes()).expect("sent");
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).expect("permission to send the body");
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).expect("sent");
    assert_eq!(parse(&read_to_end(&mut stream)).status, 200);
    assert_eq!(setup.version(), 1);
}

#[test]
fn a_peer_that_closed_its_sending_side_receives_its_answer() {
    let setup = Setup::new(&[]);
    let json = "content-type: application/json\r\n";
    let body = json!({ "id": ID, "secret": SECRET }).to_string();
    // Many times, because the server may see the end of the stream with the request or after it.
    for _ in 0..100 {
        let mut stream = connect(setup.address);
        stream
            .write_all(&request("POST", "/internal/v1/registrations", json, body.as_bytes()))
            .expect("sent");
        stream.shutdown(Shutdown::Write).expect("half closed");
        assert_eq!(parse(&read_to_end(&mut stream)).status, 200);
    }
    assert_eq!(setup.secret().as_deref(), Some(SECRET));

    // A partial request, or none, and the end of the stream: that connection ends before an older idle one.
    let idle = connect(setup.address);
    let request = callback(json!({ "id": ID, "secret": "another" }).to_string());
    for cut in [0, 10, 60, 120, request.len() - 1] {
        let mut stream = connect(setup.address);
        stream.write_all(&request[..cut]).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half closed");
        let received = read_to_end(&mut stream);
        assert!(received.is_empty() || parse(&received).status >= 400, "{cut}");
    }
    assert!(is_open(&idle));
    assert_eq!((setup.secret().as_deref(), setup.version()), (Some(SECRET), 1));
}

#[test]
fn a_thousand_idle_connections_do_not_block_new_ones() {
    let setup = Setup::new(&[]);
    let idle: Vec<TcpStream> = (0..1000).map(|_| connect(setup.address)).collect();
    assert_eq!(setup.send_secret(SECRET), 200);
    // Not because it timed out: the newest one is still open.
    assert!(is_open(idle.last().expect("a thousand")));
    // The oldest one was closed.
    assert!(!is_open(&idle[0]));
    setup.node.stop(GUARD).expect("stops in spite of the open connections");
}

#[test]
fn the_first_secret_of_a_registration_wins() {
    let setup = Setup::registering(&[]);
    let events = Events::of(&setup.node);
    assert_eq!(setup.send_secret("first"), 200);
    assert_eq!(setup.node.status().expect("this process").state, State::Registered, "DDS has confirmed it");
    assert_eq!(setup.send_secret("first"), 200);
    assert_eq!(setup.send_secret("second"), 403);
    assert_eq!((setup.secret().as_deref(), setup.version()), (Some("first"), 1));

    events.until_state(State::Registered);
    setup.node.rearm().expect("the node runs");
    events.until_state(State::Registering);
    setup.until_handed_in(2);
    assert_eq!(setup.secret().as_deref(), Some("first"), "kept until there is another");
    assert_eq!(setup.send_secret("second"), 200);
    assert_eq!(setup.send_secret("second"), 200);
    assert_eq!(setup.send_secret("first"), 403);
    assert_eq!((setup.secret().as_deref(), setup.version()), (Some("second"), 2));
}

#[test]
fn with_the_open_policy_the_last_secret_wins() {
    let setup = Setup::new(&[("callback_policy", "open")]);
    for (secret, version) in [("first", 1), ("second", 2), ("second", 2), ("first", 3)] {
        assert_eq!(setup.send_secret(secret), 200);
        assert_eq!((setup.secret().as_deref(), setup.version()), (Some(secret), version));
    }
}

#[test]
fn a_callback_for_another_node_id_is_refused() {
    let console = STANDARD.encode(format!("{ID}:in-the-console"));
    let console = [console.trim_end_matches('='), &console].map(str::to_owned);
    for credentials in &console {
        for policy in ["per_registration", "open"] {
            let setup = Setup::new(&[("reg_secret", credentials), ("callback_policy", policy)]);
            let send = |id: &str| setup.call(&json!({ "id": id, "secret": SECRET }).to_string()).status;
            for other in
                ["0b5e4f2a-1111-4222-8333-4444aaaabbbc", "0b5e4f2a", &format!("{ID} "), &ID.replace('-', "")]
            {
                assert_eq!(send(other), 403, "{other}");
            }
            assert_eq!(setup.secret(), None);
            assert_eq!(send(&ID.to_uppercase()), 200);
            assert_eq!(send(ID), 200);
            assert_eq!(setup.version(), 1);
        }
    }
    // Credentials of another format contain no node id.
    for other in [STANDARD.encode("not-a-uuid:secret"), STANDARD.encode(ID), format!("{ID}:secret")] {
        let setup = Setup::new(&[("reg_secret", &other)]);
        assert_eq!(setup.call(&json!({ "id": "any", "secret": SECRET }).to_string()).status, 200);
    }
}

// scenario: secrets-never-shown
#[test]
fn the_secret_is_in_no_event_and_no_log() {
    const UNIQUE: &str = "unique-and-nowhere-else-91c7";
    let setup = Setup::new(&[]);
    let events = Events::of(&setup.node);
    assert_eq!(setup.send_secret(UNIQUE), 200);
    assert_eq!(setup.send_secret(UNIQUE), 200);
    assert_eq!(setup.send_secret(&format!("other-{UNIQUE}")), 403);
    assert_eq!(setup.send_secret(&UNIQUE.repeat(1000)), 403);
    for bad in [
        format!("{{\"id\":\"{UNIQUE}\",\"secret\":{{\"{UNIQUE}\":1}}}}"),
        format!("{{\"id\":\"a\",\"secret\":\"{UNIQUE}"),
        UNIQUE.to_owned(),
    ] {
        let answer = setup.call(&bad);
        assert!(answer.status >= 400 && !answer.body.contains(UNIQUE), "{answer:?}");
    }
    let bytes = callback_of_type(UNIQUE, UNIQUE.as_bytes());
    assert_eq!(exchange(setup.address, &bytes).expect("an answer").status, 415);
    let request = format!("not http {UNIQUE}\r\n\r\n");
    assert!(exchange(setup.address, request.as_bytes()).is_ok_and(|answer| answer.status == 400));
    setup.node.stop(GUARD).expect("stops");

    let (events, logged) = (events.rest(), support::logged());
    assert!(events.iter().any(|event| matches!(event.kind, EventKind::SecretChanged { .. })));
    let received = format!("{} bytes", UNIQUE.len());
    assert!(logged.iter().any(|record| record.message.contains(&received)), "the log was recorded");
    for told in [format!("{events:?}"), format!("{logged:?}"), format!("{:?}", setup.node.read_secret())] {
        assert!(!told.contains(UNIQUE), "{told}");
    }
}

#[test]
fn the_port_is_in_use_until_the_stop_and_free_after_it() {
    let setup = Setup::new(&[]);
    let bind = setup.address.to_string();
    let other = DevDds::start().expect("a DDS");
    let options = [("callback_bind", bind.as_str())];
    let Err(error) = Node::start(&support::config(&other.url(), &options)) else {
        panic!("two servers on one port");
    };
    assert_eq!(error.code().name(), "ERR_BIND");
    assert!(error.message().contains(&bind), "{error}");

    let mut open = connect(setup.address);
    setup.node.stop(GUARD).expect("stops");
    assert_eq!(read_to_end(&mut open), b"", "connections end with the node");
    let again = Node::start(&support::config(&other.url(), &options)).expect("the port is free");
    again.stop(GUARD).expect("stops");
}

/// The same routes in an axum application of the host, with the process-wide default state.
#[test]
fn the_router_works_in_an_application_of_the_host() {
    let runtime = support::runtime();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let app = axum::Router::new()
        .route("/own", axum::routing::get(|| async { "the host's" }))
        .merge(router_dds(DdsState));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = thread::spawn(move || {
        runtime.block_on(async {
            let serve = async {
                loop {
                    let (stream, _) = listener.accept().await.expect("a connection");
                    let service = hyper_util::service::TowerToHyperService::new(app.clone());
                    let io = hyper_util::rt::TokioIo::new(stream);
                    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
                }
            };
            tokio::select! {
                () = serve => {}
                _ = stopped => {}
            }
        });
    });

    let status = |bytes: &[u8]| exchange(address, bytes).expect("an answer").status;
    let read = || state::read_state().expect("in memory");
    assert_eq!(exchange(address, &get("/own", "")).expect("an answer").body, "the host's");
    assert_eq!(read().status, state::STATUS_DISCONNECTED);
    assert_eq!(status(&get("/health", "")), 200);
    assert_eq!(read().last_healthcheck, None);
    assert_eq!(status(&get("/health", "user-agent: DDS v1\r\n")), 200);
    assert!(read().last_healthcheck.is_some());

    for (expected, body) in [(400, "no"), (422, "{}"), (422, r#"{"id":" ","secret":"s"}"#)] {
        assert_eq!(status(&callback(body)), expected, "{body}");
    }
    assert_eq!(status(&callback_of_type("text/plain", b"{}")), 415);
    assert_eq!(status(&callback(json!({ "id": ID, "secret": "s".repeat(4097) }).to_string())), 403);
    assert_eq!(state::read_node_secret(), Ok(None));
    assert_eq!(read().status, state::STATUS_DISCONNECTED);
    for secret in ["first", "second"] {
        let answer = exchange(address, &callback(json!({ "id": ID, "secret": secret }).to_string()));
        assert_eq!(answer.expect("an answer").body, r#"{"ok":true}"#);
        assert_eq!(state::read_node_secret(), Ok(Some(secret.into())));
    }
    assert_eq!(read().status, state::STATUS_REGISTERED);

    drop(stop);
    server.join().expect("no panic");
}
