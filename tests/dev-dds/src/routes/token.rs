//! Access tokens, issued to a node that has proved who it is.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::event::Event;
use crate::identity::Identity;
use crate::patch;
use crate::registry::RegisteredNode;
use crate::shared::Shared;
use crate::tokens::{self, Purpose};

/// Where a robot works and who it belongs to; the same for every robot.
const ORGANIZATION_ID: &str = "0b8c6f64-2a5e-4a3b-9a58-6d1c0e6f7a11";
const ASSIGNED_DOMAIN_ID: &str = "5f3d2c1b-7e6a-4d59-8c4b-3a2918070605";

pub(super) struct IssuedToken {
    pub(super) text: String,
    pub(super) expires_at: String,
}

/// Issues a token to `node`. `claims` are put over those that every token of the node has.
pub(super) fn issue(
    shared: &Shared,
    identity: Identity,
    node: &RegisteredNode,
    purpose: Purpose,
    claims: &[(&str, &str)],
) -> IssuedToken {
    let settings = &shared.settings;
    let mut all = claims_about(identity, node);
    all.extend(claims.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
    patch::apply(&settings.token_claims, &mut all);
    let text = tokens::generate(settings.token_format, &all);
    let lifetime: Duration = settings.token_lifetime;
    shared.change(|state| state.tokens.issue(text.clone(), identity, purpose, lifetime));
    shared.emit(Event::TokenIssued { node: identity.to_string() });
    IssuedToken { text, expires_at: shared.timestamp(lifetime) }
}

fn claims_about(identity: Identity, node: &RegisteredNode) -> Map<String, Value> {
    let mut claims = json!({
        "node_id": node.node_id,
        "capabilities": node.capabilities,
        "max_concurrency": node.max_concurrency,
    });
    if let Identity::Robot(_) = identity {
        claims["organization_id"] = ORGANIZATION_ID.into();
        claims["node_mode"] = "dedicated".into();
        claims["node_type"] = "robot".into();
        claims["assigned_domain_id"] = ASSIGNED_DOMAIN_ID.into();
        claims["scheduling_revision"] = 1.into();
    }
    match claims {
        Value::Object(claims) => claims,
        _ => unreachable!("made as an object"),
    }
}
