//! What DDS calls: which requests are accepted, and what is answered.

use std::borrow::Cow;
use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::warnings::Warnings;
use crate::config::CallbackPolicy;
use crate::log::log;
use crate::secret::Secret;
use crate::state::registration::Acceptance;
use crate::state::store::Store;

const REGISTRATIONS_PATH: &str = "/internal/v1/registrations";
const HEALTH_PATH: &str = "/health";

/// A peer has this long to send the header of a request, and again to send its body. A connection on which no request
/// begins is closed after at most twice this long.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A longer secret is refused.
const MAX_SECRET: usize = 4096;
/// A longer callback body is refused. DDS lists domains in it, so it may be much longer than a secret.
const MAX_BODY: usize = 256 * 1024;

/// Where callbacks go, and which are accepted.
pub(crate) struct Callback {
    store: Arc<Store>,
    /// Without one, every callback is accepted at any time.
    policy: Option<CallbackPolicy>,
    /// The only node id to accept callbacks for, in lowercase; without one, any id.
    node_id: Option<String>,
    pub(super) warnings: Warnings,
}

impl Callback {
    pub(crate) fn new(store: Arc<Store>, policy: Option<CallbackPolicy>, node_id: Option<String>) -> Self {
        Self { store, policy, node_id, warnings: Warnings::default() }
    }
}

pub(crate) type Response = hyper::Response<Full<Bytes>>;

/// The routes as an axum router.
pub(super) fn router(callback: Callback) -> Router {
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
pub(crate) async fn route<B>(callback: &Callback, request: Request<B>) -> Response
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
            let code_number = code.as_u16();
            callback
                .warnings
                .write(why, format_args!("registration callback refused with {code_number}: {why}"));
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
    check_text(&id, "id is blank", "id contains a NUL character")?;
    check_text(&secret, "secret is blank", "secret contains a NUL character")?;
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
        Acceptance::Another => {
            return Err((StatusCode::FORBIDDEN, "this registration already has another secret"));
        }
        Acceptance::NotWaiting(why) => return Err((StatusCode::CONFLICT, why)),
    }
    // After the answer DDS does not send it again.
    callback.store.settled().await;
    Ok(())
}

/// A C program reads a text up to its first NUL, so it would read another one.
fn check_text(text: &str, blank: &'static str, nul: &'static str) -> Result<(), Refusal> {
    let why = if text.trim().is_empty() {
        blank
    } else if text.contains('\0') {
        nul
    } else {
        return Ok(());
    };
    Err((StatusCode::UNPROCESSABLE_ENTITY, why))
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
    const NO_OBJECT: Refusal =
        (StatusCode::UNPROCESSABLE_ENTITY, "the body is a JSON array; expected an object");
    // JSON is UTF-8 (RFC 8259, 8.1); to check the whole costs less than to check each text.
    let body = str::from_utf8(body).map_err(|_| NO_JSON)?;
    // serde reads an array as the fields of a struct in their order.
    if body.trim_start().starts_with('[') {
        return Err(NO_OBJECT);
    }
    serde_json::from_str(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            (StatusCode::UNPROCESSABLE_ENTITY, "id or secret is missing, or a field has another type")
        }
        _ => NO_JSON,
    })
}
