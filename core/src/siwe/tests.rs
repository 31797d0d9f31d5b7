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
fn the_messages_of_all_vectors_are_identical() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/siwe.json");
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
            let composed = compose_message(&challenge, &expected, address, now).expect("a good challenge");
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
fn a_field_with_a_line_break_is_refused() {
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
fn a_nonce_needs_eight_visible_ascii_characters() {
    for (bad, says) in [
        ("", "shorter than 8"),
        ("1234567", "shorter than 8"),
        ("ééééééé", "shorter than 8"),
        ("12345678é", "characters other than"),
        ("1234 5678", "characters other than"),
        (" 12345678", "characters other than"),
        ("12345678 ", "characters other than"),
    ] {
        let error = refusal("nonce", bad, SiweDomain::OfDds);
        assert!(error.contains(says), "{error}");
    }
    for format in FORMATS {
        assert!(compose(&with("nonce", "12345678"), SiweDomain::OfDds, format).is_ok());
    }
}

#[test]
fn the_eip4361_form_requires_letters_and_digits_in_a_nonce() {
    for nonce in ["abcd-efgh", "abcd_efgh", "abcdefgh=", "abcd+efg/"] {
        let challenge = with("nonce", nonce);
        let message = compose(&challenge, SiweDomain::OfDds, SiweFormat::Posemesh).expect("visible ASCII");
        assert!(message.contains(&format!("\nNonce: {nonce}\n")), "{message}");
        let error = compose(&challenge, SiweDomain::OfDds, SiweFormat::Eip4361).expect_err("punctuation");
        assert!(error.starts_with("nonce") && error.contains("letters and digits"), "{error}");
    }
}

#[test]
fn a_domain_other_than_that_of_dds_is_refused() {
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
fn a_named_domain_replaces_that_of_dds() {
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
fn with_any_domain_allowed_it_must_still_be_an_authority() {
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
fn a_uri_on_another_host_is_refused() {
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
fn a_version_other_than_1_is_refused() {
    for bad in ["2", "", "1.0", "01", " 1", "one"] {
        let error = refusal("version", bad, SiweDomain::Any);
        assert!(error.contains("not \"1\""), "{error}");
    }
}

#[test]
fn a_chain_id_below_1_is_refused() {
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
fn an_issued_at_that_is_not_rfc_3339_is_refused() {
    for bad in [
        "",
        "now",
        "1767323045",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-02-30T03:04:05Z",
        "2026-01-02x03:04:05Z",
        "2026-01-02T03:04:05+0000",
    ] {
        let error = refusal("issuedAt", bad, SiweDomain::Any);
        assert!(error.contains("not an RFC 3339 time"), "{error}");
    }
}

#[test]
fn an_issued_at_over_five_minutes_off_is_refused() {
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
    for far in
        ["2026-01-02T02:59:04Z", "2026-01-02T03:09:06Z", "2026-01-02T03:04:05+01:00", "1969-12-31T23:59:59Z"]
    {
        let error = refusal("issuedAt", far, SiweDomain::Any);
        assert!(error.contains("check the clock"), "{error}");
    }
}

#[test]
fn an_issued_at_before_1970_is_refused_by_a_clock_that_begins_there() {
    let challenge = with("issuedAt", "0001-01-01T00:00:00Z");
    let dds = "https://dds.example".parse().expect("a URL");
    let expected = Expectation { domain: SiweDomain::Any, dds, format: SiweFormat::Posemesh };
    let challenge = serde_json::from_value(challenge).expect("a challenge");
    let error = compose_message(&challenge, &expected, [0; 20], SystemTime::UNIX_EPOCH).expect_err("refused");
    assert!(error.contains("check the clock"), "{error}");
}

#[test]
fn long_texts_are_cut_in_errors() {
    let error = refusal("version", "é\u{202e}".repeat(5000), SiweDomain::Any);
    assert!(error.chars().count() < 1000, "{} characters", error.chars().count());
    assert!(!error.contains('\u{202e}'), "{error}");
}
