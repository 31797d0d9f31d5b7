//! The body of a registration callback: how it is received and parsed.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body, Buf as _, Bytes};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A peer has this long to send a request's header, and the same time again to send its body.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A longer body is refused. DDS lists domains in it, so it may be much longer than a secret.
pub(crate) const MAX_BODY: usize = 256 * 1024;

/// The status that a callback is refused with, and the reason. A reason never repeats what was sent.
pub(super) type Refusal = (StatusCode, &'static str);

/// The body of DDS's callback, with texts of type `T` and other values of type `V`. Unknown fields are ignored.
#[derive(Deserialize)]
pub struct CallbackBody<T, V> {
    /// The node's id.
    pub id: T,
    /// The node secret.
    pub secret: T,
    /// The organization that the node belongs to.
    pub organization_id: Option<T>,
    /// Lighthouses in the node's domains; not used here.
    pub lighthouses_in_domains: Option<V>,
    /// The node's domains; not used here.
    pub domains: Option<V>,
}

/// The body of DDS's callback. Unknown fields are ignored.
pub type RegistrationCallbackRequest = CallbackBody<String, serde_json::Value>;

/// The same without copies of what is not used.
pub(super) type BorrowedBody<'a> = CallbackBody<Text<'a>, IgnoredAny>;

/// A JSON string, borrowed if it has no escapes. In an `Option`, serde would always copy a `Cow`.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl fmt::Debug for RegistrationCallbackRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationCallbackRequest")
            .field("id", &self.id)
            .field("secret", &"[redacted]")
            .field("organization_id", &self.organization_id)
            .finish_non_exhaustive()
    }
}

/// Receives the whole body.
pub(super) async fn read<B: Body>(body: B) -> Result<Bytes, Refusal> {
    let mut reading = pin!(collect(body));
    // A body that arrived together with its header needs no timer.
    let read = match poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await {
        Poll::Ready(read) => read,
        Poll::Pending => tokio::time::timeout(READ_TIMEOUT, reading)
            .await
            .map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the body took too long"))?,
    };
    read.ok_or((StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or broke off"))
}

/// Receives a body of at most [`MAX_BODY`] bytes. Usually it is a single piece, which is not copied.
async fn collect<B: Body>(body: B) -> Option<Bytes> {
    let mut body = pin!(body);
    let mut whole = Vec::new();
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        // Trailers are ignored.
        let Ok(mut data) = frame.ok()?.into_data() else { continue };
        let length = data.remaining();
        if whole.len() + length > MAX_BODY {
            return None;
        }
        let piece = data.copy_to_bytes(length);
        if whole.is_empty() && body.is_end_stream() {
            return Some(piece);
        }
        whole.extend_from_slice(&piece);
    }
    Some(whole.into())
}

/// Invalid JSON is refused with 400, and JSON of another shape with 422, as by axum's own extractor, whose messages
/// however quote the body.
pub(super) fn parse(body: &[u8]) -> Result<BorrowedBody<'_>, Refusal> {
    const NO_JSON: Refusal = (StatusCode::BAD_REQUEST, "the body is not JSON");
    const NO_OBJECT: Refusal =
        (StatusCode::UNPROCESSABLE_ENTITY, "the body is a JSON array; expected an object");
    // JSON is UTF-8 (RFC 8259, 8.1). Checking the whole body costs less than checking each string.
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
