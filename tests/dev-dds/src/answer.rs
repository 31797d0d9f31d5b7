//! HTTP answers.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

pub(crate) type Answer = Response<Full<Bytes>>;

pub(crate) fn raw(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(crate) fn empty() -> Answer {
    Response::default()
}

pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    raw(status, "text/plain; charset=utf-8", body)
}

pub(crate) fn json(value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).expect("values of this crate are JSON");
    raw(StatusCode::OK, "application/json", body)
}
