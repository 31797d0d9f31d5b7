//! The local DDS of `posemesh-node/testing`. TypeScript controls it over its HTTP interface. This module only starts it,
//! reports events, and stops it.

use std::time::Duration;

use napi::bindgen_prelude::{Either, Function};
use napi_derive::napi;
use posemesh_dev_dds::{Callback, DevDds, TokenFormat};
use posemesh_node_registration::error::{Error, ErrorCode};
use posemesh_node_registration::node::callback_url;

use crate::channel::Channel;
use crate::error::{Failure, node_api, outcome};

/// The options of a local DDS.
#[napi(object, object_to_js = false)]
pub struct LocalDdsSetup {
    /// The URL of the node's callback server.
    pub node_url: Option<String>,
    /// The secret of every callback.
    pub secret: Option<String>,
    /// The only credentials that are accepted.
    pub credentials: Option<String>,
    /// When a node is called back.
    #[napi(ts_type = "'never' | 'afterAnswer' | 'beforeAnswer'")]
    pub callback: Option<String>,
    /// How often the health of nodes is probed.
    pub health_interval_ms: Option<u32>,
    /// How long a challenge is valid.
    pub nonce_lifetime_ms: Option<u32>,
    /// How long a token is valid.
    pub token_lifetime_ms: Option<u32>,
    /// What tokens look like.
    #[napi(ts_type = "'jwt' | 'opaque'")]
    pub token_format: Option<String>,
    /// Whether the answer to a sign-in contains `node_id` and `wallet`.
    pub token_identity: Option<bool>,
    /// Claims of every JWT: a JSON object.
    pub token_claims: Option<String>,
    /// How far its clock is ahead.
    pub clock_offset_secs: Option<i32>,
}

/// A local DDS on its own thread.
#[napi]
pub struct NativeLocalDds {
    dds: Option<DevDds>,
    url: String,
}

#[napi]
impl NativeLocalDds {
    /// `http://127.0.0.1:PORT`
    #[napi(getter)]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Closes all connections and frees the port.
    #[napi]
    pub fn stop(&mut self) -> Either<(), Failure> {
        outcome(|| {
            drop(self.dds.take());
            Ok(())
        })
    }
}

/// Starts a local DDS on a free port of loopback. `deliver` receives a line for every event, and does not keep the process
/// alive. Fails with `ERR_IO` if an option cannot be used or no port is free.
#[napi]
pub fn start_local_dds(
    setup: LocalDdsSetup,
    #[napi(ts_arg_type = "(line: string) => void")] deliver: Function<'_, String, ()>,
) -> Either<NativeLocalDds, Failure> {
    outcome(|| {
        let channel = Channel::new(&deliver).map_err(node_api)?;
        let mut builder = DevDds::builder().clock_offset_secs(setup.clock_offset_secs.unwrap_or(0));
        if let Some(millis) = setup.nonce_lifetime_ms {
            builder = builder.nonce_lifetime(Duration::from_millis(millis.into()));
        }
        if let Some(millis) = setup.token_lifetime_ms {
            builder = builder.token_lifetime(Duration::from_millis(millis.into()));
        }
        if let Some(claims) = setup.token_claims {
            let claims = serde_json::from_str(&claims);
            builder =
                builder.token_claims(claims.map_err(|error| Error::new(ErrorCode::Io, error.to_string()))?);
        }
        let dds = builder
            .token_format(match setup.token_format.as_deref() {
                Some("opaque") => TokenFormat::Opaque,
                _ => TokenFormat::Jwt,
            })
            .token_identity(setup.token_identity.unwrap_or(true))
            .node_url(setup.node_url)
            .secret(setup.secret)
            .credentials(setup.credentials)
            .callback(match setup.callback.as_deref() {
                Some("never") => Callback::Never,
                Some("beforeAnswer") => Callback::BeforeAnswer,
                _ => Callback::AfterAnswer,
            })
            .health_interval(setup.health_interval_ms.map(|millis| Duration::from_millis(millis.into())))
            .find_node(callback_url)
            .on_event(move |event| channel.send(event.to_string()))
            .start()
            .map_err(|error| Error::new(ErrorCode::Io, error.to_string()))?;
        Ok(NativeLocalDds { url: dds.url(), dds: Some(dds) })
    })
}
