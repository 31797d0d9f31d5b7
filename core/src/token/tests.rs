//! Which responses to a sign-in are accepted, and for how long a token is usable.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::AccessToken;
use crate::secret::Secret;
use crate::token::cached::CachedToken;
use crate::token::response::{Holder, MAX_TOKEN, TokenResponse};

const WALLET: &str = "0xfdbb6caf01414300c16ea14859fec7736d95355f";
const NODE_ID: &str = "0b5e4f2a-1111-4222-8333-444455556666";
const TOKEN: &str = "eyJhbGciOi.J9.s3cr3t";

/// 2026-01-02T03:04:05Z
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + secs(1_767_323_045)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn good() -> Value {
    json!({
        "node_id": NODE_ID,
        "wallet": "0xFDbB6caF01414300c16EA14859fec7736d95355F",
        "access_token": TOKEN,
        "access_expires_at": "2026-01-02T04:04:05.5+00:00",
        "unknown": ["ignored"],
    })
}

fn check(answer: &Value, node_id: Option<&str>) -> Result<CachedToken, String> {
    let response: TokenResponse = serde_json::from_value(answer.clone()).expect("fields of the right types");
    let node_id = node_id.map(|id| id.parse().expect("a UUID"));
    response.check(&Holder { wallet: WALLET, node_id }, now())
}

fn refusal(field: &str, value: Value) -> String {
    let mut answer = good();
    answer[field] = value;
    let Err(why) = check(&answer, Some(NODE_ID)) else { panic!("accepted: {answer}") };
    assert!(why.starts_with(field), "{why}");
    assert!(!why.contains("s3cr3t"), "{why}");
    why
}

fn cached(lifetime: Duration) -> CachedToken {
    CachedToken::new(AccessToken::new(Secret::new(TOKEN), SystemTime::now() + lifetime), lifetime, None)
}

#[test]
fn a_good_response_is_accepted() {
    let mut older = good();
    older["expires_at"] = older["access_expires_at"].take();
    for (answer, node_id) in [(&good(), Some(NODE_ID)), (&older, None)] {
        let cached = check(answer, node_id).expect("a good response");
        assert_eq!(cached.token.value(), TOKEN);
        assert_eq!(cached.lifetime, Duration::from_millis(3_600_500));
        assert_eq!(cached.token.expires_at(), now() + cached.lifetime);
    }
    // DDS may leave out the node that the token is for.
    for absent in ["node_id", "wallet"] {
        let mut answer = good();
        answer[absent] = Value::Null;
        assert!(check(&answer, Some(NODE_ID)).is_ok());
        answer.as_object_mut().expect("an object").remove(absent);
        assert!(check(&answer, Some(NODE_ID)).is_ok());
    }
    // With credentials that hold no id, any id is accepted.
    let mut answer = good();
    answer["node_id"] = json!("whatever");
    assert!(check(&answer, None).is_ok());
}

#[test]
fn a_response_for_another_node_is_rejected() {
    for wallet in [json!("0x0000000000000000000000000000000000000001"), json!(WALLET[2..]), json!("")] {
        assert!(refusal("wallet", wallet).contains(WALLET));
    }
    for node_id in [json!("c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11"), json!("")] {
        assert!(refusal("node_id", node_id).contains(NODE_ID));
    }
}

#[test]
fn a_token_is_visible_ascii_of_limited_length() {
    for bad in ["s3cr3t with space", "s3cr3t\n", "s3cr3t\u{0}", "s3cr3t\u{7f}", "s3cr3té"] {
        assert!(refusal("access_token", json!(bad)).contains("visible ASCII"));
    }
    for bad in [String::new(), "s3cr3t".repeat(1366)] {
        assert!(refusal("access_token", json!(bad)).contains("not 1 to 8192"));
    }
    refusal("access_token", Value::Null);
    let mut longest = good();
    longest["access_token"] = json!("t".repeat(MAX_TOKEN));
    assert!(check(&longest, None).is_ok());
}

