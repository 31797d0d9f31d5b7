//! Binding a libp2p peer to a node: the peer signs a challenge with its Ed25519 key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::{Refusal, Success, bad_request, bearer, node_not_found, parse, token, unauthorized};
use crate::answer;
use crate::peer_challenge::PeerKey;
use crate::shared::Shared;
use crate::tokens::Purpose;

pub(super) fn challenge(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<Success, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        peer_id: String,
        public_key: String,
    }
    let node = bearer(shared, headers)?;
    let body: Body = parse(body)?;
    if body.peer_id.trim().is_empty() {
        return Err(bad_request("peer_id must not be empty".into()));
    }
    let key = decode("public_key", &body.public_key)?;
    let key = PeerKey::from_bytes(&key).map_err(bad_request)?;
    let lifetime = shared.settings.nonce_lifetime;
    let (id, challenge) = shared.change(|state| state.peer_challenges.issue(node, body.peer_id, key));
    let answer = json!({
        "challenge_id": id,
        "challenge": URL_SAFE_NO_PAD.encode(challenge),
        "expires_at": shared.timestamp(lifetime),
    });
    Ok(answer::json(&answer).into())
}

pub(super) fn verify(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<Success, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        challenge_id: String,
        signature: String,
    }
    let node = bearer(shared, headers)?;
    let body: Body = parse(body)?;
    let signature = decode("signature", &body.signature)?;
    let lifetime = shared.settings.nonce_lifetime;
    let peer_id = shared
        .change(|state| state.peer_challenges.redeem(&body.challenge_id, node, &signature, lifetime))
        .map_err(unauthorized)?;
    let registered = shared.read(|state| state.registry.get(node).cloned()).ok_or_else(node_not_found)?;
    let claims = [("peer_id", peer_id.as_str())];
    let token = token::issue(shared, node, &registered, Purpose::Access, &claims);
    let answer = json!({
        "peer_id": peer_id,
        "access_token": token.text,
        "access_expires_at": token.expires_at,
    });
    Ok(answer::json(&answer).into())
}

fn decode(name: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    let unpadded = text.trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(unpadded).map_err(|error| bad_request(format!("{name} is not base64url: {error}")))
}
