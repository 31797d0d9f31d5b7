//! The published predecessor (0.2.1) and this library, with the same DDS and the same key: they must send the same bytes
//! and classify every answer in the same way.
//!
//! `cargo test --manifest-path tests/differential/Cargo.toml`

#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use posemesh_dev_dds::{DevDds, Endpoint, Fault, Request};
use serde_json::{Value, json};

const KEY: &str = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90";
/// Not base64, with every character that JSON escapes.
const CREDENTIALS: &str = "s3cr3t \"quoted\" \\ / \u{e9} \u{1f511} \t end";
const VERSION: &str = "v1.2.3-rc.1+build";
const TIMEOUT: Duration = Duration::from_secs(30);

/// Both libraries, ready to register.
struct Pair {
    runtime: tokio::runtime::Runtime,
    ours: ours_reqwest::Client,
    reference: reference_reqwest::Client,
}

impl Pair {
    fn new() -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows TLS 1.2 and 1.3")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            runtime: runtime.expect("a runtime"),
            ours: ours_reqwest::Client::builder()
                .tls_backend_preconfigured(tls)
                .no_proxy()
                .redirect(ours_reqwest::redirect::Policy::none())
                .timeout(TIMEOUT)
                .build()
                .expect("a client"),
            reference: reference_reqwest::Client::builder()
                .no_proxy()
                .redirect(reference_reqwest::redirect::Policy::none())
                .timeout(TIMEOUT)
                .build()
                .expect("a client"),
        }
    }

    /// Registers once with each library, and returns the results: ours first.
    fn register(&self, base_url: &str, capabilities: &[&str]) -> [String; 2] {
        let capabilities: Vec<String> = capabilities.iter().copied().map(str::to_owned).collect();
        self.runtime.block_on(async {
            let key = ours::crypto::load_secp256k1_privhex(KEY).expect("a good key");
            let ours = ours::register::register_once(
                base_url,
                VERSION,
                CREDENTIALS,
                &key,
                &self.ours,
                &capabilities,
            )
            .await;
            let key = reference::crypto::load_secp256k1_privhex(KEY).expect("a good key");
            let reference = reference::register::register_once(
                base_url,
                VERSION,
                CREDENTIALS,
                &key,
                &self.reference,
                &capabilities,
            )
            .await;
            // The predecessor keeps the kind to itself; its debug text does not.
            let shown = format!("{reference:?}");
            let (_, kind) = shown.split_once("kind: ").expect("a kind");
            let (kind, _) = kind.split_once(',').expect("more fields");
            [format!("{:?}", ours.kind()), kind.to_owned()]
        })
    }

    /// The result of both, which must be the same.
    fn register_alike(&self, dds: &DevDds, context: &dyn std::fmt::Debug) -> String {
        let [ours, reference] = self.register(&dds.url(), &["/example/v1"]);
        assert_eq!(ours, reference, "ours and the reference after {context:?}");
        ours
    }
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A DDS that issues the same challenge to every client.
fn fixed_dds() -> DevDds {
    let dds = DevDds::start().expect("a DDS");
    dds.set_challenge(Some(json!({ "nonce": "fixedNonce123456", "issuedAt": now() })));
    dds
}

fn answer(code: u16, body: impl Into<Vec<u8>>) -> Fault {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Fault::Answer { code, headers, body: body.into() }
}

/// The recorded requests of both libraries, ours first.
fn halves(dds: &DevDds) -> [Vec<Request>; 2] {
    let mut ours = dds.requests();
    let reference = ours.split_off(ours.len() / 2);
    dds.clear_requests();
    [ours, reference]
}

/// The parts of a request that must be equal.
fn wire(request: &Request) -> (String, String, String, [Option<String>; 3]) {
    let headers = ["content-type", "content-length", "transfer-encoding"];
    let body = String::from_utf8(request.body.clone()).expect("UTF-8");
    let headers = headers.map(|name| request.header(name).map(str::to_owned));
    (request.method.clone(), request.path.clone(), body, headers)
}

