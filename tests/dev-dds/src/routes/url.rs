//! The legacy registration: a node with a key registers the URL of its callback server.

use hyper::Uri;
use k256::ecdsa::VerifyingKey;
use serde::Deserialize;
use sha3::{Digest, Keccak256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Refusal, Success, bad_request, parse, unauthorized, wallet};
use crate::callback::NodeUrl;
use crate::event::Event;
use crate::registry::Registration;
use crate::shared::Shared;
use crate::signature;

/// How far a node's clock may be off.
const MAX_SKEW: time::Duration = time::Duration::minutes(5);

#[derive(Deserialize)]
struct Body {
    url: String,
    version: String,
    registration_credentials: String,
    signature: String,
    timestamp: String,
    public_key: String,
    capabilities: Vec<String>,
}

pub(super) fn register(shared: &Shared, body: &[u8]) -> Result<Success, Refusal> {
    let body: Body = parse(body)?;
    super::check_capabilities(&body.capabilities)?;
    super::check_version(&body.version)?;
    check_url(&body.url).map_err(bad_request)?;
    check_timestamp(&body.timestamp, shared.now()).map_err(bad_request)?;
    let key = check_signature(&body).map_err(unauthorized)?;

    let url: Option<NodeUrl> =
        body.url.parse().map_err(|why| shared.emit(Event::NodeUnreachable { why })).ok();
    let registration = Registration {
        credentials: body.registration_credentials,
        version: body.version,
        capabilities: body.capabilities,
        max_concurrency: None,
        url: Some((body.url, url)),
    };
    wallet::add(shared, signature::address(&key), registration)
}

fn check_url(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|error| format!("url {url:?}: {error}"))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.query().is_none() => Ok(()),
        _ => Err(format!("url {url:?} is not an http or https URL without a query")),
    }
}

/// RFC 3339 with nanoseconds, close to `now`.
fn check_timestamp(text: &str, now: OffsetDateTime) -> Result<(), String> {
    let timestamp = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|error| format!("timestamp {text:?} is not RFC 3339: {error}"))?;
    let digits = |fraction: &str| fraction.bytes().take_while(u8::is_ascii_digit).count();
    if text.split_once('.').is_none_or(|(_, fraction)| digits(fraction) != 9) {
        return Err(format!("timestamp {text:?} has no nanoseconds"));
    }
    if (timestamp - now).abs() > MAX_SKEW {
        return Err(format!("timestamp {text:?} is more than 5 minutes away from this server's time"));
    }
    Ok(())
}

/// The key, if it signed the URL followed by the timestamp.
fn check_signature(body: &Body) -> Result<VerifyingKey, String> {
    let key = decode::<65>(&body.public_key)
        .filter(|point| point[0] == 4)
        .and_then(|point| VerifyingKey::from_sec1_bytes(&point).ok())
        .ok_or("public_key is not an uncompressed secp256k1 key in lowercase hex")?;
    let signature = decode::<65>(&body.signature).ok_or("the signature is not 130 lowercase hex digits")?;
    let hash = Keccak256::new().chain_update(&body.url).chain_update(&body.timestamp).finalize();
    let signer = signature::recover(&hash.into(), &signature, 0)?;
    if signer != key {
        return Err("the signature of url and timestamp is not by public_key".into());
    }
    Ok(key)
}

fn decode<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lowercase = !digits.bytes().any(|byte| byte.is_ascii_uppercase());
    (lowercase && hex::decode_to_slice(digits, &mut bytes).is_ok()).then_some(bytes)
}
