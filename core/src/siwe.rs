//! Sign-In with Ethereum (EIP-4361): what DDS challenges with, what we refuse to sign, and the message.

use std::fmt::Write as _;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use siwe::{Message, TimeStamp, Version};
use url::Url;

use crate::clock::MAX_CHALLENGE_SKEW;
use crate::config::{Settings, SiweDomain, SiweFormat};

/// EIP-4361 asks for at least this many characters.
const MIN_NONCE_LENGTH: usize = 8;

/// The answer of DDS to a challenge request. A field that is missing is found by [`check`].
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
    /// When it was issued, if it says so.
    pub(crate) fn issued_at(&self) -> Option<SystemTime> {
        let time: DateTime<Utc> = self.issued_at.as_ref()?.parse().ok()?;
        Some(time.into())
    }
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
            domain: settings.siwe_domain.clone(),
            dds: settings.dds_base_url.clone(),
            format: settings.siwe_format,
        }
    }
}

/// Checks a challenge and writes the message to sign, or says why it is refused.
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

/// A field that is there and stays on its line: whoever controls a line break controls the message.
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
        return Err(format!("nonce {} has something else than {names}", quoted(nonce)));
    }
    Ok(())
}

fn check_domain(domain: &str, expected: &Expectation) -> Result<(), String> {
    let wanted = match &expected.domain {
        SiweDomain::Any => return Ok(()),
        SiweDomain::OfDds => authority(&expected.dds),
        SiweDomain::Named(name) => name.clone(),
    };
    if domain.eq_ignore_ascii_case(&wanted) {
        return Ok(());
    }
    Err(format!("domain is {}, expected {wanted:?}", quoted(domain)))
}

