//! Robots: they have registration credentials and no wallet.

use hyper::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refusal, Success, bad_request, bearer, forbidden, parse, token, unauthorized};
use crate::answer;
use crate::credentials;
use crate::event::Event;
use crate::identity::Identity;
use crate::registry::{RegisteredNode, Registration};
use crate::shared::Shared;
use crate::tokens::Purpose;
use crate::uuid::Uuid;

pub(super) fn register(shared: &Shared, body: &[u8]) -> Result<Success, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        registration_credentials: String,
        version: String,
        #[serde(default)]
        capabilities: Vec<String>,
    }
    let body: Body = parse(body)?;
    super::check_version(&body.version)?;
    let identity = sign_in(shared, &body.registration_credentials)?;
    let registration = Registration {
        credentials: body.registration_credentials,
        version: body.version,
        capabilities: body.capabilities,
        max_concurrency: None,
        url: None,
    };
    let node = shared.change(|state| state.registry.register(identity, registration));
    shared.emit(Event::RobotRegistered { robot_id: node.node_id.clone() });
    Ok(Success { answer: answer::json(&access_token(shared, identity, &node)), node: Some(identity) })
}

pub(super) fn verify(shared: &Shared, body: &[u8]) -> Result<Success, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        registration_credentials: String,
    }
    let Body { registration_credentials } = parse(body)?;
    let identity = sign_in(shared, &registration_credentials)?;
    let robot = shared.read(|state| state.registry.get_with_credentials(identity, &registration_credentials));
    let robot = robot.ok_or_else(super::node_not_found)?;
    Ok(Success { answer: answer::json(&access_token(shared, identity, &robot)), node: Some(identity) })
}

pub(super) fn domain_token(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<Success, Refusal> {
    let (identity, robot, domain_id) = in_domain(shared, headers, body)?;
    let claims = [("domain_id", domain_id.as_str())];
    let token = token::issue(shared, identity, &robot, Purpose::Elsewhere, &claims);
    let answer = json!({
        "domain_id": domain_id,
        "domain_server_url": shared.url(),
        "access_token": token.text,
        "access_expires_at": token.expires_at,
    });
    Ok(answer::json(&answer).into())
}

pub(super) fn p2p_token(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<Success, Refusal> {
    let (identity, robot, domain_id) = in_domain(shared, headers, body)?;
    let claims = [("domain_id", domain_id.as_str())];
    let token = token::issue(shared, identity, &robot, Purpose::Elsewhere, &claims);
    let answer = json!({ "p2p_access_token": token.text, "p2p_access_expires_at": token.expires_at });
    Ok(answer::json(&answer).into())
}

/// The robot that these credentials belong to.
fn sign_in(shared: &Shared, credentials: &str) -> Result<Identity, Refusal> {
    if credentials.is_empty() || !super::accepts_credentials(shared, credentials) {
        return Err(unauthorized("these registration credentials are not accepted".into()));
    }
    let derived = || Uuid::derived_from(credentials.as_bytes());
    Ok(Identity::Robot(credentials::node_id(credentials).unwrap_or_else(derived)))
}

fn access_token(shared: &Shared, identity: Identity, robot: &RegisteredNode) -> Value {
    let token = token::issue(shared, identity, robot, Purpose::Access, &[]);
    json!({
        "robot_id": robot.node_id,
        "access_token": token.text,
        "access_expires_at": token.expires_at,
    })
}

/// The robot that sent its access token, and the domain that it asks for.
fn in_domain(
    shared: &Shared,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Identity, RegisteredNode, String), Refusal> {
    #[derive(Deserialize)]
    struct Body {
        domain_id: String,
    }
    let identity = bearer(shared, headers)?;
    if let Identity::Wallet(_) = identity {
        return Err(forbidden("this access token is not a robot's".into()));
    }
    let domain_id: Uuid = parse::<Body>(body)?.domain_id.parse().map_err(bad_request)?;
    let robot = shared.read(|state| state.registry.get(identity).cloned());
    Ok((identity, robot.ok_or_else(super::node_not_found)?, domain_id.to_string()))
}
