//! What a leader listens on: the socket in the directory, and the one that needs no file.

use std::io;
use std::sync::Arc;

use super::directory::Directory;
use super::fileless::Fileless;
use super::or_pending::or_pending;
use super::socket::{self, Accepted, Bound, Listener, SocketFile};
use crate::blocking::{Blocking, blocking};
use crate::error::{Error, ErrorCode, Result};
use crate::log::log;

pub(super) struct Listeners {
    directory: Arc<Directory>,
    in_directory: Option<(Listener, SocketFile)>,
    /// The socket in the directory, while it is being bound.
    binding: Option<Blocking<Option<(Bound, SocketFile)>>>,
    binding_fails: bool,
    fileless: Fileless,
}

impl Listeners {
    /// Listens from now on. Call it within the runtime.
    pub(super) fn begin(directory: &Arc<Directory>) -> Self {
        let mut listeners = Self {
            directory: Arc::clone(directory),
            in_directory: None,
            binding: None,
            binding_fails: false,
            fileless: Fileless::begin(directory),
        };
        listeners.check();
        listeners
    }

    /// Binds the sockets that are not bound, or that were removed from the directory.
    pub(super) fn check(&mut self) {
        self.fileless.check();
        if self.binding.is_none() {
            let directory = Arc::clone(&self.directory);
            let present = self.in_directory.as_ref().map(|(_, file)| *file);
            self.binding = Some(blocking(move || {
                socket::bind_in_directory(&directory, present).map_err(|error| {
                    let path = directory.path().display();
                    Error::new(ErrorCode::Io, format!("state_dir {path}: cannot make its socket: {error}"))
                })
            }));
        }
    }

    fn finish_binding(&mut self, bound: Result<Option<(Bound, SocketFile)>>) {
        let bound = bound.and_then(|bound| {
            let listener = bound.map(|(bound, file)| Listener::new(bound).map(|listener| (listener, file)));
            listener.transpose().map_err(|error| Error::new(ErrorCode::Io, error.to_string()))
        });
        match bound {
            Ok(None) => self.binding_fails = false,
            Ok(in_directory) => (self.in_directory, self.binding_fails) = (in_directory, false),
            // Every write is followed by another try. `persistence_error` shows a full or read-only disk.
            Err(error) => {
                if !self.binding_fails {
                    log!(Debug, "state", "{error}");
                }
                self.binding_fails = true;
            }
        }
    }

    /// The next connection, if `accepts`. Cancel-safe.
    pub(super) async fn next(&mut self, accepts: bool) -> io::Result<Accepted> {
        loop {
            let in_directory = self.in_directory.as_mut().map(|(listener, _)| listener.accept());
            tokio::select! {
                socket = or_pending(in_directory), if accepts => return socket,
                socket = self.fileless.next(accepts) => {
                    // This follower could not use the socket in the directory.
                    self.check();
                    return socket;
                }
                bound = or_pending(self.binding.as_mut()) => {
                    self.binding = None;
                    self.finish_binding(bound);
                }
            }
        }
    }

    /// Removes the socket from the directory. Must finish before the lock is released.
    pub(super) async fn remove(&mut self) {
        if let Some((_, file)) = self.in_directory {
            let directory = Arc::clone(&self.directory);
            let _ = blocking(move || {
                socket::remove_from_directory(&directory, file);
                Ok(())
            })
            .await;
        }
    }
}
