//! This library, as a Rust program uses it.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use ours::config::Config;
use ours::crypto::{SecretKey, load_secp256k1_privhex};
use ours::node::{Node, Wait};
use ours::register::{RegistrationAttemptKind, register_once};
use ours::status::Role;
use peer_commands::{answer, microseconds, number, on_threads, setting};

const GUARD: Option<Duration> = Some(Duration::from_secs(300));

/// The options that every node needs, from the driver's environment.
const REQUIRED: [(&str, &str); 5] = [
    ("dds_base_url", "DDS_BASE_URL"),
    ("reg_secret", "REG_SECRET"),
    ("secp256k1_privhex", "SECP256K1_PRIVHEX"),
    ("capabilities", "CAPABILITIES"),
    ("node_version", "NODE_VERSION"),
];

fn main() {
    if std::env::args().nth(1).as_deref() == Some("first") {
        return request_with_token();
    }
    let mut nodes: Vec<Node> = Vec::new();
    let mut once = None;
    answer(|words| match *words {
        ["once", times] => {
            once.get_or_insert_with(Once::new).register(number(times));
            String::new()
        }
        ["register", times] => {
            let node = only(&mut nodes, &[]);
            for _ in 0..number(times) {
                register_again(node);
            }
            String::new()
        }
        ["start", times] => microseconds(number(times), || start(&[])),
        ["rearm", times] => {
            let node = only(&mut nodes, &[]);
            microseconds(number(times), || register_again(node))
        }
        ["handshake", times] => {
            let once = once.get_or_insert_with(Once::new);
            microseconds(number(times), || once.register(1))
        }
        ["park"] => {
            only(&mut nodes, &[]);
            String::new()
        }
        ["serve"] => {
            let node = only(&mut nodes, &[("callback_bind", "127.0.0.1:0"), ("callback_policy", "open")]);
            let address = node.callback_address().expect("not forked");
            address.expect("it serves").to_string()
        }
        ["mounted"] => {
            let node = only(&mut nodes, &[("callback_policy", "open")]);
            host(node.router())
        }
        ["empty-route"] => {
            let respond = async |body: Bytes| {
                black_box(body);
                ([(CONTENT_TYPE, "application/json")], r#"{"ok":true}"#)
            };
            let health = get(async || ());
            host(Router::new().route("/internal/v1/registrations", post(respond)).route("/health", health))
        }
        ["share", url] => {
            let options = [("state_url", url), ("callback_bind", "127.0.0.1:0"), ("callback_policy", "open")];
            let node = only(&mut nodes, &options);
            node.callback_address().expect("not forked").expect("it serves").to_string()
        }
        ["holds", version] => {
            let version: u64 = number(version);
            until(|| nodes[0].status().expect("not forked").secret_version >= version);
            String::new()
        }
        ["leads"] => {
            until(|| nodes[0].status().expect("not forked").role == Role::Leader);
            String::new()
        }
        ["status", threads, times] => {
            let node = &nodes[0];
            on_threads(number(threads), number(times), || drop(black_box(node.status())));
            String::new()
        }
        ["metrics", threads, times] => {
            let node = &nodes[0];
            on_threads(number(threads), number(times), || drop(black_box(node.metrics_text())));
            String::new()
        }
        ["secret", threads, times] => {
            let node = &nodes[0];
            let length = || node.with_secret(|secret| secret.map(|secret| secret.expose().len()));
            assert!(matches!(length(), Ok(Some(1..))), "there is a secret");
            on_threads(number(threads), number(times), || drop(black_box(length())));
            String::new()
        }
        ["token", threads, times] => {
            let node = only(&mut nodes, &[]);
            on_threads(number(threads), number(times), || {
                let length = node.with_access_token(GUARD, |token| token.value().len());
                assert!(black_box(length).is_ok(), "it signs in");
            });
            String::new()
        }
        ["sign-in", times] => {
            let node = only(&mut nodes, &[]);
            for _ in 0..number(times) {
                node.access_token(GUARD).expect("it signs in");
                node.invalidate_token().expect("it runs");
            }
            String::new()
        }
        ["many", count] => {
            nodes = (0..number(count)).map(|n| begin(&[("secp256k1_privhex", &key(n))])).collect();
            for node in &nodes {
                node.wait(Wait::Registered, GUARD).expect("it registers");
            }
            String::new()
        }
        ["stop"] => {
            let began = Instant::now();
            for node in nodes.drain(..) {
                node.stop(Duration::from_secs(60)).expect("it stops");
            }
            format!("{:.1}", began.elapsed().as_secs_f64() * 1e3)
        }
        _ => panic!("unknown command {words:?}"),
    });
}

/// From the start of a node to one authorized request.
fn request_with_token() {
    let node = begin(&[]);
    let token = node.access_token(GUARD).expect("it registers and signs in");
    let base_url = setting("DDS_BASE_URL");
    let authority = base_url.trim_start_matches("http://");
    let mut service = TcpStream::connect(authority).expect("it connects");
    let request = format!(
        "GET /authorized HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token.value()
    );
    service.write_all(request.as_bytes()).expect("it is sent");
    let mut response = String::new();
    service.read_to_string(&mut response).expect("a response");
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    node.stop(Duration::from_secs(60)).expect("it stops");
}

/// Serves an application in a runtime of its own, as a host does. Returns the address.
fn host(application: Router) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("it binds");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        runtime.block_on(async { axum::serve(listener.tap_io(no_delay), application).await })
    });
    address
}

