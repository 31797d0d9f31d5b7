//! Access tokens on their way to JavaScript.

use napi::JsString;
use napi::bindgen_prelude::Env;
use napi_derive::napi;
use posemesh_node_registration::error::Result;
use posemesh_node_registration::token::{AccessToken, claims};
use serde_json::Value;

use crate::error::node_api;

use crate::event::unix_millis;

/// The claims of a token as JSON text; none if it is no JWT.
#[napi]
pub fn token_claims(token: String) -> Option<String> {
    claims(&token).map(|claims| Value::Object(claims).to_string())
}

/// An access token. `expiresAt` is in milliseconds since 1970 (UTC).
#[napi(object, object_from_js = false)]
pub struct Token<'env> {
    /// The token itself: the engine's copy is the only one that is made.
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
