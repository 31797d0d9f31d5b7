//! Access tokens as JavaScript values.

use std::time::Duration;

use napi::JsString;
use napi::bindgen_prelude::Env;
use napi_derive::napi;
use posemesh_node_registration::error::Result;
use posemesh_node_registration::token::{AccessToken, claims};
use serde_json::Value;

use crate::error::node_api;
use crate::time::unix_millis;

/// The claims of a token as JSON text, or none if it is not a JWT.
#[napi]
pub fn token_claims(token: String) -> Option<String> {
    claims(&token).map(|claims| Value::Object(claims).to_string())
}

/// An access token. `expiresAt` is in milliseconds since 1970 (UTC).
#[napi(object, object_from_js = false)]
pub struct Token<'env> {
    /// The token itself. No copy is made but the engine's.
    pub value: JsString<'env>,
    /// When it expires.
    pub expires_at: f64,
}

impl<'env> Token<'env> {
    pub(crate) fn new(env: &'env Env, token: &AccessToken) -> Result<Self> {
        let value = env.create_string(token.value()).map_err(node_api)?;
        Ok(Self { value, expires_at: unix_millis(token.expires_at()) })
    }
}

/// The access token that a node holds.
#[napi(object, object_from_js = false)]
pub struct HeldToken<'env> {
    /// The token.
    pub token: Token<'env>,
    /// For how many milliseconds it may be used, unless the status changes before.
    pub usable_for_ms: f64,
}

impl<'env> HeldToken<'env> {
    pub(crate) fn new(env: &'env Env, token: &AccessToken, usable_for: Duration) -> Result<Self> {
        Ok(Self { token: Token::new(env, token)?, usable_for_ms: usable_for.as_secs_f64() * 1000.0 })
    }
}
