//! An answer of DDS. Its body is read in pieces, so that the reader decides how much of it is read.

use std::future::Future;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Bytes};
use hyper::http::response::Parts;
use hyper::{HeaderMap, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::connector::LocalAddress;
use super::error::{BoxError, RequestError};
use super::keep_alive::KeepAlive;

pub(crate) struct Response {
    head: Parts,
    body: UnsyncBoxBody<Bytes, BoxError>,
    /// For the whole answer.
    deadline: Option<Instant>,
    /// Learns that the connection broke, if it may be one that had been used before.
    pub(super) reused: Option<Arc<KeepAlive>>,
    /// The URL that it came from, if the client of a host followed a redirect.
    pub(crate) redirected_to: Option<String>,
}

impl Response {
    pub(super) fn new<B>(response: hyper::Response<B>, deadline: Option<Instant>) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (head, body) = response.into_parts();
        Self {
            head,
            body: body.map_err(Into::into).boxed_unsync(),
            deadline,
            reused: None,
            redirected_to: None,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// This end of the connection that it arrived on.
    pub(super) fn local_address(&self) -> Option<LocalAddress> {
        self.head.extensions.get().copied()
    }

    /// The next piece of the body. `None`: the body is complete.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RequestError> {
        let chunk = self.next_data().await;
        if let (Err(_), Some(keep_alive)) = (&chunk, &self.reused) {
            keep_alive.distrust(std::time::Instant::now());
        }
        chunk
    }

    async fn next_data(&mut self) -> Result<Option<Bytes>, RequestError> {
        loop {
            match within(self.deadline, self.body.frame()).await? {
                None => return Ok(None),
                Some(Err(error)) => return Err(RequestError::Other(error)),
                Some(Ok(frame)) => {
                    // Any other frame holds trailers.
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// Waits for `work` until the deadline, if there is one.
pub(super) async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = T>,
) -> Result<T, RequestError> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.map_err(|_| RequestError::TimedOut),
        None => Ok(work.await),
    }
}
