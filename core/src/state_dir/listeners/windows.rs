//! What a leader listens on: the pipe.

use std::io;
use std::sync::Arc;

use super::directory::Directory;
use super::fileless::Fileless;
use super::socket::Accepted;

pub(super) struct Listeners {
    pipe: Fileless,
}

impl Listeners {
    /// Listens from now on. Call it within the runtime.
    pub(super) fn begin(directory: &Arc<Directory>) -> Self {
        Self { pipe: Fileless::begin(directory) }
    }

    /// Creates the pipe, if that has failed.
    pub(super) fn check(&mut self) {
        self.pipe.check();
    }

    /// The next connection, if `accepts`. Cancel-safe.
    pub(super) async fn next(&mut self, accepts: bool) -> io::Result<Accepted> {
        self.pipe.next(accepts).await
    }

    /// Nothing is left of a pipe.
    pub(super) async fn remove(&mut self) {}
}
