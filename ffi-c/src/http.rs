//! Requests of DDS in your own web server

#![expect(unsafe_code, reason = "exports by name")]

use std::ffi::c_char;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use posemesh_node_registration::Result;
use posemesh_node_registration::axum::body::{Bytes, HttpBody as _};
use posemesh_node_registration::axum::http::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use posemesh_node_registration::axum::http::{HeaderValue, Request};
use posemesh_node_registration::bindings::{NodeExt as _, Response, respond_without_node};

use crate::boundary::{Texts, borrow, c_bytes, guard, items, read_sized, write_sized};
use crate::error::{found, pmn_result};
use crate::node::{pmn_node, timeout};

/// The longest body of a request that the library accepts, in bytes. A longer one gets 413, so a server need not keep
/// more than one byte beyond it.
pub const PMN_MAX_CALLBACK_BODY: usize = 262_144;

/// A header of a request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct pmn_http_header {
    /// In upper or lower case.
    pub name: *const c_char,
    /// Without the spaces around it.
    pub value: *const c_char,
}

/// A request that has reached your web server.
///
/// Later versions may add fields at the end; `size` tells the library which ones your header has.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct pmn_http_request {
    /// Set this to sizeof(pmn_http_request).
    pub size: usize,
    /// Such as "POST".
    pub method: *const c_char,
    /// The path, without a prefix under which you have the library's routes. A query after it is ignored.
    pub path: *const c_char,
    /// `header_count` headers. The library reads Content-Type and User-Agent.
    pub headers: *const pmn_http_header,
    /// The number of headers.
    pub header_count: usize,
    /// The whole body, or at least its first PMN_MAX_CALLBACK_BODY + 1 bytes.
    pub body: *const u8,
    /// The number of bytes at `body`.
    pub body_length: usize,
}

/// What to respond.
///
/// Later versions may add fields at the end; `size` tells the library which ones your header has. The texts belong to
/// the library, are NUL-terminated, and stay valid for the life of the process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct pmn_http_response {
    /// Set this to sizeof(pmn_http_response) before the call.
    pub size: usize,
    /// The status code, such as 200.
    pub status: u32,
    /// The value of the header Retry-After, in seconds; 0 = no such header.
    pub retry_after_s: u32,
    /// The value of the header Content-Type; NULL = no such header.
    pub content_type: *const c_char,
    /// The value of the header Allow; NULL = no such header.
    pub allow: *const c_char,
    /// The body: never NULL, and "" for none.
    pub body: *const c_char,
    /// The number of bytes at `body` without the NUL.
    pub body_length: usize,
}

/// Handles a request that has reached your own web server, if it is one of DDS for this library. Then your server
/// sends what `*response` says; `callback_bind` is not needed.
///
/// For the library are POST /internal/v1/registrations, and GET and HEAD /health if the User-Agent begins with "DDS v";
/// a slash may follow the path. For every other request, also for /health from others, this returns
/// PMN_ERR_NOT_FOUND: continue with your own routes. Pass all requests, or at least those with these paths. The first
/// call, for whatever request, tells the node that DDS may call it: from then on pmn_node_wait() waits for a secret.
///
/// On PMN_OK the library has filled `*response`, also if it refuses the request: 403, 405, 409, 413, 415 and so on as
/// the callback server does, and 503 after a stop. The secret of an accepted request is available before this returns.
///
/// Usually does not block. With a `state_dir` or `state_url`, it blocks until the secret is stored, and in a follower until the
/// leader has decided, but at most `timeout_ms` (or PMN_NO_TIMEOUT); do not call it on the thread of an event loop
/// then. PMN_ERR_TIMEOUT: respond with 503, and DDS tries again. PMN_ERR_FORKED in a forked child: as well. Works
/// inside a callback. `node`, `request`, `response` and the texts must not be NULL; `headers` and `body` may be if
/// their number is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pmn_node_handle_request(
    node: *mut pmn_node,
    request: *const pmn_http_request,
    timeout_ms: u32,
    response: *mut pmn_http_response,
) -> pmn_result {
    guard(None, || {
        let node = borrow!(node)?;
        let sent = read_sized!(request, size_of::<pmn_http_request>())?;
        let request = sent.head()?;
        let body = sent.body()?;
        write_sized!(response, size_of::<pmn_http_response>(), |size, place| {
            node.0.expect_callbacks()?;
            let request =
                found(request.filter(|request| respond_without_node(request, "").is_some()), NOT_OURS)?;
            // What is beyond the limit makes no difference.
            let body = Bytes::copy_from_slice(&body[..body.len().min(PMN_MAX_CALLBACK_BODY + 1)]);
            let timeout = timeout(timeout_ms).unwrap_or(Duration::MAX);
            let handled = node.0.handle_within(request.map(|_| body), timeout)?;
            place.write(pmn_http_response::new(size, found(handled, NOT_OURS)?));
            Ok(())
        })
    })
}

const NOT_OURS: &str = "the request is not for this library; continue with your own routes";

impl pmn_http_request {
    /// The request without its body. `None` if it is not one that the library could know.
    fn head(&self) -> Result<Option<Request<Bytes>>> {
        let Self { method, path, headers, header_count, .. } = *self;
        let mut request = Request::builder().method(c_bytes!(method)?).uri(c_bytes!(path)?);
        for &pmn_http_header { name, value } in items!(headers, header_count)? {
            let (name, value) = (c_bytes!(name)?, c_bytes!(value)?);
            // The library's own headers have none that this would skip.
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                request = request.header(name, value);
            }
        }
        Ok(request.body(Bytes::new()).ok())
    }

    fn body(&self) -> Result<&[u8]> {
        let Self { body, body_length, .. } = *self;
        items!(body, body_length)
    }
}

/// The texts of responses: a few, which a program reads as long as it likes.
static TEXTS: Texts<64> = Texts::new();

impl pmn_http_response {
    fn new(size: usize, response: Response) -> Self {
        let (head, mut body) = response.into_parts();
        // It is there from the start, in one piece.
        let body = match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            _ => Bytes::new(),
        };
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let text = |name| header(name).map_or(ptr::null(), |value| TEXTS.keep(value.as_bytes()).as_ptr());
        let body = TEXTS.keep(&body);
        Self {
            size,
            status: head.status.as_u16().into(),
            retry_after_s: header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok()).unwrap_or(0),
            content_type: text(CONTENT_TYPE),
            allow: text(ALLOW),
            body: body.as_ptr(),
            body_length: body.count_bytes(),
        }
    }
}
