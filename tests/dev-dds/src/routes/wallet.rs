//! Nodes with a wallet: they sign a challenge to register, and another one for an access token.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Refusal, Success, bad_request, forbidden, parse, token, unauthorized};
use crate::answer;
use crate::event::Event;
use crate::identity::Identity;
use crate::registry::Registration;
use crate::shared::{Shared, random_text};
use crate::tokens::Purpose;
use crate::verify;
use crate::wallet::Wallet;

/// The chain of production's challenges (Base).
const CHAIN_ID: u64 = 8453;

pub(super) fn challenge(shared: &Shared, body: &[u8], stale_nonce: bool) -> Result<Success, Refusal> {
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
    Ok(answer::json(&fields).into())
}

pub(super) fn register(shared: &Shared, body: &[u8]) -> Result<Success, Refusal> {
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
    super::check_capabilities(&body.capabilities)?;
    super::check_version(&body.version)?;
    let wallet = sign_in(shared, &body.message, &body.signature)?;
    let registration = Registration {
        credentials: body.registration_credentials,
        version: body.version,
        capabilities: body.capabilities,
        max_concurrency: body.max_concurrency.map(NonZeroU64::get),
        url: None,
    };
    add(shared, wallet, registration)
}

/// Registers a node that has proved that it has the wallet.
pub(super) fn add(shared: &Shared, wallet: Wallet, registration: Registration) -> Result<Success, Refusal> {
    if !super::accepts_credentials(shared, &registration.credentials) {
        return Err(forbidden("these registration credentials are not accepted".into()));
    }
    let identity = Identity::Wallet(wallet);
    let node = shared.change(|state| {
        let free = !state.registry.is_online_elsewhere(wallet);
        free.then(|| state.registry.register(identity, registration))
    });
    let node = node.ok_or_else(|| super::conflict(format!("another node with wallet {wallet} is online")))?;
    shared.emit(Event::Registered { wallet: wallet.to_string(), node_id: node.node_id });
    Ok(Success { answer: answer::empty(), node: Some(identity) })
}

pub(super) fn verify(shared: &Shared, body: &[u8]) -> Result<Success, Refusal> {
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
    let identity = Identity::Wallet(wallet);
    let node =
        shared.read(|state| state.registry.get(identity).cloned()).ok_or_else(super::node_not_found)?;
    let token = token::issue(shared, identity, &node, Purpose::Access, &[]);
    let mut answer = json!({
        "access_token": token.text,
        "access_expires_at": token.expires_at,
    });
    if shared.settings.token_identity {
        answer["node_id"] = node.node_id.into();
        answer["wallet"] = wallet.to_string().into();
    }
    Ok(Success { answer: answer::json(&answer), node: Some(identity) })
}

/// The wallet that made a valid signature of a challenge of ours. The challenge is spent.
fn sign_in(shared: &Shared, message: &str, signature: &str) -> Result<Wallet, Refusal> {
    let (wallet, sign_in) = verify::verify(message, signature).map_err(unauthorized)?;
    let lifetime = shared.settings.nonce_lifetime;
    shared.change(|state| state.challenges.redeem(wallet, &sign_in, lifetime)).map_err(unauthorized)?;
    Ok(wallet)
}
