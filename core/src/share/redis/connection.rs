//! Opens a connection to a server of the store: TCP, and TLS with the library's own provider.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::failure::Failure;
use crate::config::Server;
use crate::dns;
use crate::fork::CloseOnFork;

/// Shorter than an operation, so that the error says what did not respond.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(1500);

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A socket that forked children close.
struct Socket {
    // Dropped before the socket is closed.
    _close_on_fork: CloseOnFork,
    stream: TcpStream,
}

impl Socket {
    /// Connects to the first address of the server that responds.
    async fn connect(server: &Server) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in dns::look_up(&server.host, server.port).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let close_on_fork = CloseOnFork::new(&stream);
                    stream.set_nodelay(true)?;
                    return Ok(Self { _close_on_fork: close_on_fork, stream });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

pub(super) async fn open(
    server: &Server,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Box<dyn Stream>, Failure> {
    let socket = Socket::connect(server).await.map_err(Failure::Unreachable)?;
    let Some(tls) = tls else { return Ok(Box::new(socket)) };
    let name =
        ServerName::try_from(server.host.clone()).map_err(|error| Failure::Tls(io::Error::other(error)))?;
    // A server without TLS waits for the rest of what it takes for a request.
    let handshake = timeout(HANDSHAKE_TIMEOUT, TlsConnector::from(Arc::clone(tls)).connect(name, socket));
    let no_response = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not respond"));
    Ok(Box::new(handshake.await.unwrap_or_else(no_response).map_err(Failure::Tls)?))
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
