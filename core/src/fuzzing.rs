//! Every entry point for foreign bytes, with the properties that must hold for any input. `tests/fuzz` calls these with
//! random bytes and with its corpus. Not part of the API, and no binding enables it.

// A property that does not hold ends the fuzzer with a panic.
#![allow(clippy::missing_panics_doc)]

use std::ffi::OsString;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::backoff::at_least;
use crate::clock::DdsClock;
use crate::config::{CallbackPolicy, Config, OPTIONS, SiweDomain, SiweFormat};
use crate::dds::{parse_date, parse_retry_after, repeats};
use crate::http::{Callback, route};
use crate::siwe::{Challenge, Expectation, compose_message};
use crate::state::store::Store;
use crate::status::State;

/// 2026-01-02T03:04:05Z, as in the corpus.
const NOW: Duration = Duration::from_secs(1_767_323_045);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOW
}

/// The body of a callback: it is stored exactly, or refused and nothing has changed.
pub fn callback(body: &[u8]) {
    #[derive(Deserialize)]
    struct Sent {
        secret: String,
    }

    let store = Arc::new(Store::default());
    let registration = store.begin_attempt().expect("a new store is not registered");
    store.hand_in(registration);
    let callback = Callback::new(Arc::clone(&store), Some(CallbackPolicy::PerRegistration), None);
    let request = Request::post("/internal/v1/registrations")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::copy_from_slice(body)))
        .expect("a good request");
    let response = at_once(route(&callback, request));
    let (status, state) = (response.status().as_u16(), store.status().state);
    let held = store.secret().as_ref().map(|secret| secret.expose().to_owned());
    if status == 200 {
        let sent: Sent = serde_json::from_slice(body).expect("what is accepted is JSON");
        assert_eq!(held.as_ref(), Some(&sent.secret));
        assert!(!sent.secret.trim().is_empty() && sent.secret.len() <= 4096 && !sent.secret.contains('\0'));
        assert_eq!(state, State::Registered);
        assert!(body.trim_ascii_start().starts_with(b"{"), "an object");
    } else {
        assert!([400, 403, 413, 422].contains(&status), "{status}");
        assert_eq!((held, state), (None, State::Registering));
        let why = at_once(response.into_body().collect()).expect("in memory").to_bytes();
        assert!(!why.is_empty() && why.iter().all(|byte| (b' '..=b'~').contains(byte)), "{why:?}");
    }
}

/// A response to a challenge request: a message for the expected DDS, or a refusal of one line.
pub fn challenge(body: &[u8]) {
    let Ok(challenge) = serde_json::from_slice::<Challenge>(body) else { return };
    let dds = "https://dds.example:8443/base".parse().expect("a URL");
    for format in [SiweFormat::Posemesh, SiweFormat::Eip4361] {
        let expected = Expectation { domain: SiweDomain::OfDds, dds: Clone::clone(&dds), format };
        match compose_message(&challenge, &expected, [0x11; 20], now()) {
            Ok(message) => {
                let lines: Vec<_> = message.split('\n').collect();
                let domain = lines[0].strip_suffix(" wants you to sign in with your Ethereum account:");
                assert!(
                    domain.is_some_and(|name| name.eq_ignore_ascii_case("dds.example:8443")),
                    "{message:?}"
                );
                let fields = ["URI: ", "Version: ", "Chain ID: ", "Nonce: ", "Issued At: "];
                let last = &lines[lines.len() - fields.len()..];
                assert!(last.iter().zip(fields).all(|(line, field)| line.starts_with(field)), "{message:?}");
                assert!(lines.iter().all(|line| !line.contains(char::is_control)), "{message:?}");
                let blank = lines.iter().filter(|line| line.is_empty()).count();
                assert_eq!(lines.len(), 2 + blank + fields.len(), "no line from elsewhere: {message:?}");
                if format == SiweFormat::Eip4361 {
                    let parsed: siwe::Message = message.parse().expect("its own parser accepts it");
                    assert_eq!(parsed.to_string(), message);
                }
            }
            Err(why) => assert!(why.len() < 4096 && !why.contains(char::is_control), "{why:?}"),
        }
    }
}