#[test]
fn the_same_bytes_are_sent() {
    let pair = Pair::new();
    let dds = fixed_dds();
    let lists: [&[&str]; 3] =
        [&["/example/v1"], &["b", "a", "b", "\u{e9}\u{1f511}"], &["with \"quotes\"\n", " ", ""]];
    for capabilities in lists {
        assert_eq!(pair.register(&dds.url(), capabilities), ["Registered", "Registered"]);
        let [ours, reference] = halves(&dds);
        assert_eq!(ours.len(), 2);
        assert_eq!(ours.iter().map(wire).collect::<Vec<_>>(), reference.iter().map(wire).collect::<Vec<_>>());
        let statuses: Vec<_> = ours.iter().chain(&reference).map(|request| request.status).collect();
        assert_eq!(statuses, [Some(200); 4]);
    }
}

#[test]
fn base_urls_are_joined_alike() {
    let pair = Pair::new();
    let dds = fixed_dds();
    for suffix in ["", "/", "///", "/base", "/base/", "/base/path//"] {
        let [ours, reference] = pair.register(&format!("{}{suffix}", dds.url()), &["/example/v1"]);
        assert_eq!(ours, reference, "{suffix:?}");
        let [ours, reference] = halves(&dds);
        assert!(!ours.is_empty());
        let paths = |requests: &[Request]| requests.iter().map(|r| r.path.clone()).collect::<Vec<_>>();
        assert_eq!(paths(&ours), paths(&reference), "{suffix:?}");
    }
}

#[test]
fn without_capabilities_nothing_is_sent() {
    let pair = Pair::new();
    let dds = fixed_dds();
    assert_eq!(pair.register(&dds.url(), &[]), ["SlowRetryFailure", "SlowRetryFailure"]);
    assert_eq!(dds.requests().len(), 0);
}

#[test]
fn every_status_of_the_challenge_is_of_the_same_class() {
    let pair = Pair::new();
    let dds = fixed_dds();
    // So that a challenge which is accepted ends in a registration.
    dds.inject(Endpoint::Register, Fault::status(200), u32::MAX);
    let challenge = json!({
        "nonce": "fixedNonce123456",
        "domain": dds.authority(),
        "uri": dds.url(),
        "version": "1",
        "chainId": 8453,
        "issuedAt": now(),
    });
    let mut registered = Vec::new();
    for code in 200..=599 {
        dds.inject(Endpoint::Challenge, answer(code, challenge.to_string()), 2);
        if pair.register_alike(&dds, &code) == "Registered" {
            registered.push(code);
        }
    }
    // 204 has no body, so no challenge either.
    assert_eq!(registered, (200..300).filter(|code| *code != 204).collect::<Vec<u16>>());
}

#[test]
fn every_status_of_the_registration_is_of_the_same_class() {
    let pair = Pair::new();
    let dds = fixed_dds();
    let mut kinds: std::collections::BTreeMap<String, Vec<u16>> = Default::default();
    for code in 200..=599 {
        for body in ["", "{\"error\":\"no\"}"] {
            dds.inject(Endpoint::Register, answer(code, body), 2);
            let kind = pair.register_alike(&dds, &(code, body));
            kinds.entry(kind).or_default().push(code);
        }
    }
    // As the protocol has it.
    let twice = |codes: &[u16]| codes.iter().flat_map(|code| [*code; 2]).collect::<Vec<_>>();
    let within = |range: std::ops::Range<u16>| range.collect::<Vec<_>>();
    assert_eq!(kinds["Registered"], twice(&within(200..300)));
    assert_eq!(kinds["Conflict"], [409; 2]);
    assert_eq!(kinds["RetryableFailure"], twice(&[vec![408, 429], within(500..600)].concat()));
    let slow = (300..500).filter(|code| ![408, 409, 429].contains(code)).collect::<Vec<_>>();
    assert_eq!(kinds["SlowRetryFailure"], twice(&slow));
}

