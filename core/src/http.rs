//! The callback server: where DDS sends the node secret and probes the node's health.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::config::CallbackPolicy;
#[cfg(target_os = "linux")]
use crate::inherited::NotForChildren;
use crate::log::log;
use crate::secret::Secret;
use crate::state::{self, Acceptance, Store};

const REGISTRATIONS_PATH: &str = "/internal/v1/registrations";
const HEALTH_PATH: &str = "/health";

/// A longer secret is refused.
const MAX_SECRET: usize = 4096;
/// A longer callback body is refused. DDS lists domains in it, so it may be much longer than a secret.
const MAX_BODY: usize = 256 * 1024;
/// A peer has this long to send a request's header, and again for its body. It also ends idle connections.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections open at a time. One more closes the oldest, so idle ones never keep DDS out.
const MAX_CONNECTIONS: usize = 256;
/// How long to leave a failing `accept` alone (the process is out of file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The state of [`router_dds`]: the process-wide default store that [`crate::state`]'s functions read.
#[derive(Clone)]
pub struct DdsState;

/// The body of DDS's callback. Unknown fields are ignored.
#[derive(Deserialize)]
pub struct RegistrationCallbackRequest {
    /// The node's id.
    pub id: String,
    /// The node secret.
    pub secret: String,
    /// The organization that the node belongs to.
    pub organization_id: Option<String>,
    /// Lighthouses in the node's domains; not used here.
    pub lighthouses_in_domains: Option<serde_json::Value>,
    /// The node's domains; not used here.
    pub domains: Option<serde_json::Value>,
}

impl std::fmt::Debug for RegistrationCallbackRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistrationCallbackRequest")
            .field("id", &self.id)
            .field("secret", &"[redacted]")
            .field("organization_id", &self.organization_id)
            .finish_non_exhaustive()
    }
}

/// The routes that DDS calls, to merge into an axum application of the host's: `POST
/// /internal/v1/registrations` and `GET /health`.
///
/// They act on the process-wide default store, where the last secret wins.
pub fn router_dds(_state: DdsState) -> Router {
    callback_router(Callback {
        store: Arc::clone(state::default_store_handle()),
        policy: CallbackPolicy::Open,
        node_id: None,
    })
}

/// Where callbacks go, and which are taken.
#[derive(Clone)]
pub(crate) struct Callback {
    pub(crate) store: Arc<Store>,
    pub(crate) policy: CallbackPolicy,
    /// The only node id to take callbacks for, in lowercase; none takes any.
    pub(crate) node_id: Option<String>,
}

type Response = hyper::Response<Full<Bytes>>;

fn callback_router(callback: Callback) -> Router {
    let post_registration = |State(callback): State<Arc<Callback>>, request: axum::extract::Request| async move {
        registration(&callback, request).await.map(axum::body::Body::new)
    };
    let get_health = |State(callback): State<Arc<Callback>>, headers: HeaderMap| async move {
        health(&callback, &headers).map(axum::body::Body::new)
    };
    Router::new()
        .route(REGISTRATIONS_PATH, post(post_registration))
        .route(HEALTH_PATH, get(get_health))
        .with_state(Arc::new(callback))
}

/// The same routes for a node's own server, which has no others: a router's clones, boxes and layers would
/// cost more than all that is done here.
async fn route<B>(callback: &Callback, request: Request<B>) -> Response
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    match (request.uri().path(), request.method()) {
        (REGISTRATIONS_PATH, &Method::POST) => registration(callback, request).await,
        (HEALTH_PATH, &Method::GET | &Method::HEAD) => health(callback, request.headers()),
        (REGISTRATIONS_PATH, _) => respond(StatusCode::METHOD_NOT_ALLOWED, "", ALLOW, "POST"),
        (HEALTH_PATH, _) => respond(StatusCode::METHOD_NOT_ALLOWED, "", ALLOW, "GET,HEAD"),
        _ => status(StatusCode::NOT_FOUND),
    }
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

fn respond(code: StatusCode, body: &'static str, header: HeaderName, value: &'static str) -> Response {
    let mut response = status(code);
    *response.body_mut() = Full::from(body);
    response.headers_mut().insert(header, HeaderValue::from_static(value));
    response
}

fn health(callback: &Callback, headers: &HeaderMap) -> Response {
    let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    if user_agent.is_some_and(|agent| agent.starts_with("DDS v")) {
        callback.store.touch_healthcheck();
        log!(Debug, "http", "health probe from DDS");
    }
    status(StatusCode::OK)
}

async fn registration<B>(callback: &Callback, request: Request<B>) -> Response
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    match receive(callback, request).await {
        Ok(()) => respond(StatusCode::OK, r#"{"ok":true}"#, CONTENT_TYPE, "application/json"),
        Err((code, why)) => {
            log!(Warn, "http", "registration callback refused with {}: {why}", code.as_u16());
            respond(code, why, CONTENT_TYPE, "text/plain; charset=utf-8")
        }
    }
}

