//! The access tokens that were issued.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::identity::Identity;
use crate::shared::random_text;

/// What an access token looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenFormat {
    /// A JWT (RFC 7519) with claims, as production issues them.
    #[default]
    Jwt,
    /// Letters and digits that mean nothing.
    Opaque,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Requests to DDS and to the services behind it.
    Access,
    /// Another server or peer: DDS itself does not accept it.
    Elsewhere,
}

/// The tokens that are valid: issued here, to a node that is still registered, and not expired.
#[derive(Default)]
pub(crate) struct Tokens {
    issued: HashMap<String, Issued>,
}

struct Issued {
    owner: Identity,
    purpose: Purpose,
    at: Instant,
    lifetime: Duration,
}

impl Issued {
    fn is_valid(&self) -> bool {
        self.at.elapsed() < self.lifetime
    }
}

impl Tokens {
    pub(crate) fn issue(&mut self, token: String, owner: Identity, purpose: Purpose, lifetime: Duration) {
        self.issued.retain(|_, issued| issued.is_valid());
        self.issued.insert(token, Issued { owner, purpose, at: Instant::now(), lifetime });
    }

    pub(crate) fn is_valid(&self, token: &str) -> bool {
        self.issued.get(token).is_some_and(Issued::is_valid)
    }

    /// Whose valid access token it is.
    pub(crate) fn owner(&self, token: &str) -> Option<Identity> {
        let access = |issued: &&Issued| issued.purpose == Purpose::Access && issued.is_valid();
        self.issued.get(token).filter(access).map(|issued| issued.owner)
    }

    pub(crate) fn revoke(&mut self, owner: Identity) {
        self.issued.retain(|_, issued| issued.owner != owner);
    }
}

/// Makes a token. The signature of a JWT is random, because only this server decides whether a token is valid.
pub(crate) fn generate(format: TokenFormat, claims: &Map<String, Value>) -> String {
    match format {
        TokenFormat::Opaque => random_text(43),
        TokenFormat::Jwt => {
            let encode = |json: &str| URL_SAFE_NO_PAD.encode(json);
            let claims = serde_json::to_string(claims).expect("claims are JSON");
            format!("{}.{}.{}", encode(r#"{"alg":"ES256","typ":"JWT"}"#), encode(&claims), random_text(43))
        }
    }
}
