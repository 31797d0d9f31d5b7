//! The endpoints, as production answers them.

mod peer;
mod robot;
mod token;
mod url;
mod wallet;

use std::sync::Arc;

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, StatusCode};
use semver::Version;
use serde::Deserialize;

use crate::answer::{self, Answer};
use crate::callback;
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::identity::Identity;
use crate::shared::Shared;

/// Why a request is refused.
struct Refusal {
    status: StatusCode,
    why: String,
}

/// A successful answer, and the node that has registered or signed in with the request.
struct Success {
    answer: Answer,
    node: Option<Identity>,
}

impl From<Answer> for Success {
    fn from(answer: Answer) -> Self {
        Self { answer, node: None }
    }
}

/// Answers a request. `stale_nonce`: the nonce of a challenge has already been used.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    endpoint: Endpoint,
    headers: &HeaderMap,
    body: &[u8],
    stale_nonce: bool,
) -> Answer {
    let answered = match endpoint {
        Endpoint::Challenge => wallet::challenge(shared, body, stale_nonce),
        Endpoint::Register => wallet::register(shared, body),
        Endpoint::Verify => wallet::verify(shared, body),
        Endpoint::RegisterUrl => url::register(shared, body),
        Endpoint::RegisterRobot => robot::register(shared, body),
        Endpoint::VerifyRobot => robot::verify(shared, body),
        Endpoint::DomainToken => robot::domain_token(shared, headers, body),
        Endpoint::P2pToken => robot::p2p_token(shared, headers, body),
        Endpoint::P2pChallenge => peer::challenge(shared, headers, body),
        Endpoint::P2pVerify => peer::verify(shared, headers, body),
    };
    match answered {
        Ok(Success { answer, node }) => {
            if let Some(node) = node {
                callback::after_request(shared, node).await;
            }
            answer
        }
        Err(Refusal { status, why }) => {
            shared.emit(Event::Refused { endpoint, status: status.as_u16(), why: why.clone() });
            answer::text(status, why)
        }
    }
}

/// The node whose access token the request carries.
fn bearer(shared: &Shared, headers: &HeaderMap) -> Result<Identity, Refusal> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer "));
    let token =
        token.ok_or_else(|| unauthorized("expected an Authorization header with a Bearer token".into()))?;
    shared
        .read(|state| state.tokens.owner(token))
        .ok_or_else(|| unauthorized("the access token is not valid".into()))
}

/// What a registration with a wallet or a URL must contain.
fn check_capabilities(capabilities: &[String]) -> Result<(), Refusal> {
    if capabilities.is_empty() {
        return Err(bad_request("capabilities must not be empty".into()));
    }
    Ok(())
}

fn check_version(version: &str) -> Result<(), Refusal> {
    match Version::parse(version.strip_prefix('v').unwrap_or(version)) {
        Ok(_) => Ok(()),
        Err(error) => Err(bad_request(format!("version {version:?} is not a semantic version: {error}"))),
    }
}

/// Whether these are the credentials that this server was set up with; without any, all are accepted.
fn accepts_credentials(shared: &Shared, credentials: &str) -> bool {
    shared.settings.credentials.as_ref().is_none_or(|only| only == credentials)
}

/// Ignores unknown fields, as production does.
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

/// Production's words: a node that reads them registers again.
fn node_not_found() -> Refusal {
    forbidden("node not found".into())
}

fn conflict(why: String) -> Refusal {
    Refusal { status: StatusCode::CONFLICT, why }
}
