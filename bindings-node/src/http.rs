//! Requests of the host's web server and the responses to them, in core's types and as JavaScript values.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use hyper::Request;
use hyper::body::{Body as _, Bytes};
use hyper::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use napi::bindgen_prelude::Either;
use napi_derive::napi;
use posemesh_node_registration::bindings::{self, Response};

use crate::error::{Failure, outcome};

/// The response to a request of DDS.
#[napi(object, object_from_js = false)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body, which is text.
    pub body: String,
}

impl From<Response> for HttpResponse {
    fn from(response: Response) -> Self {
        let (head, body) = response.into_parts();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let header = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), text(value.as_bytes()));
        // A `Full` has its whole body from the start, in one frame.
        let body = match pin!(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            _ => Bytes::new(),
        };
        Self {
            status: head.status.as_u16(),
            headers: head.headers.iter().map(header).collect(),
            body: text(&body),
        }
    }
}

/// Whether a request is for this library. Its path has no query, and not the prefix at which the host has the routes.
#[napi]
pub fn is_ours(path: String, user_agent: Option<String>) -> bool {
    let mut headers = HeaderMap::new();
    headers.extend(user_agent.and_then(|agent| header_value(&agent)).map(|agent| (USER_AGENT, agent)));
    with_headers("GET", &path, headers, Bytes::new())
        .is_some_and(|request| bindings::respond_without_node(&request, "").is_some())
}

/// The response to a request while there is no node. `null`: the request is not for this library. `headers` has names and
/// values by turns.
#[napi(ts_return_type = "HttpResponse | null | Failure")]
pub fn respond_without_node(
    method: String,
    path: String,
    headers: Vec<String>,
) -> Either<Option<HttpResponse>, Failure> {
    outcome(|| {
        let request = request(&method, &path, &headers, &[]);
        let response = request.and_then(|request| bindings::respond_without_node(&request, NOT_STARTED));
        Ok(response.map(HttpResponse::from))
    })
}

const NOT_STARTED: &str = "the node has not started yet";

/// A request of the host's web server; `headers` has names and values by turns. `None` if HTTP has no such request, which
/// is then not for this library.
pub(crate) fn request(method: &str, path: &str, headers: &[String], body: &[u8]) -> Option<Request<Bytes>> {
    with_headers(method, path, header_map(headers), Bytes::copy_from_slice(body))
}

fn with_headers(method: &str, path: &str, headers: HeaderMap, body: Bytes) -> Option<Request<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).body(body).ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

/// Headers that are not valid in HTTP/1.1, such as `:path` of HTTP/2, are left out, and so is what the map cannot hold:
/// more than some 24,000.
fn header_map(headers: &[String]) -> HeaderMap {
    let (pairs, _) = headers.as_chunks::<2>();
    let mut map = HeaderMap::new();
    for [name, value] in pairs {
        if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), header_value(value)) {
            let _ = map.try_append(name, value);
        }
    }
    map
}

/// Node.js decodes each byte of a value as one character.
fn header_value(value: &str) -> Option<HeaderValue> {
    let bytes: Option<Vec<u8>> = value.chars().map(|character| u8::try_from(character).ok()).collect();
    HeaderValue::from_maybe_shared(Bytes::from(bytes?)).ok()
}
