//! What nothing on the same stack can undercut: two POSTs with nothing around them, one signature, a server
//! that answers without looking.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use k256::ecdsa::SigningKey;
use peer_commands::{answer, number, setting};
use tokio::net::{TcpListener, TcpStream};

const CHALLENGE_PATH: &str = "/internal/v1/auth/siwe/request";
const REGISTER_PATH: &str = "/internal/v1/nodes/register-wallet";
/// As long as the real ones.
const CHALLENGE_BODY: &str = r#"{"wallet":"0xfdbb6caf01414300c16ea14859fec7736d95355f"}"#;
const REGISTER_BODY: &str = r#"{"message":"127.0.0.1:40607 wants you to sign in with your Ethereum account:\n0xfdbb6caf01414300c16ea14859fec7736d95355f\n\nURI: http://127.0.0.1:40607\nVersion: 1\nChain ID: 8453\nNonce: 0123456789abcdef\nIssued At: 2026-01-01T00:00:00Z","signature":"0x0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789ab","registration_credentials":"MDEyMzQ1NjctODlhYi1jZGVmLTAxMjMtNDU2Nzg5YWJjZGVmOnNlY3JldA==","capabilities":["/example/v1"],"version":"1.0.0"}"#;

fn main() {
    let (runtime, client) = (runtime(), client());
    let key = SigningKey::from_slice(&[0x42; 32]).expect("a good key");
    answer(|words| {
        match *words {
            ["reqwest", times] => runtime.block_on(register_with_reqwest(&client, number(times))),
            ["thread", times] => on_a_thread(number(times), &key),
            ["hyper", times] => runtime.block_on(register_with_hyper(number(times))),
            ["sign", times] => (0..number(times)).for_each(|n| sign(&key, n)),
            ["serve"] => return serve(),
            _ => panic!("unknown command {words:?}"),
        }
        String::new()
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn client() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls).timeout(Duration::from_secs(10));
    builder.build().expect("a client")
}

async fn register_with_reqwest(client: &reqwest::Client, times: usize) {
    let base = setting("DDS_BASE_URL");
    for _ in 0..times {
        for (path, body) in [(CHALLENGE_PATH, CHALLENGE_BODY), (REGISTER_PATH, REGISTER_BODY)] {
            let request =
                client.post(format!("{base}{path}")).header(CONTENT_TYPE, "application/json").body(body);
            let response = request.send().await.expect("an answer");
            assert!(response.status().is_success());
            response.bytes().await.expect("a body");
        }
    }
}

/// Both POSTs and the signature on a runtime thread, as a library has to do it that is a guest of any host: this
/// thread wakes that one each time, and is woken when it is done.
fn on_a_thread(times: u64, key: &SigningKey) {
    let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let client = client();
            runtime().block_on(async {
                while let Some(n) = asked.recv().await {
                    register_with_reqwest(&client, 1).await;
                    sign(key, n);
                    tell.send(()).expect("somebody waits");
                }
            });
        });
        for n in 0..times {
            ask.send(n).expect("the thread runs");
            told.recv().expect("the thread runs");
        }
        drop(ask);
    });
}

fn sign(key: &SigningKey, n: u64) {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&n.to_ne_bytes());
    std::hint::black_box(key.sign_prehash_recoverable(&digest).expect("it signs"));
}

async fn register_with_hyper(times: usize) {
    let base = setting("DDS_BASE_URL");
    let authority = base.trim_start_matches("http://");
    let stream = TcpStream::connect(authority).await.expect("it connects");
    stream.set_nodelay(true).expect("a live socket");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.expect("HTTP/1");
    let connection = tokio::spawn(connection);
    for _ in 0..times {
        for (path, body) in [(CHALLENGE_PATH, CHALLENGE_BODY), (REGISTER_PATH, REGISTER_BODY)] {
            let request = Request::post(path)
                .header(HOST, authority)
                .header(CONTENT_TYPE, "application/json")
                .body(Full::from(body))
                .expect("a request");
            let response = sender.send_request(request).await.expect("an answer");
            assert!(response.status().is_success());
            response.into_body().collect().await.expect("a body");
        }
    }
    drop(sender);
    connection.await.expect("no panic").expect("a clean end");
}

/// The answers of the real thing, without looking at what was asked.
fn serve() -> String {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("it binds");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("a live socket");
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), hyper::service::service_fn(constant)),
                );
            }
        })
    });
    address
}

async fn constant(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == Method::GET {
        return Ok(Response::default());
    }
    let mut response = Response::new(Full::from(r#"{"ok":true}"#));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
