//! TLS for a node's own server: handshakes, and certificates that are replaced while it runs.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::service::Service;
use super::tls_files::{TlsFiles, Version};
use super::warnings::Warnings;
use crate::blocking::{Blocking, blocking};
use crate::config::Settings;
use crate::error::Result;
use crate::foreign::foreign;
use crate::log::log;

/// Connections that arrive this soon after a look at the files do not look again.
const FRESH: Duration = Duration::from_secs(1);
/// How long a handshake waits for a slow disk. After that, it uses what was read before.
const PATIENCE: Duration = Duration::from_secs(1);
/// The first byte of a TLS record with a handshake message (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// To a client that speaks HTTP without TLS.
const NO_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 32\r\n\r\nthis port expects TLS: use https";

/// The stream of a new connection. None if there is none, because the TLS handshake has failed.
pub(super) async fn open(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    peer: SocketAddr,
    service: Arc<Service>,
) -> Option<Transport> {
    match tls {
        None => Some(Transport::Plain(stream)),
        // Boxed, because a connection without TLS has no use for the space.
        Some(tls) => Box::pin(tls.accept(stream, peer, service.warnings())).await,
    }
}

/// The server's certificate and key, from files that are read again when they have changed.
///
/// No timer looks at them: a connection does.
pub(crate) struct Tls {
    files: Arc<TlsFiles>,
    current: ArcSwap<ServerConfig>,
    reload: Mutex<Reload>,
}

struct Reload {
    /// Of the files that are in use.
    version: Arc<Version>,
    checked: Instant,
    /// A look at the files that has not ended. There is one at a time, so that a disk that hangs holds one thread.
    running: Option<Blocking<Seen>>,
    /// Why the files cannot be used, if that has been logged.
    warned: Option<String>,
}

/// What a look at the files has found.
enum Seen {
    Unchanged,
    Changed(Version, Result<Arc<ServerConfig>>),
}

impl Tls {
    /// Reads the files. None for a server without TLS.
    pub(crate) fn load(settings: &Settings) -> Result<Option<Self>> {
        let Some(files) = TlsFiles::of(settings) else { return Ok(None) };
        // Before they are read: a later change is then noticed.
        let version = Arc::new(files.version());
        let current = ArcSwap::new(files.load()?);
        let reload = Reload { version, checked: Instant::now(), running: None, warned: None };
        Ok(Some(Self { files: Arc::new(files), current, reload: Mutex::new(reload) }))
    }

    /// Makes a TLS connection of this one. None, with a record in the log, if the peer does not speak TLS, or ends the
    /// handshake.
    async fn accept(&self, stream: TcpStream, peer: SocketAddr, warnings: &Warnings) -> Option<Transport> {
        let error = match self.handshake(stream).await {
            Ok(stream) => return Some(Transport::Tls(Box::new(stream))),
            Err(error) => error,
        };
        // Load balancers open connections only to see that the port is open.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            log!(Debug, "http", "connection from {peer} ended before its TLS handshake");
        } else {
            let error = foreign(error);
            warnings.write("tls", format_args!("TLS handshake with {} failed: {error}", peer.ip()));
        }
        None
    }

    async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first != [HANDSHAKE] {
            explain(stream).await?;
            return Err(io::Error::other("the peer does not speak TLS"));
        }
        let _ = timeout(PATIENCE, self.refresh()).await;
        TlsAcceptor::from(self.current.load_full()).accept(stream).await
    }

    /// Reads the files again if they have changed.
    async fn refresh(&self) {
        let mut reload = self.reload.lock().await;
        if reload.running.is_none() {
            if reload.checked.elapsed() < FRESH {
                return;
            }
            let (files, known) = (Arc::clone(&self.files), Arc::clone(&reload.version));
            reload.running = Some(blocking(move || Ok(look(&files, &known))));
        }
        let running = reload.running.as_mut().expect("it was set above");
        // Whoever waits longer than a handshake may, leaves it to the next connection.
        let seen = running.await;
        reload.running = None;
        reload.checked = Instant::now();
        match seen {
            Ok(Seen::Unchanged) => reload.warned = None,
            Ok(Seen::Changed(version, Ok(config))) => {
                self.current.store(config);
                reload.version = Arc::new(version);
                reload.warned = None;
                log!(
                    Info,
                    "http",
                    "the files of callback_tls_cert and callback_tls_key have changed and are in use"
                );
            }
            Ok(Seen::Changed(_, Err(error))) | Err(error) => reload.warn(error.to_string()),
        }
    }
}