fn check_uri(uri: &str, expected: &Expectation) -> Result<(), String> {
    // As DDS names itself mostly; to parse that costs more than all other checks.
    if uri == expected.dds.as_str().trim_end_matches('/') {
        return Ok(());
    }
    let parsed = Url::parse(uri).map_err(|_| format!("uri {} does not parse", quoted(uri)))?;
    let scheme = parsed.scheme();
    // A domain other than that of DDS may be served in another way.
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
    let parsed: TimeStamp =
        issued_at.parse().map_err(|_| format!("issuedAt {} is not an RFC 3339 time", quoted(issued_at)))?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let skew = (parsed.as_ref().unix_timestamp_nanos() as f64 / 1e9 - now).abs();
    if skew > MAX_CHALLENGE_SKEW.as_secs_f64() {
        return Err(format!(
            "issuedAt {} is {skew:.0} s away from the present (at most {} s); check the clock",
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

/// The form that DDS's own clients sign: lowercase address, one empty line, no final newline.
fn posemesh_form(message: &Message) -> String {
    let mut out = String::with_capacity(256);
    let _ = write!(
        out,
        "{} wants you to sign in with your Ethereum account:\n0x{}\n\nURI: {}\nVersion: 1\nChain ID: {}\n\
         Nonce: {}\nIssued At: {}",
        message.domain,
        hex::encode(message.address),
        message.uri,
        message.chain_id,
        message.nonce,
        message.issued_at,
    );
    out
}

/// A foreign text, fit for a log line: quoted, escaped, cut.
fn quoted(text: &str) -> String {
    const MAX: usize = 80;
    let cut: String = text.chars().take(MAX).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{dots}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{address_bytes, load_secp256k1_privhex};
    use serde_json::{Value, json};
    use std::time::Duration;

    /// 2026-01-02T03:04:05Z
    const NOW: Duration = Duration::from_secs(1_767_323_045);
    const FIELDS: [&str; 6] = ["nonce", "domain", "uri", "version", "chainId", "issuedAt"];
    const FORMATS: [SiweFormat; 2] = [SiweFormat::Posemesh, SiweFormat::Eip4361];

    fn good() -> Value {
        json!({
            "nonce": "abcdefgh12345678",
            "domain": "dds.example:8443",
            "uri": "https://dds.example:8443/base",
            "version": "1",
            "chainId": 8453,
            "issuedAt": "2026-01-02T03:04:05Z",
        })
    }

    fn expectation(domain: SiweDomain, format: SiweFormat) -> Expectation {
        Expectation { domain, dds: "https://dds.example:8443/base".parse().expect("a URL"), format }
    }

    fn compose(challenge: &Value, domain: SiweDomain, format: SiweFormat) -> Result<String, String> {
        let challenge = serde_json::from_value(challenge.clone()).expect("fields of the right types");
        compose_message(&challenge, &expectation(domain, format), [0xab; 20], SystemTime::UNIX_EPOCH + NOW)
    }

    /// The good challenge with one other value.
    fn with(field: &str, value: impl Into<Value>) -> Value {
        let mut challenge = good();
        challenge[field] = value.into();
        challenge
    }

    /// The error of a challenge that must be refused, whatever the form; it must begin with the field.
    fn refusal(field: &str, value: impl Into<Value>, domain: SiweDomain) -> String {
        let challenge = with(field, value);
        let [posemesh, eip4361] = FORMATS.map(|format| {
            let error = compose(&challenge, domain.clone(), format).expect_err("must not be signed");
            assert!(error.starts_with(field), "{challenge}: {error}");
            error
        });
        if field != "nonce" {
            assert_eq!(posemesh, eip4361);
        }
        posemesh
    }

    #[test]
    fn every_vector_is_composed_to_the_byte() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/siwe.json");
        let file: Value =
            serde_json::from_str(&std::fs::read_to_string(path).expect("the vectors")).expect("JSON");
        let vectors = file["vectors"].as_array().expect("a list of vectors");
        assert!(!vectors.is_empty());
        for vector in vectors {
            let key = vector["secp256k1_privhex"].as_str().expect("a key");
            let address = address_bytes(&load_secp256k1_privhex(key).expect("a good key"));
            let issued_at: TimeStamp =
                vector["challenge"]["issuedAt"].as_str().expect("a time").parse().expect("RFC 3339");
            let nanos = u64::try_from(issued_at.as_ref().unix_timestamp_nanos()).expect("after 1970");
            let now = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
            let challenge = serde_json::from_value(vector["challenge"].clone()).expect("a challenge");
            for (format, message) in FORMATS.into_iter().zip(["message_posemesh", "message_eip4361"]) {
                let expected = expectation(SiweDomain::Any, format);
                let composed =
                    compose_message(&challenge, &expected, address, now).expect("a good challenge");
                assert_eq!(composed, vector[message].as_str().expect("a message"));
            }
        }
    }

    #[test]
    fn each_missing_field_is_named() {
        for field in FIELDS {
            assert_eq!(refusal(field, Value::Null, SiweDomain::OfDds), format!("{field} is missing"));
            let mut challenge = good();
            challenge.as_object_mut().expect("an object").remove(field);
            let error = compose(&challenge, SiweDomain::Any, SiweFormat::Posemesh);
            assert_eq!(error, Err(format!("{field} is missing")));
        }
    }

    #[test]
    fn nothing_that_breaks_a_line_is_signed() {
        for field in FIELDS.into_iter().filter(|field| *field != "chainId") {
            let value = good()[field].as_str().expect("a text").to_owned();
            for bad in ['\n', '\r', '\0', '\u{1b}', '\u{7f}', '\u{85}', '\u{2028}', '\u{2029}'] {
                for value in
                    [format!("{value}{bad}"), format!("{bad}{value}"), value.replace('a', &bad.to_string())]
                {
                    if value.contains(bad) {
                        let error = refusal(field, value, SiweDomain::Any);
                        assert!(error.contains("line break or control character"), "{error}");
                        assert!(!error.contains(bad), "{error:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_nonce_is_eight_visible_ascii_characters_or_more() {
        for (bad, says) in [
            ("", "shorter than 8"),
            ("1234567", "shorter than 8"),
            ("ééééééé", "shorter than 8"),
            ("12345678é", "something else"),
            ("1234 5678", "something else"),
            (" 12345678", "something else"),
            ("12345678 ", "something else"),
        ] {
            let error = refusal("nonce", bad, SiweDomain::OfDds);
            assert!(error.contains(says), "{error}");
        }
        for format in FORMATS {
            assert!(compose(&with("nonce", "12345678"), SiweDomain::OfDds, format).is_ok());
        }
    }

    #[test]
    fn the_eip4361_form_wants_letters_and_digits_in_a_nonce() {
        for nonce in ["abcd-efgh", "abcd_efgh", "abcdefgh=", "abcd+efg/"] {
            let challenge = with("nonce", nonce);
            let message =
                compose(&challenge, SiweDomain::OfDds, SiweFormat::Posemesh).expect("visible ASCII");
            assert!(message.contains(&format!("\nNonce: {nonce}\n")), "{message}");
            let error = compose(&challenge, SiweDomain::OfDds, SiweFormat::Eip4361).expect_err("punctuation");
            assert!(error.starts_with("nonce") && error.contains("letters and digits"), "{error}");
        }
    }

    #[test]
    fn the_domain_is_that_of_dds() {
        for foreign in [
            "evil.example",
            "dds.example",
            "dds.example:443",
            "dds.example:8443.evil.example",
            "dds.example:8443/base",
            "user@dds.example:8443",
            " dds.example:8443",
            "dds.example:8443 ",
            "",
        ] {
            let error = refusal("domain", foreign, SiweDomain::OfDds);
            assert!(error.contains("expected \"dds.example:8443\""), "{error}");
        }
        for format in FORMATS {
            let message = compose(&with("domain", "DDS.Example:8443"), SiweDomain::OfDds, format);
            assert!(message.expect("case does not matter").starts_with("DDS.Example:8443 wants"));
        }
    }

    #[test]
    fn a_named_domain_is_expected_in_place_of_that_of_dds() {
        let named = || SiweDomain::Named("sign.example".into());
        let error = refusal("domain", "dds.example:8443", named());
        assert!(error.contains("expected \"sign.example\""), "{error}");
        for uri in ["https://sign.example/", "https://dds.example:8443"] {
            let mut challenge = with("domain", "Sign.Example");
            challenge["uri"] = uri.into();
            for format in FORMATS {
                assert!(compose(&challenge, named(), format).is_ok(), "{uri}");
            }
            challenge["uri"] = "https://evil.example/".into();
            let error = compose(&challenge, named(), SiweFormat::Posemesh).expect_err("a foreign host");
            assert!(error.starts_with("uri"), "{error}");
            challenge["uri"] = "javascript://sign.example/".into();
            for domain in [named(), SiweDomain::Any] {
                let error = compose(&challenge, domain, SiweFormat::Posemesh).expect_err("a foreign scheme");
                assert!(error.contains("another scheme"), "{error}");
            }
        }
    }

    #[test]
    fn any_domain_is_still_an_authority() {
        for bad in [
            "",
            "not an authority",
            "https://dds.example",
            "dds.example/path",
            "dds.example?",
            "[::1",
            "é.example",
        ] {
            let error = refusal("domain", bad, SiweDomain::Any);
            assert!(error.contains("not an RFC 3986 authority"), "{error}");
        }
        let mut challenge = with("domain", "[::1]:9000");
        challenge["uri"] = "http://127.0.0.1:8080/".into();
        for format in FORMATS {
            assert!(compose(&challenge, SiweDomain::Any, format).is_ok());
        }
    }

    #[test]
    fn the_uri_is_a_uri_on_the_host_of_dds() {
        for (bad, says) in [
            ("", "does not parse"),
            ("dds.example", "does not parse"),
            ("/base", "does not parse"),
            ("https://", "does not parse"),
            ("javascript://dds.example/%0aalert(1)", "another scheme"),
            ("ftp://dds.example:8443/base", "another scheme"),
            ("https://dds.example:99999", "does not parse"),
            ("data:text/plain,dds.example", "another scheme"),
            ("urn:dds.example:8443", "another scheme"),
            ("http://dds.example:8443/base", "another scheme"),
            ("dds.example:8443", "another scheme"),
            ("https://evil.example:8443/base", "another host"),
            ("https://dds.example.evil.example/", "another host"),
            ("https://dds.example@evil.example/", "another host"),
            // Lenient URL parsers read these as DDS's host, strict ones do not.
            (" https://dds.example:8443/base", "not an RFC 3986 URI"),
            ("https://dds.example:8443/ base", "not an RFC 3986 URI"),
            ("https://dds.example\\@evil.example/", "not an RFC 3986 URI"),
        ] {
            let error = refusal("uri", bad, SiweDomain::OfDds);
            assert!(error.contains(says), "{bad}: {error}");
        }
        for uri in ["https://DDS.example", "https://dds.example:1234/other?x=1#y", "HTTPS://dds.example/"] {
            for format in FORMATS {
                let message = compose(&with("uri", uri), SiweDomain::OfDds, format).expect(uri);
                assert!(message.contains(&format!("\nURI: {uri}\n")), "{message}");
            }
        }
    }

    #[test]
    fn the_version_is_1() {
        for bad in ["2", "", "1.0", "01", " 1", "one"] {
            let error = refusal("version", bad, SiweDomain::Any);
            assert!(error.contains("not \"1\""), "{error}");
        }
    }

    #[test]
    fn the_chain_id_is_at_least_1() {
        for bad in [0, -1, i64::MIN] {
            assert_eq!(refusal("chainId", bad, SiweDomain::Any), "chainId is below 1");
        }
        for id in [1, i64::MAX] {
            for format in FORMATS {
                let message = compose(&with("chainId", id), SiweDomain::OfDds, format).expect("a good id");
                assert!(message.contains(&format!("\nChain ID: {id}\n")), "{message}");
            }
        }
    }

    #[test]
    fn issued_at_is_rfc_3339() {
        for bad in ["", "now", "1767323045", "2026-01-02", "2026-01-02T03:04:05", "2026-02-30T03:04:05Z"] {
            let error = refusal("issuedAt", bad, SiweDomain::Any);
            assert!(error.contains("not an RFC 3339 time"), "{error}");
        }
    }

    #[test]
    fn issued_at_is_within_five_minutes() {
        // Around 2026-01-02T03:04:05Z.
        for close in [
            "2026-01-02T03:04:05.123456789Z",
            "2026-01-02T02:59:06Z",
            "2026-01-02T03:09:04Z",
            "2026-01-02T05:09:04+02:00",
            "2026-01-01T20:59:06-06:00",
        ] {
            for format in FORMATS {
                let message = compose(&with("issuedAt", close), SiweDomain::OfDds, format).expect(close);
                assert!(message.ends_with(&format!("\nIssued At: {close}")), "{message}");
            }
        }
        for far in [
            "2026-01-02T02:59:04Z",
            "2026-01-02T03:09:06Z",
            "2026-01-02T03:04:05+01:00",
            "1969-12-31T23:59:59Z",
        ] {
            let error = refusal("issuedAt", far, SiweDomain::Any);
            assert!(error.contains("check the clock"), "{error}");
        }
    }

    #[test]
    fn foreign_texts_are_cut_in_errors() {
        let error = refusal("version", "é\u{202e}".repeat(5000), SiweDomain::Any);
        assert!(error.chars().count() < 1000, "{} characters", error.chars().count());
        assert!(!error.contains('\u{202e}'), "{error}");
    }
}