fn no_delay(stream: &mut tokio::net::TcpStream) {
    stream.set_nodelay(true).expect("a live socket");
}

/// A node that has begun to register.
fn begin(options: &[(&str, &str)]) -> Node {
    let mut config = Config::new();
    for (name, variable) in REQUIRED {
        if !options.iter().any(|(given, _)| *given == name) {
            config.set(name, &setting(variable)).expect("a good option");
        }
    }
    for (name, value) in options {
        config.set(name, value).expect("a good option");
    }
    Node::start(&config).expect("it starts")
}

fn start(options: &[(&str, &str)]) -> Node {
    let node = begin(options);
    node.wait(Wait::Registered, GUARD).expect("it registers");
    node
}

/// The one registered node, started on first use.
fn only<'a>(nodes: &'a mut Vec<Node>, options: &[(&str, &str)]) -> &'a Node {
    if nodes.is_empty() {
        nodes.push(start(options));
    }
    &nodes[0]
}

fn register_again(node: &Node) {
    node.rearm().expect("it runs");
    node.wait(Wait::Registered, GUARD).expect("it registers");
}

/// Waits until this holds.
fn until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < GUARD.unwrap_or_default(), "it does not happen");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// The private key of one of many nodes.
fn key(number: usize) -> String {
    format!("{:064x}", number + 1)
}

/// `register_once`, with a client and a runtime as a program of its own has them.
struct Once {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    key: SecretKey,
    capabilities: Vec<String>,
}

impl Once {
    fn new() -> Self {
        let tls =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("ring knows TLS 1.2 and 1.3")
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(Duration::from_secs(10))
            .build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            runtime: runtime.expect("a runtime"),
            client: client.expect("a client"),
            key: load_secp256k1_privhex(&setting("SECP256K1_PRIVHEX")).expect("a good key"),
            capabilities: setting("CAPABILITIES").split(',').map(str::to_owned).collect(),
        }
    }

    fn register(&self, times: usize) {
        let (url, version, secret) =
            (setting("DDS_BASE_URL"), setting("NODE_VERSION"), setting("REG_SECRET"));
        self.runtime.block_on(async {
            for _ in 0..times {
                let attempt =
                    register_once(&url, &version, &secret, &self.key, &self.client, &self.capabilities).await;
                assert_eq!(attempt.kind(), RegistrationAttemptKind::Registered, "{:?}", attempt.error_text());
            }
        });
    }
}
