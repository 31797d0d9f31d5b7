//! One connection to a server of a node: how much of a request it has received, and when it has been idle for too
//! long.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::access::Caller;
use super::body::READ_TIMEOUT;
use super::service::Service;
use super::wakes::{hold, relayed};
use crate::log::log;

/// How much of a header, and of responses that the peer does not read, is kept in memory. A longer header is refused
/// with 431.
const MAX_BUFFER: usize = 32 * 1024;

/// Serves the requests of one peer until the connection ends or stalls. `opening` makes a stream of it, or returns `None`
/// if it cannot; a peer has as much time for that as for a request.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    opening: impl Future<Output = Option<S>>,
    peer: SocketAddr,
    caller: Caller,
    service: Arc<Service>,
    progress: Arc<Progress>,
) {
    let progress = &*progress;
    let handler = service_fn(async |request: hyper::Request<Incoming>| {
        if let Some(refusal) = caller.refuse(request.headers(), service.warnings()) {
            return Ok(refusal);
        }
        progress.begin_request(request.body().is_end_stream());
        let response = service.respond(request.map(|body| Arriving { body, progress })).await;
        progress.end_request();
        Ok::<_, Infallible>(response)
    });
    let served = async {
        let Some(stream) = opening.await else { return };
        let served = http1::Builder::new()
            // `progress` takes its place.
            .header_read_timeout(None)
            // A peer that has closed its sending side still expects the response.
            .half_close(true)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(Watched { stream, progress }), handler);
        if let Err(error) = relayed(served).await {
            log!(Debug, "http", "connection from {peer} ended: {error}");
        }
    };
    tokio::select! {
        biased;
        () = served => {}
        () = progress.stalled() => log!(Debug, "http", "connection from {peer} closed: no request received"),
    }
}

/// How much of a request a connection has received. The less it is, the less is lost by closing the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// The peer may not call, whatever it sends.
    Refused = 0,
    /// Nothing of a request has been received.
    Idle = 1,
    /// A part of the header.
    Header = 2,
    /// The header, and a part of the body.
    Body = 3,
    /// The whole request. It is being handled.
    Complete = 4,
    /// The request was handled. The response has not been sent yet.
    Answered = 5,
}

impl Phase {
    /// Whether the connection may be closed to make room: not when DDS may lose the response to a request that
    /// has taken effect.
    pub(super) fn may_be_closed(self) -> bool {
        self < Phase::Complete
    }
}

/// What the server knows about a connection that it may close.
pub(super) struct Progress {
    phase: AtomicU8,
    /// Counts the starts and ends of requests, so it is odd while one is handled.
    ///
    /// It replaces hyper's timeout for headers, which sets a timer for each request and costs a tenth of a callback.
    steps: AtomicU32,
}

impl Progress {
    pub(super) fn new(phase: Phase) -> Self {
        Self { phase: AtomicU8::new(phase as u8), steps: AtomicU32::new(0) }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Refused,
            1 => Phase::Idle,
            2 => Phase::Header,
            3 => Phase::Body,
            4 => Phase::Complete,
            _ => Phase::Answered,
        }
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn replace_phase(&self, from: Phase, to: Phase) {
        // Only the connection's own task writes it.
        if self.phase() == from {
            self.set_phase(to);
        }
    }

    fn begin_request(&self, is_complete: bool) {
        self.step();
        self.set_phase(if is_complete { Phase::Complete } else { Phase::Body });
    }

    fn end_request(&self) {
        self.step();
        self.set_phase(Phase::Answered);
    }

    fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns when no request has begun or been handled for at least [`READ_TIMEOUT`] and at most twice as long.
    async fn stalled(&self) {
        let mut before = self.steps.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(READ_TIMEOUT).await;
            let now = self.steps.load(Ordering::Relaxed);
            if now == before && now.is_multiple_of(2) {
                return;
            }
            before = now;
        }
    }
}

/// A stream that records when bytes of a request arrive, and when all responses have been sent.
struct Watched<'a, S> {
    stream: S,
    progress: &'a Progress,
}

