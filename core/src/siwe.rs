//! Sign-In with Ethereum (EIP-4361): the challenge of DDS, which challenges are refused, and the message to sign.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde::Deserialize;
use siwe::{Message, TimeStamp, Version};
use url::Url;

use crate::clock::MAX_CHALLENGE_SKEW;
use crate::config::{Settings, SiweDomain, SiweFormat};
use crate::crypto::prefixed_hex;
use crate::rfc3339;

/// EIP-4361 asks for at least this many characters.
const MIN_NONCE_LENGTH: usize = 8;

/// The response of DDS to a challenge request. Missing fields are found by [`check`].
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Challenge {
    nonce: Option<String>,
    domain: Option<String>,
    uri: Option<String>,
    version: Option<String>,
    #[serde(rename = "chainId")]
    chain_id: Option<i64>,
    #[serde(rename = "issuedAt")]
    issued_at: Option<String>,
}

impl Challenge {
    /// When it was issued, if `issuedAt` is a time.
    pub(crate) fn issued_at(&self) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + rfc3339::parse(self.issued_at.as_deref()?)?)
    }
}

/// A challenge of DDS, signed. It can be used for one request.
pub(crate) struct Signed {
    /// The address, `0x` and 40 lowercase hex digits.
    pub(crate) wallet: String,
    pub(crate) message: String,
    pub(crate) signature: String,
}

/// What this node agrees to sign.
#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    pub(crate) domain: SiweDomain,
    /// The DDS that the challenge came from.
    pub(crate) dds: Url,
    pub(crate) format: SiweFormat,
}

impl Expectation {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            domain: settings.siwe_domain.clone().unwrap_or_default(),
            dds: settings.dds_base_url.clone(),
            format: settings.siwe_format,
        }
    }
}

/// Checks a challenge and returns the message to sign, or why the challenge is refused.
pub(crate) fn compose_message(
    challenge: &Challenge,
    expected: &Expectation,
    address: [u8; 20],
    now: SystemTime,
) -> Result<String, String> {
    let message = check(challenge, expected, address, now)?;
    Ok(match expected.format {
        SiweFormat::Eip4361 => message.to_string(),
        SiweFormat::Posemesh => posemesh_form(&message),
    })
}

fn check(
    challenge: &Challenge,
    expected: &Expectation,
    address: [u8; 20],
    now: SystemTime,
) -> Result<Message, String> {
    let nonce = text("nonce", challenge.nonce.as_deref())?;
    let domain = text("domain", challenge.domain.as_deref())?;
    let uri = text("uri", challenge.uri.as_deref())?;
    let version = text("version", challenge.version.as_deref())?;
    let chain_id = challenge.chain_id.ok_or("chainId is missing")?;
    let issued_at = text("issuedAt", challenge.issued_at.as_deref())?;

    check_nonce(nonce, expected.format)?;
    check_domain(domain, expected)?;
    check_uri(uri, expected)?;
    if version != "1" {
        return Err(format!("version is {}, not \"1\"", quoted(version)));
    }
    let chain_id = u64::try_from(chain_id).ok().filter(|id| *id > 0);
    let chain_id = chain_id.ok_or("chainId is below 1")?;
    Ok(Message {
        domain: domain
            .parse()
            .map_err(|_| format!("domain {} is not an RFC 3986 authority", quoted(domain)))?,
        address,
        statement: None,
        uri: uri.parse().map_err(|_| format!("uri {} is not an RFC 3986 URI", quoted(uri)))?,
        version: Version::V1,
        chain_id,
        nonce: nonce.into(),
        issued_at: check_issued_at(issued_at, now)?,
        expiration_time: None,
        not_before: None,
        request_id: None,
        resources: Vec::new(),
    })
}

/// A field that is present and has no line break: one with a line break could add lines to the message.
fn text<'a>(field: &str, value: Option<&'a str>) -> Result<&'a str, String> {
    let value = value.ok_or_else(|| format!("{field} is missing"))?;
    let breaks_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if value.contains(breaks_line) {
        return Err(format!("{field} {} has a line break or control character", quoted(value)));
    }
    Ok(value)
}

