//! Challenges for libp2p peers: each is issued to one node for one peer, and can be used once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::OsRng;
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::identity::Identity;
use crate::shared::random_text;

/// More than any test needs. The limit keeps a server that runs for days from growing.
const REMEMBERED: usize = 1000;

/// What precedes the 32 bytes of an Ed25519 key in libp2p's encoding of public keys (protobuf).
const LIBP2P_ED25519: [u8; 4] = [0x08, 0x01, 0x12, 0x20];

/// The Ed25519 key of a peer.
pub(crate) struct PeerKey([u8; 32]);

impl PeerKey {
    /// Reads a key in libp2p's encoding, or its 32 bytes alone.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let key = bytes.strip_prefix(&LIBP2P_ED25519).unwrap_or(bytes);
        let key = key.try_into().map_err(|_| "public_key is not an Ed25519 key")?;
        Ok(Self(key))
    }
}

#[derive(Default)]
pub(crate) struct PeerChallenges {
    issued: VecDeque<Issued>,
}

struct Issued {
    id: String,
    node: Identity,
    peer_id: String,
    key: PeerKey,
    challenge: [u8; 32],
    at: Instant,
}

impl PeerChallenges {
    /// Returns the id of the challenge, and the bytes that the peer must sign.
    pub(crate) fn issue(&mut self, node: Identity, peer_id: String, key: PeerKey) -> (String, [u8; 32]) {
        if self.issued.len() == REMEMBERED {
            self.issued.pop_front();
        }
        let (id, challenge) = (random_text(24), OsRng.r#gen());
        self.issued.push_back(Issued { id: id.clone(), node, peer_id, key, challenge, at: Instant::now() });
        (id, challenge)
    }

    /// Spends a challenge, even if the signature is wrong, and returns the id of the peer that signed it.
    pub(crate) fn redeem(
        &mut self,
        id: &str,
        node: Identity,
        signature: &[u8],
        lifetime: Duration,
    ) -> Result<String, String> {
        let at = self.issued.iter().position(|issued| issued.id == id && issued.node == node);
        let issued = at.and_then(|at| self.issued.remove(at));
        let issued = issued.ok_or("the challenge was not issued to this node, or was used before")?;
        if issued.at.elapsed() >= lifetime {
            return Err("the challenge has expired".into());
        }
        UnparsedPublicKey::new(&ED25519, issued.key.0)
            .verify(&issued.challenge, signature)
            .map_err(|_| "the signature of the challenge is not by public_key")?;
        Ok(issued.peer_id)
    }
}
