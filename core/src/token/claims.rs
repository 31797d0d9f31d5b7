//! What a token says about itself: the payload of a JWT (RFC 7519), read without verifying it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The claims of a token: the JSON object in the second of its three parts. `None` if it is no JWT.
///
/// They are read without verifying the signature. Use them as hints and never as proof. See
/// [`AccessToken::claims`](super::AccessToken::claims).
pub fn claims(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let json = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_str(std::str::from_utf8(&json).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(payload: &[u8]) -> String {
        format!("eyJhbGciOiJFUzI1NiJ9.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn the_payload_of_a_jwt_is_read() {
        let said = json!({
            "node_id": "0b5e4f2a-1111-4222-8333-444455556666",
            "node_mode": "public",
            "capabilities": ["/a", "/é"],
            "max_concurrency": 3,
            "exp": 1_767_326_645_u64,
        });
        assert_eq!(claims(&token(said.to_string().as_bytes())).map(Value::Object), Some(said));
        assert_eq!(claims(&token(b"{}")), Some(Map::new()));
    }

    #[test]
    fn an_opaque_token_has_no_claims() {
        for payload in
            [&b"[]"[..], b"1", b"null", b"\"text\"", b"", b"{", b"{}{}", b"\xff", b"{\"a\":\"\xff\"}"]
        {
            assert_eq!(claims(&token(payload)), None, "{payload:?}");
        }
        let deep = format!("{}{}", "{\"a\":".repeat(3000), "}".repeat(3000));
        assert_eq!(claims(&token(deep.as_bytes())), None, "nested too deeply");
        for opaque in ["opaque", "..", "a.b", "a.e30", "a.e30.b.c", "a.e30=.b", "a.e+0.b", ".", "a.\u{e9}.b"]
        {
            assert_eq!(claims(opaque), None, "{opaque}");
        }
        assert_eq!(claims(".e30."), Some(Map::new()), "an unsigned token");
    }
}
