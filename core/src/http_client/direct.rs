//! A client for a server in the host's own network, such as the store that the replicas of a node share.

use std::path::Path;
use std::time::Duration;

use http_body_util::Full;
use hyper::Uri;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;

use super::connector::{Connector, PRODUCT};
use super::error::RequestError;
use super::response::Response;
use super::tls::{tls_config, tls_of_system};
use crate::error::Result;

/// Longer than the pause between two requests of a replica.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Connects directly, never through a proxy, and keeps connections open. Nothing limits how long a response takes.
pub(crate) struct DirectClient(Client<Connector, Full<Bytes>>);

impl DirectClient {
    /// Reads certificates if it needs them: those of the system or the environment, and the file.
    pub(crate) fn new(tls: bool, ca_file: Option<&Path>) -> Result<Self> {
        let tls = if tls { tls_of_system(ca_file)? } else { tls_config(RootCertStore::empty())? };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(1)
            .build(Connector::new(tls, None).for_long_connections());
        Ok(Self(client))
    }

    /// Posts JSON. If it fails with [`RequestError::Connect`], nothing was sent.
    pub(crate) async fn post(
        &self,
        uri: Uri,
        authorization: Option<HeaderValue>,
        json: Vec<u8>,
    ) -> std::result::Result<Response, RequestError> {
        let mut request = hyper::Request::post(uri)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, PRODUCT)
            .body(Full::from(json))
            .expect("the URI has been parsed, and the headers are constants");
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        Ok(Response::new(self.0.request(request).await?, None))
    }
}
