//! What the operators of a node call: whether it is alive, whether it is ready, and its metrics.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::routes::Response;
use super::warnings::Warnings;
use crate::metrics::{CONTENT_TYPE as METRICS, Metrics};
use crate::readiness::Readiness;
use crate::state::store::Store;

const TEXT: &str = "text/plain; charset=utf-8";

/// The node that is served.
pub(crate) struct Admin {
    store: Arc<Store>,
    pub(super) warnings: Warnings,
}

/// What can be asked for.
#[derive(Clone, Copy)]
enum Page {
    /// The node's task has sent this response, so it is alive.
    Alive,
    Ready,
    Metrics,
}

impl Admin {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, warnings: Warnings::default() }
    }

    pub(super) fn respond<B>(&self, request: &Request<B>) -> Response {
        let page = match request.uri().path() {
            "/livez" => Page::Alive,
            "/readyz" => Page::Ready,
            "/metrics" => Page::Metrics,
            _ => return respond(StatusCode::NOT_FOUND, TEXT, "try /livez, /readyz or /metrics\n"),
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
            return response;
        }
        match page {
            Page::Alive => respond(StatusCode::OK, TEXT, "alive\n"),
            Page::Ready => self.ready(request.uri().query().unwrap_or_default()),
            Page::Metrics => respond(StatusCode::OK, METRICS, Metrics::of(&self.store).text()),
        }
    }

    fn ready(&self, query: &str) -> Response {
        let Some(needs_secret) = needs_secret(query) else {
            return respond(StatusCode::BAD_REQUEST, TEXT, "expected secret=1 or secret=0\n");
        };
        let readiness = Readiness::of(&self.store, needs_secret);
        let code = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        respond(code, TEXT, format!("{}\n", readiness.summary()))
    }
}

/// Whether the query asks for the secret too. `None` if it is not clear: to answer *ready* would be wrong then.
fn needs_secret(query: &str) -> Option<bool> {
    let mut needs_secret = false;
    for part in query.split('&') {
        match part.split_once('=').unwrap_or((part, "")) {
            ("secret", "1") => needs_secret = true,
            ("secret", "0") => needs_secret = false,
            ("secret", _) => return None,
            _ => {}
        }
    }
    Some(needs_secret)
}

fn respond(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_asks_for_the_secret_or_is_refused() {
        for (query, expected) in [
            ("", Some(false)),
            ("verbose", Some(false)),
            ("secret=0", Some(false)),
            ("secret=1", Some(true)),
            ("verbose&secret=1&x=y", Some(true)),
            ("secret", None),
            ("secret=", None),
            ("secret=true", None),
        ] {
            assert_eq!(needs_secret(query), expected, "{query}");
        }
    }
}
