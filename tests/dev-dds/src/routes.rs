//! The three endpoints, as production answers them.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use semver::Version;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::answer::{self, Answer};
use crate::callback;
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::registry::Registration;
use crate::shared::{Shared, random_text};
use crate::tokens::token_for;
use crate::verify;
use crate::wallet::Wallet;

/// The chain of production's challenges (Base).
const CHAIN_ID: u64 = 8453;

/// Why a request is turned down.
struct Refusal {
    status: StatusCode,
    why: String,
}

/// Answers a request. `stale_nonce`: a challenge comes with a nonce that is spent already.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    endpoint: Endpoint,
    body: &[u8],
    stale_nonce: bool,
) -> Answer {
    let answered = match endpoint {
        Endpoint::Challenge => challenge(shared, body, stale_nonce),
        Endpoint::Register => match register(shared, body) {
            Ok(wallet) => {
                callback::after_registration(shared, wallet).await;
                Ok(answer::empty())
            }
            Err(refusal) => Err(refusal),
        },
        Endpoint::Verify => verify(shared, body),
    };
    match answered {
        Ok(answer) => answer,
        Err(Refusal { status, why }) => {
            shared.emit(Event::Refused { endpoint, status: status.as_u16(), why: why.clone() });
            answer::text(status, why)
        }
    }
}

fn challenge(shared: &Shared, body: &[u8], stale_nonce: bool) -> Result<Answer, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        wallet: String,
    }
    let wallet: Wallet = parse::<Body>(body)?.wallet.parse().map_err(bad_request)?;
    let fields = Map::from_iter([
        ("nonce".to_owned(), Value::from(random_text(24))),
        ("domain".to_owned(), Value::from(shared.authority.as_str())),
        ("uri".to_owned(), Value::from(shared.url())),
        ("version".to_owned(), Value::from("1")),
        ("chainId".to_owned(), Value::from(CHAIN_ID)),
        ("issuedAt".to_owned(), Value::from(shared.timestamp(Duration::ZERO))),
    ]);
    let fields = shared.change(|state| state.challenges.issue(wallet, fields, stale_nonce));
    shared.emit(Event::ChallengeIssued { wallet: wallet.to_string() });
    Ok(answer::json(&fields))
}

fn register(shared: &Shared, body: &[u8]) -> Result<Wallet, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        message: String,
        signature: String,
        registration_credentials: String,
        capabilities: Vec<String>,
        version: String,
        max_concurrency: Option<NonZeroU64>,
    }
    let body: Body = parse(body)?;
    if body.capabilities.is_empty() {
        return Err(bad_request("capabilities must not be empty".into()));
    }
    if let Err(error) = Version::parse(body.version.strip_prefix('v').unwrap_or(&body.version)) {
        return Err(bad_request(format!("version {:?} is no semantic version: {error}", body.version)));
    }
    let wallet = sign_in(shared, &body.message, &body.signature)?;
    if shared.settings.credentials.as_ref().is_some_and(|only| *only != body.registration_credentials) {
        return Err(forbidden("these registration credentials are not accepted".into()));
    }
    let registration = Registration {
        credentials: body.registration_credentials,
        version: body.version,
        capabilities: body.capabilities,
        max_concurrency: body.max_concurrency.map(NonZeroU64::get),
    };
    let node = shared.change(|state| {
        let free = !state.registry.is_online_elsewhere(wallet);
        free.then(|| state.registry.register(wallet, registration))
    });
    let why = || format!("another node with wallet {wallet} is online");
    let node = node.ok_or_else(|| Refusal { status: StatusCode::CONFLICT, why: why() })?;
    shared.emit(Event::Registered { wallet: node.wallet, node_id: node.node_id });
    Ok(wallet)
}

fn verify(shared: &Shared, body: &[u8]) -> Result<Answer, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        address: Option<String>,
        message: String,
        signature: String,
    }
    let body: Body = parse(body)?;
    let address: Option<Wallet> =
        body.address.map(|address| address.parse()).transpose().map_err(bad_request)?;
    let wallet = sign_in(shared, &body.message, &body.signature)?;
    if address.is_some_and(|address| address != wallet) {
        return Err(unauthorized(format!("the address is not {wallet}, which signed the message")));
    }
    let node = shared.read(|state| state.registry.get(wallet).cloned());
    // Word for word what production says: nodes take it as the sign to register again.
    let node = node.ok_or_else(|| forbidden("node not found".into()))?;
    let (token, lifetime) = (token_for(&node), shared.settings.token_lifetime);
    shared.change(|state| state.tokens.issue(token.clone(), wallet, lifetime));
    shared.emit(Event::TokenIssued { wallet: node.wallet.clone() });
    Ok(answer::json(&json!({
        "node_id": node.node_id,
        "wallet": node.wallet,
        "access_token": token,
        "access_expires_at": shared.timestamp(lifetime),
    })))
}

/// Who signed in: a good signature on a challenge of ours, which is spent with it.
fn sign_in(shared: &Shared, message: &str, signature: &str) -> Result<Wallet, Refusal> {
    let (wallet, sign_in) = verify::verify(message, signature).map_err(unauthorized)?;
    let lifetime = shared.settings.nonce_lifetime;
    shared.change(|state| state.challenges.redeem(wallet, &sign_in, lifetime)).map_err(unauthorized)?;
    Ok(wallet)
}

/// Unknown fields are ignored, as in production.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| bad_request(error.to_string()))
}

fn bad_request(why: String) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, why }
}

fn unauthorized(why: String) -> Refusal {
    Refusal { status: StatusCode::UNAUTHORIZED, why }
}

fn forbidden(why: String) -> Refusal {
    Refusal { status: StatusCode::FORBIDDEN, why }
}
