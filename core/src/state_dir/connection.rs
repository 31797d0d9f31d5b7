//! A connection between two processes of one node.

use std::io;

use tokio::io::{ReadHalf, WriteHalf, split};

use super::directory::Directory;
use super::socket::{self, Connected, Socket};
use crate::fork::CloseOnFork;

/// A connection between two processes of one user.
pub(super) struct Connection<S> {
    pub(super) close_on_fork: CloseOnFork,
    pub(super) reader: ReadHalf<S>,
    pub(super) writer: WriteHalf<S>,
}

impl<S: Socket> Connection<S> {
    /// Refuses a peer that runs as another user.
    pub(super) fn new(socket: S, directory: &Directory) -> io::Result<Self> {
        let close_on_fork = CloseOnFork::new(&socket);
        socket.check_peer(directory)?;
        let (reader, writer) = split(socket);
        Ok(Self { close_on_fork, reader, writer })
    }
}

impl Connection<Connected> {
    /// Connects to the leader.
    pub(super) async fn open(directory: &Directory) -> io::Result<Self> {
        Self::new(socket::connect(directory).await?, directory)
    }
}
