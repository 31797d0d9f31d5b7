//! Resolves host names with the system's resolver, on threads of the library's own.

use std::io;
use std::net::ToSocketAddrs as _;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::blocking::{MAX_THREADS, blocking};
use crate::process;

/// The look-ups of a process: not on all threads at a time, so that a name server that does not answer holds
/// up no file.
pub(crate) struct Lookups(Arc<Semaphore>);

impl Default for Lookups {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_THREADS - 1)))
    }
}

/// `getaddrinfo`, for the HTTP client.
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Lookups(turns) = &process::current().lookups;
        let turns = Arc::clone(turns);
        Box::pin(async move {
            let turn = turns.acquire_owned().await?;
            let look_up = move || {
                // Given back when the look-up ends, which may be long after its request was given up.
                let _turn = turn;
                Ok((name.as_str(), 0).to_socket_addrs())
            };
            let addresses: io::Result<_> = blocking(look_up).await?;
            Ok(Box::new(addresses?) as Addrs)
        })
    }
}