#[test]
fn broken_answers_are_of_the_same_class() {
    let pair = Pair::new();
    for endpoint in [Endpoint::Challenge, Endpoint::Register] {
        let dds = fixed_dds();
        let faults = [
            Fault::Reset,
            Fault::HalfBody,
            Fault::Garbage,
            Fault::NotHttp,
            Fault::InvalidUtf8,
            Fault::StaleNonce,
        ];
        for fault in faults {
            dds.inject(endpoint, fault.clone(), 2);
            pair.register_alike(&dds, &(endpoint, &fault));
        }
    }
}

#[test]
fn challenges_with_missing_or_mistyped_fields_are_of_the_same_class() {
    let pair = Pair::new();
    let dds = DevDds::start().expect("a DDS");
    for field in ["nonce", "domain", "uri", "version", "chainId", "issuedAt"] {
        for value in [Value::Null, json!([]), json!({}), json!(true), json!(1.5)] {
            dds.set_challenge(Some(json!({ field: value })));
            assert_eq!(pair.register_alike(&dds, &(field, &value)), "RetryableFailure");
        }
    }
    assert_eq!(dds.requests_to(Endpoint::Register).len(), 0);
    for body in ["null", "[]", "\"nonce\"", "{}", "", "{\"nonce\":\"\"}"] {
        dds.inject(Endpoint::Challenge, answer(200, body), 2);
        assert_eq!(pair.register_alike(&dds, &body), "RetryableFailure");
    }
    // What is not known is ignored.
    dds.set_challenge(Some(json!({ "statement": "more", "expirationTime": 5, "resources": [] })));
    assert_eq!(pair.register_alike(&dds, &"unknown fields"), "Registered");
}

#[test]
fn keys_addresses_and_signatures_are_the_same() {
    let forms =
        [KEY.to_owned(), format!("0x{KEY}"), format!(" {KEY}\n"), KEY.to_uppercase(), format!("{:064x}", 1)];
    for form in forms {
        let ours = ours::crypto::load_secp256k1_privhex(&form).expect("a good key");
        let reference = reference::crypto::load_secp256k1_privhex(&form).expect("a good key");
        use {ours::crypto as o, reference::crypto as r};
        assert_eq!(
            o::secp256k1_pubkey_uncompressed_hex(&ours),
            r::secp256k1_pubkey_uncompressed_hex(&reference)
        );
        assert_eq!(o::derive_eth_address(&ours), r::derive_eth_address(&reference));
        for message in ["", "a", "\u{e9}\n\0", &"long ".repeat(1000)] {
            let bytes = message.as_bytes();
            assert_eq!(o::sign_compact_hex(&ours, bytes), r::sign_compact_hex(&reference, bytes));
            assert_eq!(
                o::sign_recoverable_keccak_hex(&ours, bytes),
                r::sign_recoverable_keccak_hex(&reference, bytes)
            );
            assert_eq!(
                o::sign_eip191_recoverable_hex(&ours, message),
                r::sign_eip191_recoverable_hex(&reference, message)
            );
        }
    }
    for bad in ["", "0x", "zz", &KEY[1..], &"0".repeat(64), &"f".repeat(64)] {
        assert!(ours::crypto::load_secp256k1_privhex(bad).is_err());
        assert!(reference::crypto::load_secp256k1_privhex(bad).is_err());
    }
}

#[test]
fn timestamps_and_states_look_the_same() {
    for nanos in [0, 1, 999_999_999, 1_704_164_645_006_007_008] {
        let at = chrono::DateTime::from_timestamp_nanos(nanos);
        assert_eq!(ours::crypto::format_timestamp_nanos(at), reference::crypto::format_timestamp_nanos(at));
        for last_healthcheck in [None, Some(at)] {
            let status = "registered".to_owned();
            let ours = ours::state::RegistrationState { status: status.clone(), last_healthcheck };
            let reference = reference::state::RegistrationState { status, last_healthcheck };
            let [ours, reference] = [serde_json::to_string(&ours), serde_json::to_string(&reference)]
                .map(|json| json.expect("JSON"));
            assert_eq!(ours, reference);
            let back: ours::state::RegistrationState =
                serde_json::from_str(&reference).expect("the same shape");
            assert_eq!(serde_json::to_string(&back).expect("JSON"), reference);
        }
    }
}
