//! Binding a libp2p peer to a node.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use posemesh_dev_dds::{DevDds, Endpoint};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::client::{Wallet, claims, post, post_with_token};

fn registered(dds: &DevDds, seed: u8) -> Value {
    Wallet::new(seed).register(dds);
    Wallet::new(seed).token(dds).json()["access_token"].clone()
}

struct Peer(Ed25519KeyPair);

impl Peer {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("32 bytes"))
    }

    fn challenge(&self, dds: &DevDds, token: &Value) -> Value {
        let key = [&[0x08, 0x01, 0x12, 0x20], self.0.public_key().as_ref()].concat();
        let body = json!({ "peer_id": "12D3KooWpeer", "public_key": URL_SAFE_NO_PAD.encode(key) });
        let answer = post_with_token(dds, Endpoint::P2pChallenge, token, &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    fn sign(&self, challenge: &Value) -> Value {
        let text = challenge["challenge"].as_str().expect("text");
        let bytes = URL_SAFE_NO_PAD.decode(text).expect("base64url");
        assert_eq!(bytes.len(), 32);
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(&bytes));
        json!({ "challenge_id": challenge["challenge_id"], "signature": signature })
    }
}

#[test]
fn a_peer_that_signs_the_challenge_gets_a_token() {
    let dds = DevDds::start().unwrap();
    let token = registered(&dds, 1);
    let peer = Peer::new(1);
    let signed = peer.sign(&peer.challenge(&dds, &token));
    let answer = post_with_token(&dds, Endpoint::P2pVerify, &token, &signed).json();
    assert_eq!(answer["peer_id"], "12D3KooWpeer");
    assert!(answer["access_expires_at"].is_string());
    assert!(dds.accepts_token(answer["access_token"].as_str().unwrap()));
    let claims = claims(&answer["access_token"]).unwrap();
    assert_eq!(
        (&claims["peer_id"], &claims["node_id"]),
        (&json!("12D3KooWpeer"), &json!(dds.nodes()[0].node_id))
    );
    let again = post_with_token(&dds, Endpoint::P2pVerify, &token, &signed);
    assert_eq!(again.status, 401, "a challenge can be used once");
}

#[test]
fn a_challenge_belongs_to_one_node_and_one_key() {
    let dds = DevDds::start().unwrap();
    let (token, other) = (registered(&dds, 1), registered(&dds, 2));
    let peer = Peer::new(1);
    let by_other_key = Peer::new(2).sign(&peer.challenge(&dds, &token));
    assert_eq!(post_with_token(&dds, Endpoint::P2pVerify, &token, &by_other_key).status, 401);
    let by_other_node = peer.sign(&peer.challenge(&dds, &token));
    assert_eq!(post_with_token(&dds, Endpoint::P2pVerify, &other, &by_other_node).status, 401);
    assert_eq!(post_with_token(&dds, Endpoint::P2pVerify, &token, &by_other_node).status, 200);
    let unknown = json!({ "challenge_id": "none", "signature": "" });
    assert_eq!(post_with_token(&dds, Endpoint::P2pVerify, &token, &unknown).status, 401);
}

#[test]
fn a_peer_needs_the_token_of_its_node() {
    let dds = DevDds::start().unwrap();
    for endpoint in [Endpoint::P2pChallenge, Endpoint::P2pVerify] {
        assert_eq!(post(&dds, endpoint, &json!({})).status, 401);
    }
    let token = registered(&dds, 1);
    for bad in [
        json!({ "peer_id": "", "public_key": URL_SAFE_NO_PAD.encode([1; 32]) }),
        json!({ "peer_id": "p", "public_key": "no base64!" }),
        json!({ "peer_id": "p", "public_key": "c2hvcnQ" }),
    ] {
        assert_eq!(post_with_token(&dds, Endpoint::P2pChallenge, &token, &bad).status, 400, "{bad}");
    }
}
