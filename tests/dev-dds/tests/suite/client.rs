//! A node: raw HTTP, a wallet, and a callback server that records requests.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k256::ecdsa::SigningKey;
use posemesh_dev_dds::{DevDds, Endpoint, Form};
use serde_json::{Value, json};
use sha3::{Digest, Keccak256};

/// Only a broken test waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a body in UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body in JSON")
    }
}

/// Sends a request without reading the answer.
pub(crate) fn send(authority: &str, method: &str, path: &str, body: &str) -> TcpStream {
    send_with(authority, method, path, "", body)
}

fn send_with(authority: &str, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(authority).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\
         x-test: yes\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .expect("a request sent");
    stream
}

/// Sends a request and reads the whole answer.
pub(crate) fn request(authority: &str, method: &str, path: &str, body: &str) -> Answer {
    read(send(authority, method, path, body))
}

fn read(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a head in UTF-8").to_lowercase();
    let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    Answer { status: status.expect("a status"), head, body: bytes[end + 4..].to_vec() }
}

/// Sends a request with an access token and reads the whole answer.
pub(crate) fn post_with_token(dds: &DevDds, endpoint: Endpoint, token: &Value, body: &Value) -> Answer {
    let token = token.as_str().expect("a token");
    let header = format!("authorization: Bearer {token}\r\n");
    read(send_with(&dds.authority(), "POST", endpoint.path(), &header, &body.to_string()))
}

/// The claims of a token, if it is a JWT.
pub(crate) fn claims(token: &Value) -> Option<Value> {
    let [_header, claims, _signature] = token.as_str()?.split('.').collect::<Vec<_>>().try_into().ok()?;
    let json = URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    Some(serde_json::from_slice(&json).expect("claims in JSON"))
}

pub(crate) fn post(dds: &DevDds, endpoint: Endpoint, body: &Value) -> Answer {
    request(&dds.authority(), "POST", endpoint.path(), &body.to_string())
}

pub(crate) struct Wallet {
    key: SigningKey,
}

impl Wallet {
    /// A different wallet for each `seed`.
    pub(crate) fn new(seed: u8) -> Self {
        Self { key: SigningKey::from_slice(&[seed; 32]).expect("a key") }
    }

    pub(crate) fn address(&self) -> String {
        let point = self.key.verifying_key().to_encoded_point(false);
        let hash: [u8; 32] = Keccak256::digest(&point.as_bytes()[1..]).into();
        siwe::eip55(hash[12..].try_into().expect("20 bytes"))
    }

    pub(crate) fn challenge(&self, dds: &DevDds) -> Value {
        let answer = post(dds, Endpoint::Challenge, &json!({ "wallet": self.address().to_lowercase() }));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub(crate) fn message(&self, challenge: &Value, form: Form) -> String {
        let text = |name: &str| match &challenge[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let (address, gap, end) = match form {
            Form::Posemesh => (self.address().to_lowercase(), "\n", ""),
            Form::Eip4361 => (self.address(), "\n\n", ""),
            Form::Relay => (self.address(), "\n", "\n"),
        };
        format!(
            "{} wants you to sign in with your Ethereum account:\n{address}\n{gap}URI: {}\n\
             Version: {}\nChain ID: {}\nNonce: {}\nIssued At: {}{end}",
            text("domain"),
            text("uri"),
            text("version"),
            text("chainId"),
            text("nonce"),
            text("issuedAt"),
        )
    }

    pub(crate) fn sign(&self, message: &str) -> String {
        let prefixed = format!("\x19Ethereum Signed Message:\n{}{message}", message.len());
        let hash = Keccak256::digest(prefixed);
        let (signature, id) = self.key.sign_prehash_recoverable(&hash).expect("a signature");
        format!("0x{}{:x}", hex::encode(signature.to_bytes()), 27 + id.to_byte())
    }

    /// The body of a registration that answers `challenge`.
    pub(crate) fn registration(&self, challenge: &Value) -> Value {
        let message = self.message(challenge, Form::Posemesh);
        json!({
            "signature": self.sign(&message),
            "message": message,
            "registration_credentials": "credentials",
            "capabilities": ["/reconstruction/v1"],
            "version": "v1.2.3",
        })
    }

    /// The body of a legacy registration with a URL.
    pub(crate) fn url_registration(&self, url: &str, timestamp: &str) -> Value {
        let hash = Keccak256::digest(format!("{url}{timestamp}"));
        let (signature, id) = self.key.sign_prehash_recoverable(&hash).expect("a signature");
        json!({
            "url": url,
            "version": "v1.2.3",
            "registration_credentials": "credentials",
            "signature": format!("{}{:02x}", hex::encode(signature.to_bytes()), id.to_byte()),
            "timestamp": timestamp,
            "public_key": hex::encode(self.key.verifying_key().to_encoded_point(false)),
            "capabilities": ["/reconstruction/v1"],
        })
    }

    pub(crate) fn register(&self, dds: &DevDds) -> Answer {
        post(dds, Endpoint::Register, &self.registration(&self.challenge(dds)))
    }

    pub(crate) fn token(&self, dds: &DevDds) -> Answer {
        let message = self.message(&self.challenge(dds), Form::Posemesh);
        let body = json!({
            "address": self.address(),
            "signature": self.sign(&message),
            "message": message,
        });
        post(dds, Endpoint::Verify, &body)
    }
}

/// A callback server that sends the given answers, one per connection.
pub(crate) struct Node {
    pub(crate) url: String,
    requests: Receiver<String>,
}

impl Node {
    pub(crate) fn start(answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (sender, requests) = mpsc::channel();
        let answers = answers.to_vec();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a connection");
                let request = read_request(&mut stream);
                write!(stream, "HTTP/1.1 {answer}").expect("an answer sent");
                // The test may have ended.
                let _ = sender.send(request);
            }
        });
        Self { url, requests }
    }

    /// The next request: head and body.
    pub(crate) fn request(&self) -> String {
        self.requests.recv_timeout(PATIENCE).expect("a request")
    }
}

/// Reads a request with a Content-Length.
fn read_request(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a length")) {
                return text;
            }
        }
        let read = stream.read(&mut buffer).expect("a request");
        assert_ne!(read, 0, "the request is incomplete: {text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).expect("a request in UTF-8"));
    }
}

pub(crate) const OK: &str = "200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{\"ok\":true}";
