//! The access tokens that were issued.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::registry::RegisteredNode;
use crate::shared::random_text;
use crate::wallet::Wallet;

/// The tokens that are good: issued here, to a node that is still registered, and not expired.
#[derive(Default)]
pub(crate) struct Tokens {
    issued: HashMap<String, Issued>,
}

struct Issued {
    wallet: Wallet,
    at: Instant,
    lifetime: Duration,
}

impl Issued {
    fn is_good(&self) -> bool {
        self.at.elapsed() < self.lifetime
    }
}

impl Tokens {
    pub(crate) fn issue(&mut self, token: String, wallet: Wallet, lifetime: Duration) {
        self.issued.retain(|_, issued| issued.is_good());
        self.issued.insert(token, Issued { wallet, at: Instant::now(), lifetime });
    }

    pub(crate) fn is_good(&self, token: &str) -> bool {
        self.issued.get(token).is_some_and(Issued::is_good)
    }

    pub(crate) fn revoke(&mut self, wallet: Wallet) {
        self.issued.retain(|_, issued| issued.wallet != wallet);
    }
}

/// A token for a node: a JWT (RFC 7519), as production issues them. Its signature is random, because only this server
/// decides whether a token is good.
pub(crate) fn token_for(node: &RegisteredNode) -> String {
    let header = json!({ "alg": "ES256", "typ": "JWT" });
    let claims = json!({
        "node_id": node.node_id,
        "capabilities": node.capabilities,
        "max_concurrency": node.max_concurrency,
    });
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}.{}", random_text(43))
}
