//! The listener that needs no file, where the system has such a one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::directory::Directory;
use super::or_pending::or_pending;
use super::socket::{Accepted, Listener};
use crate::log::log;

/// The pauses between tries to take the name, which a process that has just died may hold for a moment. Each is twice as
/// long as the one before. After the longest one, the next try comes with the next write.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Fileless {
    directory: Arc<Directory>,
    listener: Option<Listener>,
    pause: Duration,
    bind_at: Option<Instant>,
}

impl Fileless {
    /// Listens from now on, if it can. Call it within the runtime.
    pub(super) fn begin(directory: &Arc<Directory>) -> Self {
        let mut fileless =
            Self { directory: Arc::clone(directory), listener: None, pause: MIN_PAUSE, bind_at: None };
        fileless.check();
        fileless
    }

    /// Tries again, if it does not listen.
    pub(super) fn check(&mut self) {
        if self.listener.is_none() && self.bind_at.is_none() {
            self.pause = MIN_PAUSE;
            self.bind();
        }
    }

    fn bind(&mut self) {
        self.bind_at = None;
        match Listener::without_file(&self.directory) {
            None => {}
            Some(Ok(listener)) => self.listener = Some(listener),
            Some(Err(_)) if self.pause <= MAX_PAUSE => {
                self.bind_at = Some(Instant::now() + self.pause);
                self.pause *= 2;
            }
            Some(Err(error)) => log!(Debug, "state", "cannot listen beside the state directory: {error}"),
        }
    }

    /// The next connection, if `accepts`. Cancel-safe.
    pub(super) async fn next(&mut self, accepts: bool) -> io::Result<Accepted> {
        loop {
            tokio::select! {
                socket = or_pending(self.listener.as_mut().map(Listener::accept)), if accepts => return socket,
                () = or_pending(self.bind_at.map(sleep_until)) => self.bind(),
            }
        }
    }
}
