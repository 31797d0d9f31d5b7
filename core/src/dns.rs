//! Resolves host names with the system's resolver, on the library's own threads.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower_service::Service;

use crate::blocking::{MAX_THREADS, blocking};
use crate::fork::PerProcess;

static LOOKUPS: PerProcess<Lookups> = PerProcess::new();

/// Permits for the look-ups of a process. There is one fewer than there are threads, so a name server that does
/// not respond cannot delay work on files.
struct Lookups(Arc<Semaphore>);

impl Default for Lookups {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_THREADS - 1)))
    }
}

/// The addresses of a host, which may be an address itself.
#[cfg(feature = "state-url")]
pub(crate) async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<std::net::IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let name = host.parse::<Name>().map_err(io::Error::other)?;
    let addresses = SystemResolver.call(name).await?;
    Ok(addresses.map(|address| SocketAddr::new(address.ip(), port)).collect())
}

/// `getaddrinfo`, for the HTTP client.
#[derive(Clone)]
pub(crate) struct SystemResolver;

type Addresses = vec::IntoIter<SocketAddr>;

impl Service<Name> for SystemResolver {
    type Response = Addresses;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Addresses>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Lookups(permits) = LOOKUPS.get();
        let permits = Arc::clone(permits);
        Box::pin(async move {
            let permit = permits.acquire_owned().await.map_err(io::Error::other)?;
            let look_up = move || {
                // Released when the look-up ends, which may be long after its request was cancelled.
                let _permit = permit;
                Ok((name.as_str(), 0).to_socket_addrs())
            };
            blocking(look_up).await.map_err(io::Error::other)?
        })
    }
}
