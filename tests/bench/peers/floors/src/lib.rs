//! The least work of a registration: two plain POSTs and one signature. With hyper alone, on which a node's own
//! requests run, and with reqwest, whose client a host passes to `register_once`.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use k256::ecdsa::SigningKey;
use peer_commands::setting;
use reqwest::header::CONTENT_TYPE;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

pub const CHALLENGE_PATH: &str = "/internal/v1/auth/siwe/request";
pub const REGISTER_PATH: &str = "/internal/v1/nodes/register-wallet";
/// As long as the real ones.
pub const CHALLENGE_BODY: &str = r#"{"wallet":"0xfdbb6caf01414300c16ea14859fec7736d95355f"}"#;
pub const REGISTER_BODY: &str = r#"{"message":"127.0.0.1:40607 wants you to sign in with your Ethereum account:\n0xfdbb6caf01414300c16ea14859fec7736d95355f\n\nURI: http://127.0.0.1:40607\nVersion: 1\nChain ID: 8453\nNonce: 0123456789abcdef\nIssued At: 2026-01-01T00:00:00Z","signature":"0x0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789ab","registration_credentials":"MDEyMzQ1NjctODlhYi1jZGVmLTAxMjMtNDU2Nzg5YWJjZGVmOnNlY3JldA==","capabilities":["/example/v1"],"version":"1.0.0"}"#;

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub fn client() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls).timeout(Duration::from_secs(10));
    builder.build().expect("a client")
}

pub async fn register_with_reqwest(client: &reqwest::Client, times: u64) {
    for _ in 0..times {
        post(client, CHALLENGE_PATH, CHALLENGE_BODY).await;
        post(client, REGISTER_PATH, REGISTER_BODY).await;
    }
}

/// A signature costs more in its place, right after its thread has slept, than in a loop of its own.
pub async fn register_and_sign(client: &reqwest::Client, key: &SigningKey, times: u64) {
    for n in 0..times {
        post(client, CHALLENGE_PATH, CHALLENGE_BODY).await;
        sign(key, n);
        post(client, REGISTER_PATH, REGISTER_BODY).await;
    }
}

async fn post(client: &reqwest::Client, path: &str, body: &'static str) {
    let url = setting("DDS_BASE_URL") + path;
    let request = client.post(url).header(CONTENT_TYPE, "application/json").body(body);
    let response = request.send().await.expect("an answer");
    assert!(response.status().is_success());
    response.bytes().await.expect("a body");
}

/// One connection, without a pool, a timeout or a redirect: no HTTP client in Rust does less.
pub struct Hyper {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Hyper {
    /// The connection runs on the runtime of the caller.
    pub async fn connect() -> Self {
        let base = setting("DDS_BASE_URL");
        let authority = base.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&authority).await.expect("it connects");
        stream.set_nodelay(true).expect("a live socket");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1");
        tokio::spawn(connection);
        Self { authority, sender }
    }

    pub async fn register(&mut self) {
        self.post(CHALLENGE_PATH, CHALLENGE_BODY).await;
        self.post(REGISTER_PATH, REGISTER_BODY).await;
    }

    /// The signature is made where a real one would be.
    pub async fn register_and_sign(&mut self, key: &SigningKey, n: u64) {
        self.post(CHALLENGE_PATH, CHALLENGE_BODY).await;
        sign(key, n);
        self.post(REGISTER_PATH, REGISTER_BODY).await;
    }

    async fn post(&mut self, path: &str, body: &'static str) {
        let request = Request::post(path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .expect("a request");
        let response = self.sender.send_request(request).await.expect("an answer");
        assert!(response.status().is_success());
        response.into_body().collect().await.expect("a body");
    }
}

/// Any key will do.
pub fn key() -> SigningKey {
    SigningKey::from_slice(&[0x42; 32]).expect("a good key")
}

pub fn sign(key: &SigningKey, n: u64) {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&n.to_ne_bytes());
    std::hint::black_box(key.sign_prehash_recoverable(&digest).expect("it signs"));
}

/// A thread with a runtime that does both POSTs and the signature each time it is asked. A library that runs in any
/// host needs one: the host's thread wakes it, and is woken when it is done.
pub struct Worker {
    ask: UnboundedSender<Done>,
}

type Done = Box<dyn FnOnce() + Send>;

impl Worker {
    /// The thread ends with the worker.
    pub fn start() -> Self {
        let (ask, mut asked) = unbounded_channel::<Done>();
        std::thread::spawn(move || {
            let key = key();
            runtime().block_on(async {
                let mut hyper = Hyper::connect().await;
                while let Some(done) = asked.recv().await {
                    hyper.register_and_sign(&key, 0).await;
                    done();
                }
            });
        });
        Self { ask }
    }

    /// Calls `done` on the worker's thread.
    pub fn register(&self, done: impl FnOnce() + Send + 'static) {
        let asked = self.ask.send(Box::new(done));
        assert!(asked.is_ok(), "the thread runs");
    }
}
