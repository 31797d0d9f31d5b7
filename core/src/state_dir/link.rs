//! A follower's connection to its leader.

use std::time::Duration;

use tokio::io::{ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::connection::Connection;
use super::directory::Directory;
use super::frame::{FrameReader, Hello, VERSION};
use super::record_file::MAX_RECORD;
use super::socket::Connected;
use crate::error::{Error, ErrorCode, Result};
use crate::fork::CloseOnFork;

/// How long to wait for the hello of a leader. A stopped one (SIGSTOP) sends none.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Link {
    _close_on_fork: CloseOnFork,
    pub(super) frames: FrameReader<ReadHalf<Connected>>,
    pub(super) writer: WriteHalf<Connected>,
    /// The leader's version of the protocol. From a leader with another version, only the end of the connection has a
    /// meaning.
    pub(super) version: u8,
}

impl Link {
    /// Connects to the leader, and exchanges hellos.
    pub(super) async fn open(directory: &Directory) -> Result<Self> {
        let failed = |error: std::io::Error| {
            let path = directory.path().display();
            let message = format!("state_dir {path}: cannot reach the leader: {error}");
            Error::new(ErrorCode::Io, message).with_os_error(&error)
        };
        let greeted = timeout(PATIENCE, async {
            let connection = Connection::open(directory).await?;
            let Connection { close_on_fork, reader, mut writer } = connection;
            Hello(VERSION).encode().write(&mut writer).await?;
            let mut frames = FrameReader::new(reader, 1 + MAX_RECORD);
            let Hello(version) = Hello::decode(&frames.next().await?)?;
            Ok::<_, std::io::Error>(Self { _close_on_fork: close_on_fork, frames, writer, version })
        });
        match greeted.await {
            Ok(greeted) => greeted.map_err(failed),
            Err(_) => Err(failed(std::io::Error::other("it does not respond"))),
        }
    }
}
