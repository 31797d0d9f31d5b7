//! Listens for followers, as long as this process leads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;
use super::directory::Directory;
use super::followers::{Followers, Records};
use super::listeners::Listeners;
use super::or_pending::or_pending;
use super::socket::Accepted;
use crate::log::log;
use crate::state::record::Owner;
use crate::state::store::Store;

/// The pause after `accept` has failed, for example because the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Acceptor {
    directory: Arc<Directory>,
    followers: Followers,
    settlements: watch::Receiver<u64>,
    listeners: Listeners,
    accept_at: Option<Instant>,
}

impl Acceptor {
    /// Listens from now on. Followers wait until [`Acceptor::run`] accepts them. Call it within the runtime, and only
    /// while this process holds the lock.
    pub(super) fn begin(directory: &Arc<Directory>, owner: &Owner, store: &Arc<Store>) -> Self {
        let records = Records::new(owner.clone(), Arc::clone(store));
        Self {
            directory: Arc::clone(directory),
            followers: Followers::new(records),
            settlements: store.settlements(),
            listeners: Listeners::begin(directory),
            accept_at: None,
        }
    }

    /// Accepts followers. Never returns.
    pub(super) async fn run(&mut self) {
        loop {
            let full_until = self.followers.full_until();
            let accepts = full_until.is_none() && self.accept_at.is_none();
            tokio::select! {
                socket = self.listeners.next(accepts) => self.admit(socket),
                // The outcome of a write shows whether the directory is writable.
                _ = self.settlements.changed() => self.listeners.check(),
                () = or_pending(self.accept_at.map(sleep_until)) => self.accept_at = None,
                () = or_pending(full_until.map(sleep_until)) => self.followers.end_oldest_greeting(),
                () = self.followers.left() => {}
            }
        }
    }

    fn admit(&mut self, socket: io::Result<Accepted>) {
        match socket {
            Ok(socket) => match Connection::new(socket, &self.directory) {
                Ok(connection) => self.followers.add(connection),
                Err(error) => log!(Debug, "state", "a connection was refused: {error}"),
            },
            Err(error) => {
                log!(Debug, "state", "cannot accept a follower at present: {error}");
                self.followers.end_oldest_greeting();
                self.accept_at = Some(Instant::now() + ACCEPT_PAUSE);
                self.listeners.check();
            }
        }
    }

    /// Removes what the directory has of the listeners. Must finish before the lock is released.
    pub(super) async fn remove_socket(&mut self) {
        self.listeners.remove().await;
    }
}