/// Takes the callback, or says with which status and why not. The reasons never repeat what was sent.
async fn receive<B>(callback: &Callback, request: Request<B>) -> Result<(), (StatusCode, &'static str)>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(is_json) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected content-type application/json"));
    }
    let body = tokio::time::timeout(READ_TIMEOUT, Limited::new(request.into_body(), MAX_BODY).collect())
        .await
        .map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the body took too long"))?
        .map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or broke off"))?
        .to_bytes();
    let call = parse(&body)?;
    if call.id.trim().is_empty() {
        return Err((StatusCode::UNPROCESSABLE_ENTITY, "id is missing or blank"));
    }
    if call.secret.trim().is_empty() {
        return Err((StatusCode::UNPROCESSABLE_ENTITY, "secret is missing or blank"));
    }
    if call.secret.len() > MAX_SECRET {
        return Err((StatusCode::FORBIDDEN, "the secret is over 4096 bytes"));
    }
    if callback.node_id.as_ref().is_some_and(|id| !call.id.eq_ignore_ascii_case(id)) {
        return Err((StatusCode::FORBIDDEN, "id is not the node that the registration credentials name"));
    }
    let length = call.secret.len();
    match callback.store.accept_secret(callback.policy, Secret::new(call.secret.into_owned())) {
        Acceptance::New(version) => {
            log!(Info, "http", "node secret received from DDS ({length} bytes, version {version})");
        }
        Acceptance::Same => {
            log!(Debug, "http", "the node secret was received from DDS once more");
        }
        Acceptance::Refused(why) => return Err((StatusCode::FORBIDDEN, why)),
    }
    // After the answer DDS does not send it again.
    callback.store.settled().await;
    Ok(())
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let Some((main, sub)) = media_type.split_once('/') else { return false };
    let suffix = sub.rsplit_once('+').map_or(sub, |(_, suffix)| suffix);
    main.eq_ignore_ascii_case("application") && suffix.eq_ignore_ascii_case("json")
}

/// [`RegistrationCallbackRequest`] as it stands in the body: only what is used is copied out of it.
#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    secret: Cow<'a, str>,
    #[serde(borrow, rename = "organization_id")]
    _organization_id: Option<Cow<'a, str>>,
    #[serde(rename = "lighthouses_in_domains")]
    _lighthouses_in_domains: Option<IgnoredAny>,
    #[serde(rename = "domains")]
    _domains: Option<IgnoredAny>,
}

/// Bad JSON is 400, JSON of another shape 422, as axum's own extractor has it; but its texts quote the body.
fn parse(body: &[u8]) -> Result<Call<'_>, (StatusCode, &'static str)> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            (StatusCode::UNPROCESSABLE_ENTITY, "id or secret is missing, or a field has another type")
        }
        _ => (StatusCode::BAD_REQUEST, "the body is not JSON"),
    })
}

/// The callback server of one node. Dropping it closes everything; [`Server::close`] also waits for that.
pub(crate) struct Server {
    #[cfg(target_os = "linux")]
    _listener: NotForChildren,
    listener: TcpListener,
    callback: Arc<Callback>,
    connections: JoinSet<()>,
    oldest_first: VecDeque<AbortHandle>,
}

impl Server {
    pub(crate) fn new(listener: TcpListener, callback: Callback) -> Self {
        Self {
            #[cfg(target_os = "linux")]
            _listener: NotForChildren::new(&listener),
            listener,
            callback: Arc::new(callback),
            connections: JoinSet::new(),
            oldest_first: VecDeque::new(),
        }
    }

    /// Serves until it is dropped.
    pub(crate) async fn run(&mut self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => self.serve(stream, peer),
                Err(error) if is_peer_gone(&error) => {}
                Err(error) => {
                    log!(Warn, "http", "the callback server cannot accept connections: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&mut self, stream: TcpStream, peer: SocketAddr) {
        while self.connections.try_join_next().is_some() {}
        self.oldest_first.retain(|connection| !connection.is_finished());
        if self.oldest_first.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            oldest.abort();
        }
        // Answers are a few bytes: waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        let callback = Arc::clone(&self.callback);
        let service = service_fn(move |request| {
            let callback = Arc::clone(&callback);
            async move { Ok::<_, Infallible>(route(&callback, request).await) }
        });
        let connection = self.connections.spawn(async move {
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(READ_TIMEOUT)
                // A peer that has sent all it will send still wants its answer.
                .half_close(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                log!(Debug, "http", "connection from {peer} ended: {error}");
            }
        });
        self.oldest_first.push_back(connection);
    }

    /// Frees the port and ends every connection.
    pub(crate) async fn close(mut self) {
        // A forked child may hold copies of the listening socket; closing ours alone would leave the port
        // taken. Not every system knows this for listening sockets; there the drop has to do.
        let _ = socket2::SockRef::from(&self.listener).shutdown(Shutdown::Both);
        drop(self.listener);
        self.connections.shutdown().await;
    }
}

fn is_peer_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