#[test]
fn the_expiry_is_a_time_in_the_future() {
    for bad in ["2026-01-02T03:04:05Z", "2026-01-02T03:04:04Z", "1969-12-31T23:59:59Z"] {
        assert!(refusal("access_expires_at", json!(bad)).contains("not in the future"));
    }
    for bad in ["", "soon", "1767326645", "2026-01-02", "2026-01-02T04:04:05"] {
        assert!(refusal("access_expires_at", json!(bad)).contains("not an RFC 3339 time"), "{bad}");
    }
    assert!(refusal("access_expires_at", Value::Null).contains("missing"));
}

#[test]
fn a_token_is_usable_while_both_clocks_say_so() {
    let hour = cached(secs(3600));
    let (start, clock) = (hour.received, hour.received_at);
    let good = |monotonic, wall| hour.usable_for(start + secs(monotonic), wall).is_some();
    assert!(good(0, clock) && good(3589, clock + secs(3589)));
    assert_eq!(hour.usable_for(start + secs(3580), clock + secs(3585)), Some(secs(5)));
    assert!(!good(3590, clock + secs(3590)), "it must still be valid when it reaches the service");
    // The machine slept, or its clock was set forward: it may have expired.
    assert!(!good(1, clock + secs(3590)));
    // Its clock was set back, which does not make the life of the token longer.
    assert!(good(3589, clock - secs(7200)));
    assert!(!good(3590, clock - secs(7200)));

    let short = cached(secs(2));
    let good = |millis| {
        let age = Duration::from_millis(millis);
        short.usable_for(short.received + age, short.received_at + age).is_some()
    };
    assert!(good(1799) && !good(1800), "the margin is never more than a tenth");
}

#[test]
fn a_lifetime_of_millennia_is_handled() {
    let eternal = cached(Duration::from_secs(250_000_000_000));
    assert!(eternal.if_usable().is_some());
    assert!(eternal.refresh_in() > secs(170_000_000_000));
}

#[test]
fn a_refresh_comes_at_about_three_quarters_of_the_life() {
    let hour = cached(secs(3600));
    let times: Vec<_> = (0..1000).map(|_| hour.refresh_in()).collect();
    let (min, max) = (times.iter().min().expect("1000"), times.iter().max().expect("1000"));
    assert!((2520..2556).contains(&min.as_secs()), "{min:?}");
    assert!((2844..=2880).contains(&max.as_secs()), "{max:?}");
}

#[test]
fn debug_hides_the_token_and_equality_compares_the_texts() {
    let [one, same] = [cached(secs(1)).token, cached(secs(2)).token];
    let shown = format!("{one:?}");
    assert!(shown.contains("[redacted]") && !shown.contains("s3cr3t"), "{shown}");
    assert_eq!(one, same);
}

#[test]
fn a_robot_needs_a_robot_id_that_is_not_nil() {
    let check = |robot_id: Value| {
        let mut answer = good();
        answer["robot_id"] = robot_id;
        let response: TokenResponse = serde_json::from_value(answer).expect("fields of the right types");
        response.check_robot(now()).map(|token| token.node_id().expect("an id").to_string())
    };
    let id = "c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11";
    assert_eq!(check(json!(id.to_uppercase())).as_deref(), Ok(id));
    for (bad, says) in [
        (Value::Null, "missing"),
        (json!("00000000-0000-0000-0000-000000000000"), "nil"),
        (json!("robot-7"), "not a UUID"),
        (json!(""), "not a UUID"),
    ] {
        let why = check(bad).expect_err(says);
        assert!(why.starts_with("robot_id") && why.contains(says), "{why}");
        assert!(!why.contains("s3cr3t"), "{why}");
    }
}

#[test]
fn the_node_id_is_that_of_the_response_or_of_the_token() {
    let id =
        |answer: &Value| check(answer, None).expect("a good response").node_id().map(|id| id.to_string());
    assert_eq!(id(&good()).as_deref(), Some(NODE_ID));
    let mut answer = good();
    answer["node_id"] = Value::Null;
    assert_eq!(id(&answer), None, "an opaque token");
    let claim = "c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11";
    let payload = base64url(&json!({ "node_id": claim }).to_string());
    answer["access_token"] = json!(format!("e30.{payload}.c2ln"));
    assert_eq!(id(&answer).as_deref(), Some(claim));
}

fn base64url(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}
