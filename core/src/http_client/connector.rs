//! Opens connections to DDS: directly or through a proxy, with TLS or without.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::header::{HeaderValue, USER_AGENT};
use hyper::http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{HeaderMap, Uri};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{self, Connected, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::error::{BoxError, TimedOut};
use crate::dns::SystemResolver;
use crate::fork::CloseOnFork;

/// The `User-Agent` of every request.
pub(super) const PRODUCT: HeaderValue =
    HeaderValue::from_static(concat!("posemesh-node/", env!("CARGO_PKG_VERSION")));

/// For name resolution, TCP, the proxy and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may be silent before TCP probes it.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);
const TCP_KEEPALIVE_RETRIES: u32 = 3;
/// How long a peer may leave data unacknowledged.
#[cfg(any(target_os = "android", target_os = "linux"))]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Cloning it is cheap.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector<SystemResolver>,
    tls: TlsConnector,
    /// `None`: no proxy is used.
    proxies: Option<Arc<Matcher>>,
    /// Connections live long, so forked children close their copies.
    close_on_fork: bool,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Connection, BoxError>> + Send>>;

impl Connector {
    pub(super) fn new(tls: Arc<ClientConfig>, proxies: Option<Arc<Matcher>>) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(SystemResolver);
        // TLS is added here.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        tcp.set_keepalive_interval(Some(TCP_KEEPALIVE));
        tcp.set_keepalive_retries(Some(TCP_KEEPALIVE_RETRIES));
        #[cfg(any(target_os = "android", target_os = "linux"))]
        tcp.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
        Self { tcp, tls: tls.into(), proxies, close_on_fork: false }
    }

    /// For connections that stay open.
    #[cfg(feature = "state-url")]
    pub(super) fn for_long_connections(self) -> Self {
        Self { close_on_fork: true, ..self }
    }

    async fn connect(self, to: Uri) -> Result<Connection, BoxError> {
        let Some(proxy) = self.proxies.as_ref().and_then(|proxies| proxies.intercept(&to)) else {
            return self.reach(to).await;
        };
        let tls = self.tls.clone();
        let connection = self.reach_through(&proxy, &to).await.map_err(ProxyFailed)?;
        if to.scheme() == Some(&Scheme::HTTPS) {
            encrypt(&tls, &to, connection).await
        } else {
            Ok(connection)
        }
    }

    /// Connects to a proxy, and for `https` through it.
    async fn reach_through(self, proxy: &Intercept, to: &Uri) -> Result<Connection, BoxError> {
        if to.scheme() != Some(&Scheme::HTTPS) {
            let connection = self.reach(proxy.uri().clone()).await?;
            return Ok(Connection { is_proxied: true, ..connection });
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), ToProxy(self))
            .with_headers(HeaderMap::from_iter([(USER_AGENT, PRODUCT)]));
        if let Some(credentials) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(credentials.clone());
        }
        Ok(tunnel.call(to.clone()).await?)
    }

    /// Connects to this host, without a proxy.
    async fn reach(mut self, to: Uri) -> Result<Connection, BoxError> {
        let tcp = self.tcp.call(to.clone()).await?;
        let local = tcp.inner().local_addr().ok().map(LocalAddress);
        let close_on_fork = self.close_on_fork.then(|| CloseOnFork::new(tcp.inner()));
        let connection =
            Connection { _close_on_fork: close_on_fork, stream: Box::new(tcp), local, is_proxied: false };
        if to.scheme() == Some(&Scheme::HTTPS) {
            encrypt(&self.tls, &to, connection).await
        } else {
            Ok(connection)
        }
    }
}

/// Makes a TLS connection to the host of this URI out of a connection.
async fn encrypt(tls: &TlsConnector, to: &Uri, connection: Connection) -> Result<Connection, BoxError> {
    let Connection { local, is_proxied, .. } = connection;
    // The brackets of an IPv6 address belong to the URI.
    let host = to.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned())?;
    let tls = tls.connect(name, TokioIo::new(connection)).await?;
    // What is encrypted has the mark for forked children.
    Ok(Connection { _close_on_fork: None, stream: Box::new(TokioIo::new(tls)), local, is_proxied })
}

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Connecting {
        let connecting = timeout(CONNECT_TIMEOUT, self.clone().connect(to));
        Box::pin(async { connecting.await.unwrap_or_else(|_| Err(TimedOut.into())) })
    }
}

/// The proxy could not be reached, or refused to connect.
#[derive(Debug)]
pub(crate) struct ProxyFailed(BoxError);

impl fmt::Display for ProxyFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the proxy failed")
    }
}

impl Error for ProxyFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// Connects a tunnel to its proxy.
struct ToProxy(Connector);

impl Service<Uri> for ToProxy {
    type Response = Connection;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, proxy: Uri) -> Connecting {
        Box::pin(self.0.clone().reach(proxy))
    }
}

/// This end of a connection. It identifies the connection, and is in the extensions of every response on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalAddress(pub(super) SocketAddr);

/// An open connection: TCP, TLS, or TLS through a tunnel.
pub(super) struct Connection {
    // Dropped before the socket is closed.
    _close_on_fork: Option<CloseOnFork>,
    stream: Box<dyn Stream>,
    local: Option<LocalAddress>,
    /// The peer is a proxy that expects the whole URL in each request.
    is_proxied: bool,
}

trait Stream: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin> Stream for T {}

impl connect::Connection for Connection {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.is_proxied);
        match self.local {
            Some(local) => connected.extra(local),
            None => connected,
        }
    }
}

impl Read for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Connection {
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

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }
}
