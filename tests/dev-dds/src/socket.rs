//! Faults that an HTTP server cannot produce. They write to the socket directly.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fault::Fault;

const HALF_BODY: &[u8] = b"HTTP/1.1 200 OK\r\n\
    content-type: application/json\r\n\
    content-length: 1000\r\n\
    \r\n\
    {\"nonce\":\"half";

const NOT_HTTP: &[u8] = b"\x00\xFFthis is not HTTP\r\n\r\n";

/// The first chunk begins a JSON string that never ends, so no parser finishes early.
const ENDLESS_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\
    content-type: application/json\r\n\
    transfer-encoding: chunked\r\n\
    \r\n\
    1\r\n\"\r\n";

// Limits, so that a client without any does not run out of memory.
const ENDLESS_CHUNK: usize = 64 * 1024;
const ENDLESS_CHUNKS: usize = 1024;
const ENDLESS_TIME: Duration = Duration::from_secs(30);

/// A fault of the connection. For hyper, it is the error that the service returned.
#[derive(Debug)]
pub(crate) struct SocketFault(pub(crate) Fault);

impl SocketFault {
    /// The status that the client receives, if any.
    pub(crate) fn status(&self) -> Option<u16> {
        matches!(self.0, Fault::HalfBody | Fault::EndlessBody).then_some(200)
    }

    /// Applies the fault. It is not an error if the client disconnects.
    pub(crate) async fn play(&self, mut stream: TcpStream) {
        let _ = match self.0 {
            // Without lingering, closing the socket sends RST instead of FIN.
            Fault::Reset => stream.set_zero_linger(),
            Fault::HalfBody => stream.write_all(HALF_BODY).await,
            Fault::NotHttp => stream.write_all(NOT_HTTP).await,
            Fault::EndlessBody => timeout(ENDLESS_TIME, endless_body(&mut stream)).await.unwrap_or(Ok(())),
            _ => until_client_disconnects(&mut stream).await,
        };
    }
}

impl fmt::Display for SocketFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault: {}", self.0.name())
    }
}

impl std::error::Error for SocketFault {}

async fn endless_body(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(ENDLESS_HEAD).await?;
    let size = format!("{ENDLESS_CHUNK:x}\r\n").into_bytes();
    let chunk = [size, vec![b'a'; ENDLESS_CHUNK], b"\r\n".to_vec()].concat();
    for _ in 0..ENDLESS_CHUNKS {
        stream.write_all(&chunk).await?;
    }
    Ok(())
}

async fn until_client_disconnects(stream: &mut TcpStream) -> io::Result<()> {
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}