/// A file in a state directory: what was read from it can be written and read again.
pub fn record(bytes: &[u8]) {
    use crate::state::record::{decode, encode};
    use sha2::{Digest as _, Sha256};

    let check = |bytes: &[u8]| {
        if let Ok((owner, record)) = decode(bytes) {
            let written = encode(&owner, &record);
            assert_eq!(decode(&written), Ok((owner, record)));
        }
    };
    check(bytes);
    // A fuzzer cannot find a valid checksum.
    let head = format!("posemesh-node-state 1 {}\n", hex::encode(Sha256::digest(bytes)));
    check(&[head.as_bytes(), bytes].concat());
}

/// The frames that one process of the node receives from another over the leader's socket.
pub fn frames(bytes: &[u8]) {
    at_once(crate::state_dir::check_frames(bytes));
}

/// A secret, and on the next lines a text: a text that repeats the secret is recognised, verbatim or in a common
/// encoding.
pub fn redaction(input: &[u8]) {
    let Ok(input) = str::from_utf8(input) else { return };
    let (secret, text) = input.split_once('\n').unwrap_or((input, ""));
    let text: String = text.chars().take(200).collect();
    let secrets = [Zeroizing::new(secret.as_bytes().to_vec())];
    // Only that it returns, and soon.
    repeats(&text, &secrets);
    let is_credential =
        secret.bytes().all(|byte| byte.is_ascii_graphic()) && (16..100).contains(&secret.len());
    if is_credential {
        let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for form in [secret.to_owned(), percent, hex::encode(secret), STANDARD.encode(secret)] {
            let answer = format!("{text} {form}");
            assert!(repeats(&answer, &secrets), "{answer:?}");
        }
        assert!(
            repeats(&format!("{} {text}", &secret[secret.len() - 8..]), &secrets),
            "the end of {secret:?}"
        );
    }
}

/// `Date` and `Retry-After`, each on its own line.
pub fn headers(lines: &[u8]) {
    let mut headers = HeaderMap::new();
    for (name, value) in [DATE, RETRY_AFTER].into_iter().zip(lines.split(|byte| *byte == b'\n')) {
        insert(&mut headers, name, value);
    }
    let clock = DdsClock::default();
    if let Some(date) = parse_date(&headers) {
        clock.observe(date, now(), now());
        clock.now();
        clock.observe(date, now(), date);
        clock.now();
    }
    let pause = at_least(Duration::ZERO, parse_retry_after(&headers, now()));
    assert!(pause <= Duration::from_secs(600), "{pause:?}");
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}

/// `name=value`, one option on each line: an error is one line and contains no secret.
pub fn options(lines: &[u8]) {
    /// The start of each secret. No text of the library contains it.
    const MARK: &str = "5ecre7";

    let mut config = Config::new();
    let mut environment = Vec::new();
    let check = |text: String| {
        assert!(!text.contains(MARK), "{text}");
        assert!(text.len() < 8192 && !text.contains(char::is_control), "{text:?}");
    };
    for line in lines.split(|byte| *byte == b'\n').take(64) {
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (String::from_utf8_lossy(&line[..equals]).into_owned(), &line[equals + 1..]);
        let option = OPTIONS.iter().find(|option| option.name == name);
        let secret = option.is_some_and(|option| option.secret);
        let value = if secret { [MARK.as_bytes(), value].concat() } else { value.to_vec() };
        if let Err(error) = config.set_bytes(&name, &value) {
            check(error.to_string());
        }
        if let Some(option) = option {
            environment.push((option.env, value));
        }
    }
    // A valid key, so that the other options are checked together.
    let _ = config.set("secp256k1_privhex", &"01".repeat(32));
    if let Err(error) = config.settings() {
        check(error.to_string());
    }
    check(format!("{config:?}"));
    let variable = |name: &str| {
        let (_, value) = environment.iter().rev().find(|(env, _)| *env == name)?;
        Some(OsString::from(String::from_utf8_lossy(value).into_owned()))
    };
    if let Err(error) = Config::new().load_env_from(variable) {
        check(error.to_string());
    }
}

/// A future that must not wait, because everything it needs has arrived.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits although everything has arrived"),
    }
}
