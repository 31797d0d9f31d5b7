//! Resolves host names with the system's resolver, on the library's own threads.

use std::io;
use std::net::ToSocketAddrs as _;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

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

/// `getaddrinfo`, for the HTTP client.
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Lookups(permits) = LOOKUPS.get();
        let permits = Arc::clone(permits);
        Box::pin(async move {
            let permit = permits.acquire_owned().await?;
            let look_up = move || {
                // Released when the look-up ends, which may be long after its request was cancelled.
                let _permit = permit;
                Ok((name.as_str(), 0).to_socket_addrs())
            };
            let addresses: io::Result<_> = blocking(look_up).await?;
            Ok(Box::new(addresses?) as Addrs)
        })
    }
}
