//! The routes that DDS calls: which requests are accepted, and the responses.

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};

use super::body::{Refusal, Text, parse, read};
use super::warnings::Warnings;
use crate::config::{CallbackPath, CallbackPolicy};
use crate::log::log;
use crate::metrics::counters::CallbackOutcome;
use crate::secret::Secret;
use crate::state::registration::Acceptance;
use crate::state::store::Store;

const REGISTRATIONS_PATH: &str = "/internal/v1/registrations";
const HEALTH_PATH: &str = "/health";

/// A longer secret is refused.
const MAX_SECRET: usize = 4096;

/// The store that callbacks change, and which callbacks are accepted.
pub(crate) struct Callback {
    store: Arc<Store>,
    /// Without one, every callback is accepted at any time.
    policy: Option<CallbackPolicy>,
    /// The only node id to accept callbacks for, in lowercase; without one, any id.
    node_id: Option<String>,
    /// Before the path of each route: empty, or with a slash at its start and none at its end.
    path: Box<str>,
    pub(super) warnings: Warnings,
}

impl Callback {
    pub(crate) fn new(store: Arc<Store>, policy: Option<CallbackPolicy>, node_id: Option<String>) -> Self {
        Self { store, policy, node_id, path: Box::default(), warnings: Warnings::default() }
    }

    /// With the routes under a path.
    pub(crate) fn under(self, path: &CallbackPath) -> Self {
        Self { path: path.as_str().into(), ..self }
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

/// The same routes for a node's own server, which has no others. A router's clones, boxes and layers would cost more
/// than the whole request.
pub(crate) async fn route<B>(callback: &Callback, request: Request<B>) -> Response
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let path = request.uri().path().strip_prefix(&*callback.path).unwrap_or_default();
    match (path, request.method()) {
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

/// Accepts the callback, or returns why it is refused.
async fn receive<B>(callback: &Callback, request: Request<B>) -> Result<(), Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let secret = read_secret(callback, request).await.inspect_err(|(code, _)| {
        callback.store.counters().callbacks.count(match *code {
            StatusCode::FORBIDDEN => CallbackOutcome::Forbidden,
            _ => CallbackOutcome::Malformed,
        });
    })?;
    let length = secret.expose().len();
    // DDS does not send it again after the response, so it must be on the disk before.
    match callback.store.receive_secret(callback.policy, secret).await {
        Acceptance::New(version) => {
            log!(
                Info,
                "http",
                "Received registration callback: a new node secret ({length} bytes, version {version})"
            );
        }
        Acceptance::Same => {
            log!(Info, "http", "Received registration callback: the node secret is unchanged");
        }
        Acceptance::Another => {
            return Err((StatusCode::FORBIDDEN, "this registration already has another secret"));
        }
        Acceptance::NotWaiting(why) => return Err((StatusCode::CONFLICT, why)),
        Acceptance::Unavailable(why) => return Err((StatusCode::SERVICE_UNAVAILABLE, why)),
    }
    Ok(())
}

/// The secret in a callback for this node, or why the callback is refused.
async fn read_secret<B>(callback: &Callback, request: Request<B>) -> Result<Secret, Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(is_json) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected content-type application/json"));
    }
    let body = read(request.into_body()).await?;
    let body = parse(&body)?;
    let (Text(id), Text(secret)) = (body.id, body.secret);
    check_text(&id, "id is blank", "id contains a NUL character")?;
    check_text(&secret, "secret is blank", "secret contains a NUL character")?;
    if secret.len() > MAX_SECRET {
        return Err((StatusCode::FORBIDDEN, "the secret is over 4096 bytes"));
    }
    if callback.node_id.as_ref().is_some_and(|ours| !id.eq_ignore_ascii_case(ours)) {
        return Err((StatusCode::FORBIDDEN, "id is not the node that the registration credentials name"));
    }
    Ok(Secret::new(secret))
}

/// A C program would read a text with a NUL only up to there.
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

fn is_json(content_type: &str) -> bool {
    if content_type == "application/json" {
        return true;
    }
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let Some((main, sub)) = media_type.split_once('/') else { return false };
    let suffix = sub.rsplit_once('+').map_or(sub, |(_, suffix)| suffix);
    main.eq_ignore_ascii_case("application") && suffix.eq_ignore_ascii_case("json")
}
