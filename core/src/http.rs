//! The callback server: where DDS sends the node secret and probes the node's health.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
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
use hyper_util::rt::TokioIo;
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
/// A peer has this long to send a request's header, and again for its body; between two requests at most twice
/// this long. It also ends idle connections.
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

/// With which status a callback is refused, and why. The reasons never repeat what was sent.
type Refusal = (StatusCode, &'static str);

/// Takes the callback, or says why not.
async fn receive<B>(callback: &Callback, request: Request<B>) -> Result<(), Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(is_json) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected content-type application/json"));
    }
    let body = read(request.into_body()).await?;
    let Call { id: Text(id), secret: Text(secret), .. } = parse(&body)?;
    if id.trim().is_empty() {
        return Err((StatusCode::UNPROCESSABLE_ENTITY, "id is missing or blank"));
    }
    if secret.trim().is_empty() {
        return Err((StatusCode::UNPROCESSABLE_ENTITY, "secret is missing or blank"));
    }
    if secret.len() > MAX_SECRET {
        return Err((StatusCode::FORBIDDEN, "the secret is over 4096 bytes"));
    }
    if callback.node_id.as_ref().is_some_and(|ours| !id.eq_ignore_ascii_case(ours)) {
        return Err((StatusCode::FORBIDDEN, "id is not the node that the registration credentials name"));
    }
    let length = secret.len();
    match callback.store.accept_secret(callback.policy, Secret::new(secret)) {
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

async fn read<B>(body: B) -> Result<Bytes, Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut reading = pin!(Limited::new(body, MAX_BODY).collect());
    // A body that came together with its header needs no timer.
    let read = match poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await {
        Poll::Ready(read) => read,
        Poll::Pending => tokio::time::timeout(READ_TIMEOUT, reading)
            .await
            .map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the body took too long"))?,
    };
    let read = read.map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or broke off"))?;
    Ok(read.to_bytes())
}

fn is_json(content_type: &str) -> bool {
    if content_type == "application/json" {
        return true;
    }
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let Some((main, sub)) = media_type.split_once('/') else { return false };
    let suffix = sub.rsplit_once('+').map_or(sub, |(_, suffix)| suffix);
    main.eq_ignore_ascii_case("application") && suffix.eq_ignore_ascii_case("json")
}

/// [`RegistrationCallbackRequest`] as it stands in the body: only what is used is copied out of it.
#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    secret: Text<'a>,
    #[serde(borrow, rename = "organization_id")]
    _organization_id: Option<Text<'a>>,
    #[serde(rename = "lighthouses_in_domains")]
    _lighthouses_in_domains: Option<IgnoredAny>,
    #[serde(rename = "domains")]
    _domains: Option<IgnoredAny>,
}

/// Borrowed where JSON has it without escapes, in an `Option` as well.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Bad JSON is 400, JSON of another shape 422, as axum's own extractor has it; but its texts quote the body.
fn parse(body: &[u8]) -> Result<Call<'_>, Refusal> {
    const NO_JSON: Refusal = (StatusCode::BAD_REQUEST, "the body is not JSON");
    // JSON is UTF-8 (RFC 8259, 8.1); to check the whole costs less than to check each text.
    let body = str::from_utf8(body).map_err(|_| NO_JSON)?;
    serde_json::from_str(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            (StatusCode::UNPROCESSABLE_ENTITY, "id or secret is missing, or a field has another type")
        }
        _ => NO_JSON,
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
        let connection = self.connections.spawn(async move {
            let progress = Progress::default();
            let service = service_fn(async |request| {
                progress.step();
                let response = route(&callback, request).await;
                progress.step();
                Ok::<_, Infallible>(response)
            });
            let served = http1::Builder::new()
                // In its place stands `progress`.
                .header_read_timeout(None)
                // A peer that has sent all it will send still wants its answer.
                .half_close(true)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                biased;
                served = served => if let Err(error) = served {
                    log!(Debug, "http", "connection from {peer} ended: {error}");
                },
                () = progress.stalled() => log!(Debug, "http", "connection from {peer} closed: no request came"),
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

/// Counts the beginnings and ends of a connection's requests: odd while one is handled.
///
/// In place of hyper's timeout for headers, which sets a timer for each request: that costs a tenth of a callback.
#[derive(Default)]
struct Progress(AtomicU32);

impl Progress {
    fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns when the next request has not begun for a whole [`READ_TIMEOUT`].
    async fn stalled(&self) {
        let mut before = self.0.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(READ_TIMEOUT).await;
            let now = self.0.load(Ordering::Relaxed);
            if now == before && now.is_multiple_of(2) {
                return;
            }
            before = now;
        }
    }
}

fn is_peer_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, timeout};

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_handled_is_no_silence() {
        let progress = Progress::default();
        progress.step();
        assert!(timeout(READ_TIMEOUT * 10, progress.stalled()).await.is_err());
        progress.step();
        let answered = Instant::now();
        progress.stalled().await;
        assert!(answered.elapsed() >= READ_TIMEOUT && answered.elapsed() < READ_TIMEOUT * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_between_is_no_silence() {
        let progress = Progress::default();
        let mut stalled = pin!(progress.stalled());
        assert!(timeout(READ_TIMEOUT / 2, stalled.as_mut()).await.is_err());
        progress.step();
        progress.step();
        assert!(timeout(READ_TIMEOUT, stalled.as_mut()).await.is_err());
        assert!(timeout(READ_TIMEOUT, stalled).await.is_ok());
    }
}
