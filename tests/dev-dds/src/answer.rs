//! HTTP answers.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::patch;

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
    let body = serde_json::to_vec(value).expect("the values of this crate are JSON");
    raw(StatusCode::OK, "application/json", body)
}

/// Applies a patch to the JSON object of a successful answer. An empty body counts as an empty object.
pub(crate) async fn patched(answer: Answer, fields: &Map<String, Value>) -> Answer {
    if !answer.status().is_success() {
        return answer;
    }
    let Ok(body) = answer.into_body().collect().await;
    let mut object = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    patch::apply(fields, &mut object);
    json(&object)
}
