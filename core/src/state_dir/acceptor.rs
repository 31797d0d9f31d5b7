//! Listens for followers, as long as this process leads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::directory::Directory;
use super::followers::{Followers, Records};
use super::or_pending::or_pending;
use super::socket::{self, Bound, Connection, Listener, SocketFile};
use crate::blocking::{Blocking, blocking};
use crate::error::{Error, ErrorCode, Result};
use crate::log::log;
use crate::state::record::Owner;
use crate::state::store::Store;

/// The pause after `accept` has failed, for example because the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The pauses between tries to bind the abstract socket, which a process that has just died may hold for a moment. Each
/// is twice as long as the one before. After the longest one, the next try comes with the next write.
const MIN_BIND_PAUSE: Duration = Duration::from_millis(1);
const MAX_BIND_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Acceptor {
    directory: Arc<Directory>,
    followers: Followers,
    settlements: watch::Receiver<u64>,
    in_directory: Option<(Listener, SocketFile)>,
    /// The socket in the directory, while it is being bound.
    binding: Option<Blocking<Option<(Bound, SocketFile)>>>,
    binding_fails: bool,
    abstract_socket: Option<Listener>,
    bind_pause: Duration,
    bind_at: Option<Instant>,
    accept_at: Option<Instant>,
}

impl Acceptor {
    /// Listens from now on. Followers wait until [`Acceptor::run`] accepts them. Call it within the runtime, and only
    /// while this process holds the lock.
    pub(super) fn begin(directory: &Arc<Directory>, owner: &Owner, store: &Arc<Store>) -> Self {
        let records = Records::new(owner.clone(), Arc::clone(store));
        let mut acceptor = Self {
            directory: Arc::clone(directory),
            followers: Followers::new(records),
            settlements: store.settlements(),
            in_directory: None,
            binding: None,
            binding_fails: false,
            abstract_socket: None,
            bind_pause: MIN_BIND_PAUSE,
            bind_at: None,
            accept_at: None,
        };
        acceptor.check_sockets();
        acceptor
    }

    /// Accepts followers. Never returns.
    pub(super) async fn run(&mut self) {
        loop {
            let full_until = self.followers.full_until();
            let accepts = full_until.is_none() && self.accept_at.is_none();
            tokio::select! {
                stream = or_pending(self.in_directory.as_ref().map(|(listener, _)| listener.accept())), if accepts => {
                    self.admit(stream);
                }
                stream = or_pending(self.abstract_socket.as_ref().map(Listener::accept)), if accepts => {
                    self.admit(stream);
                    // This follower could not use the socket in the directory.
                    self.check_sockets();
                }
                bound = or_pending(self.binding.as_mut()) => {
                    self.binding = None;
                    self.finish_binding(bound);
                }
                // The outcome of a write shows whether the directory is writable.
                _ = self.settlements.changed() => self.check_sockets(),
                () = or_pending(self.bind_at.map(sleep_until)) => self.bind_abstract(),
                () = or_pending(self.accept_at.map(sleep_until)) => self.accept_at = None,
                () = or_pending(full_until.map(sleep_until)) => self.followers.end_oldest_greeting(),
                () = self.followers.left() => {}
            }
        }
    }

    fn admit(&mut self, stream: io::Result<UnixStream>) {
        match stream {
            Ok(stream) => match Connection::new(stream, &self.directory) {
                Ok(connection) => self.followers.add(connection),
                Err(error) => log!(Debug, "state", "a connection was refused: {error}"),
            },
            Err(error) => {
                log!(Debug, "state", "cannot accept a follower at present: {error}");
                self.followers.end_oldest_greeting();
                self.accept_at = Some(Instant::now() + ACCEPT_PAUSE);
                self.check_sockets();
            }
        }
    }

    /// Binds the sockets that are not bound, or that were removed from the directory.
    fn check_sockets(&mut self) {
        if self.abstract_socket.is_none() && self.bind_at.is_none() {
            self.bind_pause = MIN_BIND_PAUSE;
            self.bind_abstract();
        }
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

    fn bind_abstract(&mut self) {
        self.bind_at = None;
        match socket::bind_abstract(&self.directory).and_then(Listener::new) {
            Ok(listener) => self.abstract_socket = Some(listener),
            Err(_) if self.bind_pause <= MAX_BIND_PAUSE => {
                self.bind_at = Some(Instant::now() + self.bind_pause);
                self.bind_pause *= 2;
            }
            Err(error) => log!(Debug, "state", "cannot listen beside the state directory: {error}"),
        }
    }

    /// Removes the socket from the directory. Must finish before the lock is released.
    pub(super) async fn remove_socket(&mut self) {
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
