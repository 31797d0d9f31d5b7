//! The routes that DDS calls: which requests are accepted, and the responses.

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode};

use super::body::{Refusal, Text, parse, read};
use super::warnings::Warnings;
use crate::config::{CallbackPath, CallbackPolicy, REGISTRATIONS_PATH};
use crate::log::log;
use crate::metrics::counters::CallbackOutcome;
use crate::secret::Secret;
use crate::state::registration::Acceptance;
use crate::state::store::Store;

const HEALTH_PATH: &str = "/health";
/// The path of each route.
pub(crate) const PATHS: [&str; 2] = [REGISTRATIONS_PATH, HEALTH_PATH];

/// A longer secret is refused.
const MAX_SECRET: usize = 4096;
/// How many seconds DDS shall wait before it calls again, when nobody can accept a callback at present.
const RETRY_AFTER_SECS: u16 = 5;

/// The store that callbacks change, and which callbacks are accepted.
pub(crate) struct Callback {
    pub(super) store: Arc<Store>,
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

/// A response to DDS.
pub type Response = hyper::Response<Full<Bytes>>;

/// The routes as an axum router.
pub(super) fn router(callback: Callback) -> Router {
    let post_registration = |State(callback): State<Arc<Callback>>, request: axum::extract::Request| async move {
        registration(&callback, request).await.map(axum::body::Body::new)
    };
    let get_health = |State(callback): State<Arc<Callback>>, headers: HeaderMap| async move {
        health(&callback, &headers).await.map(axum::body::Body::new)
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
    match Route::at(path) {
        Some(route) => respond_on(route, callback, request).await,
        None => status(StatusCode::NOT_FOUND),
    }
}

/// The response where there is no node that could handle the request. `None` for a request that is not for this library.
pub(crate) fn respond_without_node<B>(request: &Request<B>, why: impl Into<Bytes>) -> Option<Response> {
    let route = Route::of_dds(request)?;
    Some(route.refuse_method(request.method()).unwrap_or_else(|| unavailable(why)))
}

/// A path of this library.
#[derive(Clone, Copy)]
pub(super) enum Route {
    Registration,
    Health,
}

impl Route {
    fn at(path: &str) -> Option<Self> {
        match path {
            REGISTRATIONS_PATH => Some(Self::Registration),
            HEALTH_PATH => Some(Self::Health),
            _ => None,
        }
    }

    /// The route of a request to a server of the host, which may have a health check of its own. A slash at the end of
    /// the path makes no difference, because frameworks add it.
    pub(super) fn of_dds<B>(request: &Request<B>) -> Option<Self> {
        let path = request.uri().path();
        match Self::at(path.strip_suffix('/').unwrap_or(path))? {
            Self::Health if !is_from_dds(request.headers()) => None,
            route => Some(route),
        }
    }

    /// The response to a method that the route does not have.
    fn refuse_method(self, method: &Method) -> Option<Response> {
        let allowed = match (self, method) {
            (Self::Registration, &Method::POST) | (Self::Health, &Method::GET | &Method::HEAD) => {
                return None;
            }
            (Self::Registration, _) => "POST",
            (Self::Health, _) => "GET,HEAD",
        };
        Some(respond(StatusCode::METHOD_NOT_ALLOWED, "", ALLOW, allowed))
    }
}

pub(super) async fn respond_on<B>(route: Route, callback: &Callback, request: Request<B>) -> Response
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if let Some(refusal) = route.refuse_method(request.method()) {
        return refusal;
    }
    match route {
        Route::Registration => registration(callback, request).await,
        Route::Health => health(callback, request.headers()).await,
    }
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

fn respond(code: StatusCode, body: impl Into<Bytes>, header: HeaderName, value: &'static str) -> Response {
    let mut response = status(code);
    *response.body_mut() = Full::new(body.into());
    response.headers_mut().insert(header, HeaderValue::from_static(value));
    response
}

/// Nobody can handle the request at present.
pub(crate) fn unavailable(why: impl Into<Bytes>) -> Response {
    let text = "text/plain; charset=utf-8";
    let mut response = respond(StatusCode::SERVICE_UNAVAILABLE, why, CONTENT_TYPE, text);
    response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECS.into());
    response
}

fn is_from_dds(headers: &HeaderMap) -> bool {
    let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    user_agent.is_some_and(|agent| agent.starts_with("DDS v"))
}

async fn health(callback: &Callback, headers: &HeaderMap) -> Response {
    if is_from_dds(headers) {
        if let Acceptance::Unavailable(why) = callback.store.receive_probe().await {
            return unavailable(why);
        }
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
            if code == StatusCode::SERVICE_UNAVAILABLE {
                return unavailable(why);
            }
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
    let why = if text.chars().all(char::is_whitespace) {
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