impl<S> Watched<'_, S> {
    /// A peer that has left so many responses unread that no more fit is not waiting for one.
    fn note_write(&self, written: &Poll<io::Result<usize>>) {
        if written.is_pending() {
            self.progress.replace_phase(Phase::Answered, Phase::Idle);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.progress.replace_phase(Phase::Idle, Phase::Header);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_write(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper calls this when its own buffer is empty.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.progress.replace_phase(Phase::Answered, Phase::Idle);
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A body that records when all of it has been received.
struct Arriving<'a> {
    body: Incoming,
    progress: &'a Progress,
}

impl Body for Arriving<'_> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let (frame, woke) = hold(|| Pin::new(&mut self.body).poll_frame(context));
        if matches!(frame, Poll::Ready(None)) || frame.is_ready() && self.body.is_end_stream() {
            self.progress.set_phase(Phase::Complete);
        } else if woke {
            // There is room for the next piece.
            context.waker().wake_by_ref();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::routes::Callback;
    use crate::state::store::Store;
    use std::future::{pending, poll_fn, ready};
    use std::pin::pin;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{Instant, timeout};

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_not_idle_while_its_request_is_handled() {
        let progress = Progress::new(Phase::Idle);
        progress.step();
        assert!(timeout(READ_TIMEOUT * 10, progress.stalled()).await.is_err());
        progress.step();
        let answered = Instant::now();
        progress.stalled().await;
        assert!(answered.elapsed() >= READ_TIMEOUT && answered.elapsed() < READ_TIMEOUT * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_restarts_the_idle_timeout() {
        let progress = Progress::new(Phase::Idle);
        let mut stalled = pin!(progress.stalled());
        assert!(timeout(READ_TIMEOUT / 2, stalled.as_mut()).await.is_err());
        progress.step();
        progress.step();
        assert!(timeout(READ_TIMEOUT, stalled.as_mut()).await.is_err());
        assert!(timeout(READ_TIMEOUT, stalled).await.is_ok());
    }

    /// A connection to a server without a registration, on a paused clock, and the future that serves it.
    fn connect() -> (DuplexStream, impl Future<Output = ()>) {
        let (peer, stream) = duplex(64 * 1024);
        let callback = Callback::new(Arc::new(Store::default()), None, None);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let caller = Caller::new(address.ip(), &Arc::default());
        (
            peer,
            serve(
                ready(Some(stream)),
                address,
                caller,
                Arc::new(callback.into()),
                Progress::new(Phase::Idle).into(),
            ),
        )
    }

    /// Sends the first bytes at once and the others one by one, a twentieth of the timeout apart, until the server closes
    /// the connection. Returns what the server sent.
    async fn send_slowly(request: &str, at_once: usize) -> String {
        let (peer, served) = connect();
        let (mut receiver, mut sender) = tokio::io::split(peer);
        let send = async {
            let (first, rest) = request.as_bytes().split_at(at_once);
            sender.write_all(first).await.expect("the server reads");
            for byte in rest {
                tokio::time::sleep(READ_TIMEOUT / 20).await;
                if sender.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
            panic!("the connection was not closed");
        };
        let mut received = String::new();
        let ((), (), read) = tokio::join!(served, send, receiver.read_to_string(&mut received));
        read.expect("text");
        received
    }

    /// How often a connection is polled for a request, until the response is there.
    async fn polls_for(request: &str) -> u32 {
        let (mut peer, served) = connect();
        let polls = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&polls);
        let mut served = Box::pin(served);
        tokio::spawn(poll_fn(move |context| {
            counter.fetch_add(1, Ordering::Relaxed);
            served.as_mut().poll(context)
        }));
        // It is polled once before the request is there.
        tokio::task::yield_now().await;
        peer.write_all(request.as_bytes()).await.expect("it is open");
        assert_ne!(peer.read(&mut [0; 1024]).await.expect("a response"), 0);
        // Whatever else woke it has been done then.
        tokio::time::sleep(Duration::from_millis(1)).await;
        polls.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_arrives_whole_causes_no_wake_up() {
        let json = r#"{"id":"a","secret":"b"}"#;
        let post = |length: usize| {
            format!(
                "POST /internal/v1/registrations HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n{json}{}",
                " ".repeat(length - json.len())
            )
        };
        let probe = polls_for("GET /health HTTP/1.1\r\nhost: node\r\n\r\n").await;
        assert_eq!(polls_for(&post(json.len())).await, probe);
        // In several pieces it does, and all of them arrive.
        assert!(polls_for(&post(40_000)).await > probe);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_senders_are_disconnected() {
        let padding = "x".repeat(200);
        let header = format!(
            "POST /internal/v1/registrations HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\n\
             x-padding: {padding}\r\ncontent-length: 300\r\n\r\n"
        );
        let request = format!("{header}{{\"id\":\"{}\"}}", "x".repeat(291));
        assert_eq!(send_slowly(&request, 0).await, "", "no request");
        assert_eq!(send_slowly(&request, 20).await, "", "a part of the header");
        let answer = send_slowly(&request, header.len() + 1).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_stalls_ends_as_a_connection_without_a_request() {
        let callback = Callback::new(Arc::new(Store::default()), None, None);
        let service = Arc::new(callback.into());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let caller = Caller::new(address.ip(), &Arc::default());
        let began = Instant::now();
        let handshake = pending::<Option<DuplexStream>>();
        serve(handshake, address, caller, service, Progress::new(Phase::Idle).into()).await;
        assert!(began.elapsed() >= READ_TIMEOUT && began.elapsed() < READ_TIMEOUT * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_active_connection_stays_open_and_an_idle_one_is_closed() {
        let (mut peer, served) = connect();
        let client = async {
            for _ in 0..10 {
                peer.write_all(b"GET /health HTTP/1.1\r\nhost: node\r\n\r\n").await.expect("it is open");
                let mut answer = [0; 15];
                peer.read_exact(&mut answer).await.expect("an answer");
                assert_eq!(&answer, b"HTTP/1.1 200 OK");
                while !answer.ends_with(b"\r\n\r\n") {
                    answer.rotate_left(1);
                    answer[14] = peer.read_u8().await.expect("the rest of the header");
                }
                tokio::time::sleep(READ_TIMEOUT / 2).await;
            }
            let idle = Instant::now();
            assert_eq!(peer.read(&mut [0]).await.expect("closed"), 0);
            assert!(idle.elapsed() < READ_TIMEOUT * 2);
        };
        tokio::join!(served, client);
    }
}