fn check_nonce(nonce: &str, format: SiweFormat) -> Result<(), String> {
    if nonce.chars().count() < MIN_NONCE_LENGTH {
        return Err(format!("nonce {} is shorter than {MIN_NONCE_LENGTH} characters", quoted(nonce)));
    }
    let (allowed, names): (fn(char) -> bool, _) = match format {
        SiweFormat::Posemesh => (|c| c.is_ascii_graphic(), "visible ASCII"),
        SiweFormat::Eip4361 => (|c| c.is_ascii_alphanumeric(), "ASCII letters and digits"),
    };
    if !nonce.chars().all(allowed) {
        return Err(format!("nonce {} has characters other than {names}", quoted(nonce)));
    }
    Ok(())
}

fn check_domain(domain: &str, expected: &Expectation) -> Result<(), String> {
    let (wanted, whose) = match &expected.domain {
        SiweDomain::Any => return Ok(()),
        SiweDomain::OfDds => (authority(&expected.dds), "the host of dds_base_url"),
        SiweDomain::Named(name) => (name.clone(), "the option siwe_domain"),
    };
    if domain.eq_ignore_ascii_case(&wanted) {
        return Ok(());
    }
    Err(format!("domain is {}, expected {wanted:?}, {whose}", quoted(domain)))
}

fn check_uri(uri: &str, expected: &Expectation) -> Result<(), String> {
    // The usual case. Parsing the URI costs more than all other checks.
    if uri == expected.dds.as_str().trim_end_matches('/') {
        return Ok(());
    }
    let parsed = Url::parse(uri).map_err(|_| format!("uri {} does not parse", quoted(uri)))?;
    let scheme = parsed.scheme();
    // Another domain than that of DDS may use another scheme.
    let same_scheme = expected.domain != SiweDomain::OfDds || scheme == expected.dds.scheme();
    if !matches!(scheme, "http" | "https") || !same_scheme {
        return Err(format!("uri {} has another scheme than {:?}", quoted(uri), expected.dds.scheme()));
    }
    let host = parsed.host_str().ok_or_else(|| format!("uri {} has no host", quoted(uri)))?;
    let of_dds = expected.dds.host_str().unwrap_or_default();
    let allowed = match &expected.domain {
        SiweDomain::Any => true,
        SiweDomain::OfDds => host == of_dds,
        SiweDomain::Named(name) => host == of_dds || host_of(name).is_some_and(|named| host == named),
    };
    if !allowed {
        return Err(format!("uri {} has another host than {of_dds:?}", quoted(uri)));
    }
    Ok(())
}

fn check_issued_at(issued_at: &str, now: SystemTime) -> Result<TimeStamp, String> {
    // The parser of the message takes any byte between date and time.
    let parsed: TimeStamp = rfc3339::parse(issued_at)
        .and_then(|_| issued_at.parse().ok())
        .ok_or_else(|| format!("issuedAt {} is not an RFC 3339 time", quoted(issued_at)))?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let skew = (parsed.as_ref().unix_timestamp_nanos() as f64 / 1e9 - now).abs();
    if skew > MAX_CHALLENGE_SKEW.as_secs_f64() {
        return Err(format!(
            "issuedAt {} is {skew:.0} s away from the present (at most {} s); check the clock of this machine, then that of DDS",
            quoted(issued_at),
            MAX_CHALLENGE_SKEW.as_secs()
        ));
    }
    Ok(parsed)
}

/// The host and, where it is not the scheme's own, the port of a URL.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn host_of(authority: &str) -> Option<String> {
    Url::parse(&format!("https://{authority}")).ok()?.host_str().map(str::to_owned)
}

/// The form that existing clients of DDS sign: lowercase address, one empty line, no final newline.
fn posemesh_form(message: &Message) -> String {
    let mut out = String::with_capacity(256);
    let _ = write!(
        out,
        "{} wants you to sign in with your Ethereum account:\n{}\n\nURI: {}\nVersion: 1\nChain ID: {}\n\
         Nonce: {}\nIssued At: {}",
        message.domain,
        prefixed_hex(&message.address),
        message.uri,
        message.chain_id,
        message.nonce,
        message.issued_at,
    );
    out
}

/// A text of DDS, fit for a log line: quoted, escaped, cut.
fn quoted(text: &str) -> String {
    const MAX: usize = 80;
    let cut: String = text.chars().take(MAX).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{dots}")
}

#[cfg(test)]
mod tests;
