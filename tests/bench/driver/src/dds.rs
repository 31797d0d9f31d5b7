//! A DDS that answers at once. It runs in this process, so its cost is not counted as the client's.
//!
//! The project's local DDS checks each signature, which takes longer than to make one, so that clients would
//! mostly be seen waiting. This one checks nothing while the clock runs; it keeps the last registration, which
//! [`Dds::check_last`] then checks for its signature.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use serde_json::Value;
use sha3::{Digest as _, Keccak256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The length of an access token.
const TOKEN_BYTES: usize = 1024;
/// In place of a service behind DDS: needs the access token.
const AUTHORIZED_PATH: &str = "/authorized";

pub struct Dds {
    authority: String,
    shared: Arc<Shared>,
}

struct Shared {
    authority: String,
    registrations: AtomicU64,
    authorized: AtomicU64,
    last: Mutex<Bytes>,
}

impl Dds {
    /// Starts it on a thread that lives as long as this process.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let authority = listener.local_addr()?.to_string();
        let shared = Arc::new(Shared {
            authority: authority.clone(),
            registrations: AtomicU64::new(0),
            authorized: AtomicU64::new(0),
            last: Mutex::default(),
        });
        let server = serve(listener, Arc::clone(&shared));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        thread::Builder::new().name("dds".into()).spawn(move || runtime.block_on(server))?;
        Ok(Self { authority, shared })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// How many registrations it has been handed.
    pub fn registrations(&self) -> u64 {
        self.shared.registrations.load(Ordering::Acquire)
    }

    /// How many requests had the access token.
    pub fn authorized(&self) -> u64 {
        self.shared.authorized.load(Ordering::Acquire)
    }

    /// Whether the last registration was signed by the wallet that its message names.
    pub fn check_last(&self) -> io::Result<()> {
        let body = self.shared.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let request: Value = serde_json::from_slice(&body)?;
        let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
        let (message, signature) = (text("message"), text("signature"));
        let wallet = message.lines().nth(1).unwrap_or_default().to_ascii_lowercase();
        match recover(&message, &signature) {
            Some(signer) if signer == wallet => Ok(()),
            signer => Err(io::Error::other(format!("signed by {signer:?}, not by {wallet:?}: {message:?}"))),
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("it is non-blocking");
    loop {
        // Without a file descriptor there is nothing to do but to wait for one.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        let service = hyper::service::service_fn(move |request| answer(Arc::clone(&shared), request));
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get(AUTHORIZATION).cloned();
    let Ok(body) = request.into_body().collect().await else { return Ok(status(StatusCode::BAD_REQUEST)) };
    Ok(match path.as_str() {
        "/internal/v1/auth/siwe/request" => json(challenge(&shared.authority)),
        "/internal/v1/nodes/register-wallet" => {
            *shared.last.lock().unwrap_or_else(PoisonError::into_inner) = body.to_bytes();
            shared.registrations.fetch_add(1, Ordering::AcqRel);
            status(StatusCode::OK)
        }
        "/internal/v1/auth/siwe/verify" => json(tokens()),
        AUTHORIZED_PATH if authorization.is_some_and(|value| value == format!("Bearer {}", token())) => {
            shared.authorized.fetch_add(1, Ordering::AcqRel);
            status(StatusCode::OK)
        }
        _ => status(StatusCode::NOT_FOUND),
    })
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

fn json(body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Valid for longer than any run takes, so that no refresh falls into a measurement.
fn tokens() -> String {
    let expires_at = OffsetDateTime::now_utc() + time::Duration::days(1);
    let expires_at = expires_at.format(&Rfc3339).expect("this century");
    let token = token();
    format!(r#"{{"access_token":"{token}","access_expires_at":"{expires_at}"}}"#)
}

fn token() -> String {
    "t".repeat(TOKEN_BYTES)
}

fn challenge(authority: &str) -> String {
    let issued_at = OffsetDateTime::now_utc().format(&Rfc3339).expect("this century");
    format!(
        r#"{{"nonce":"0123456789abcdef","domain":"{authority}","uri":"http://{authority}","version":"1","chainId":8453,"issuedAt":"{issued_at}"}}"#
    )
}

/// The wallet that signed a message (EIP-191).
fn recover(message: &str, signature: &str) -> Option<String> {
    let bytes = hex::decode(signature.strip_prefix("0x")?).ok()?;
    let (rest, v) = bytes.split_at_checked(64)?;
    let prehash = Keccak256::new()
        .chain_update(format!("\u{19}Ethereum Signed Message:\n{}", message.len()))
        .chain_update(message)
        .finalize();
    let recovery = RecoveryId::from_byte(v.first()?.checked_sub(27)?)?;
    let key =
        VerifyingKey::recover_from_prehash(&prehash, &Signature::from_slice(rest).ok()?, recovery).ok()?;
    let point = key.to_encoded_point(false);
    Some(format!("0x{}", hex::encode(&Keccak256::digest(&point.as_bytes()[1..])[12..])))
}