impl Reload {
    /// Once for each reason, because every connection looks at the files again.
    fn warn(&mut self, why: String) {
        if self.warned.as_ref() != Some(&why) {
            log!(Warn, "http", "{why}; the former certificate and key stay in use");
            self.warned = Some(why);
        }
    }
}

fn look(files: &TlsFiles, known: &Version) -> Seen {
    let version = files.version();
    if version == *known { Seen::Unchanged } else { Seen::Changed(version, files.load()) }
}

/// Answers a request without TLS, as web servers do. Its sender would otherwise see bytes that are no HTTP.
async fn explain(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(NO_TLS).await?;
    stream.shutdown().await?;
    // Closing with unread data would reset the connection, and the answer could be lost.
    let mut rest = stream.take(64 * 1024);
    let mut discarded = [0; 1024];
    while rest.read(&mut discarded).await? > 0 {}
    Ok(())
}

/// A connection, with TLS or without.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Calls a method of the stream, whichever it is.
macro_rules! delegate {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport {
            Transport::Plain($stream) => $call,
            Transport::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        delegate!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::blocking::{MAX_THREADS, use_pool};
    use crate::config::Config;

    /// The files of a test, and their TLS.
    struct Files(std::path::PathBuf);

    impl Files {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("posemesh-tls-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a directory");
            Self(path)
        }

        /// Writes a new pair, and returns a client that trusts it.
        fn write(&self) -> TlsConnector {
            let pair = rcgen::generate_simple_self_signed(["127.0.0.1".into()]).expect("a pair");
            std::fs::write(self.0.join("tls.crt"), pair.cert.pem()).expect("written");
            std::fs::write(self.0.join("tls.key"), pair.signing_key.serialize_pem()).expect("written");
            let mut roots = RootCertStore::empty();
            roots.add(pair.cert.der().clone()).expect("a certificate");
            let provider = rustls::crypto::ring::default_provider();
            let client = ClientConfig::builder_with_provider(provider.into())
                .with_safe_default_protocol_versions()
                .expect("supported")
                .with_root_certificates(roots)
                .with_no_client_auth();
            Arc::new(client).into()
        }

        fn tls(&self) -> Tls {
            let (cert, key) = (self.0.join("tls.crt"), self.0.join("tls.key"));
            let config = Config::builder()
                .reg_secret("r")
                .secp256k1_privhex("1".repeat(64))
                .capabilities(["/a"])
                .node_version("1.0.0")
                .callback_bind("127.0.0.1:0")
                .callback_tls_cert(cert)
                .callback_tls_key(key)
                .build();
            let settings = config.and_then(|config| config.settings()).expect("good options");
            Tls::load(&settings).expect("good files").expect("with TLS")
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    async fn connect(tls: &Tls, client: &TlsConnector) -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let name = ServerName::from(address.ip());
        let (accepted, connected) =
            tokio::join!(async { tls.handshake(listener.accept().await?.0).await }, async {
                client.connect(name, TcpStream::connect(address).await?).await
            },);
        accepted.and(connected).map(drop)
    }

    #[tokio::test]
    async fn a_disk_that_hangs_delays_handshakes_and_does_not_prevent_them() {
        let _user = use_pool();
        let files = Files::new();
        let client = files.write();
        let tls = tls_that_looks_again(files.tls()).await;
        // As if the disk did not answer: no thread is free to look at the files.
        let hung: Vec<_> = (0..MAX_THREADS)
            .map(|_| {
                let (release, released) = channel::<()>();
                drop(blocking(move || {
                    let _ = released.recv();
                    Ok(())
                }));
                release
            })
            .collect();
        let began = Instant::now();
        let (first, second) = tokio::join!(connect(&tls, &client), connect(&tls, &client));
        first.and(second).expect("the former pair is in use");
        connect(&tls, &client).await.expect("the former pair is in use");
        assert!(began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE * 20);
        assert!(tls.reload.lock().await.running.is_some(), "one look at the files has not ended");
        drop(hung);
        tls.refresh().await;

        let next = files.write();
        let tls = tls_that_looks_again(tls).await;
        connect(&tls, &next).await.expect("the new pair is in use");
        connect(&tls, &client).await.expect_err("the former pair is not trusted");
    }

    /// The last look at the files was long enough ago.
    async fn tls_that_looks_again(tls: Tls) -> Tls {
        tls.reload.lock().await.checked -= FRESH;
        tls
    }
}
