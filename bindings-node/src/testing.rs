//! The local DDS of `posemesh-node/testing`. TypeScript steers it over its own HTTP interface, as the tests
//! of all languages do; here it only starts, tells that something happened, and ends.

use std::time::Duration;

use napi::bindgen_prelude::{Either, Function};
use napi_derive::napi;
use posemesh_dev_dds::{Callback, DevDds};
use posemesh_node_registration::error::{Error, ErrorCode};
use posemesh_node_registration::node::callback_url;

use crate::channel::Channel;
use crate::error::{Failure, node_api, outcome};

/// How a local DDS is set up.
#[napi(object, object_to_js = false)]
pub struct LocalDdsSetup {
    /// Where the node's callback server is.
    pub node_url: Option<String>,
    /// The secret of every callback.
    pub secret: Option<String>,
    /// The only credentials that are accepted.
    pub credentials: Option<String>,
    /// When the node is called back.
    #[napi(ts_type = "'never' | 'afterAnswer' | 'beforeAnswer'")]
    pub callback: Option<String>,
    /// How often the node's health is probed.
    pub health_interval_ms: Option<u32>,
    /// How long a challenge can be answered.
    pub nonce_lifetime_ms: Option<u32>,
    /// How long an access token is good.
    pub token_lifetime_ms: Option<u32>,
    /// How far its clock is ahead.
    pub clock_offset_secs: Option<i32>,
}

/// A local DDS on a thread of its own.
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

    /// Cuts all connections and frees the port.
    #[napi]
    pub fn stop(&mut self) -> Either<(), Failure> {
        outcome(|| {
            drop(self.dds.take());
            Ok(())
        })
    }
}

/// Starts a local DDS on a free port of loopback. `deliver` gets a line for everything that happens, and keeps no process
/// alive. Fails with `ERR_IO` when the setup is not usable or no port is free.
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
        let dds = builder
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
