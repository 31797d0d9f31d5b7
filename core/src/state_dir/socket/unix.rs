//! The sockets through which followers reach their leader.
//!
//! | socket | reaches |
//! |---|---|
//! | `leader` in the directory | every process that can use the directory, even in other containers |
//! | an abstract one, named after the directory's device and inode (Linux) | every process of the same network namespace, even while no file can be created (the disk is read-only, full or frozen), after a `chroot`, and after the file was removed |
//!
//! Followers try them in this order. Each end closes the connection if the other end runs as another user.

use std::io;
use std::os::unix::net as std_net;
use std::path::Path;

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Dev, FileType};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};

use super::address;
use super::directory::Directory;
use super::files::FILE_MODE;
use crate::fork::CloseOnFork;

const SOCKET: &str = "leader";
const NEXT_SOCKET: &str = "leader.new";

/// The end of a connection that has accepted it.
pub(super) type Accepted = UnixStream;
/// The end of a connection that has connected.
pub(super) type Connected = UnixStream;

/// Either of them.
pub(super) trait Socket: AsFd + AsyncRead + AsyncWrite {
    /// Refuses a peer that runs as another user.
    fn check_peer(&self, directory: &Directory) -> io::Result<()>;
}

impl Socket for UnixStream {
    fn check_peer(&self, directory: &Directory) -> io::Result<()> {
        let peer = self.peer_cred()?.uid();
        if peer != directory.files().uid() {
            let why = format!("the process at the other end runs as user {peer}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(())
    }
}

/// Whether a socket in the directory can have an address.
pub(super) fn check_address(directory: &Directory) -> io::Result<()> {
    address::path(directory.files(), NEXT_SOCKET).map(drop)
}

/// Connects to the leader.
pub(super) async fn connect(directory: &Directory) -> io::Result<Connected> {
    let files = directory.files();
    let in_directory = async { UnixStream::connect(address::path(files, SOCKET)?).await };
    match (in_directory.await, address::abstract_name(files)) {
        // A leader in this network namespace always has the abstract socket, so the error of the file says more.
        (Err(error), Some(name)) => UnixStream::connect(name).await.map_err(|_| error),
        (connected, _) => connected,
    }
}

/// A listening socket that is not yet part of the runtime.
pub(super) struct Bound {
    close_on_fork: CloseOnFork,
    listener: std_net::UnixListener,
}

impl Bound {
    fn new(path: &Path) -> io::Result<Self> {
        let listener = std_net::UnixListener::bind(path)?;
        let close_on_fork = CloseOnFork::new(&listener);
        listener.set_nonblocking(true)?;
        Ok(Self { close_on_fork, listener })
    }
}

pub(super) struct Listener {
    _close_on_fork: CloseOnFork,
    listener: UnixListener,
}

impl Listener {
    /// Call it within the runtime.
    pub(super) fn new(bound: Bound) -> io::Result<Self> {
        let Bound { close_on_fork, listener } = bound;
        Ok(Self { _close_on_fork: close_on_fork, listener: UnixListener::from_std(listener)? })
    }

    /// Listens on the abstract socket. `None` if this system has none. Call it within the runtime.
    pub(super) fn without_file(directory: &Directory) -> Option<io::Result<Self>> {
        let name = address::abstract_name(directory.files())?;
        Some(
            UnixListener::bind(name)
                .map(|listener| Self { _close_on_fork: CloseOnFork::new(&listener), listener }),
        )
    }

    /// Cancel-safe.
    pub(super) async fn accept(&mut self) -> io::Result<Accepted> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Refuses connections even while a child that was forked by a bare system call holds a copy.
        let _ = SockRef::from(&self.listener).shutdown(std::net::Shutdown::Both);
    }
}

/// The socket in the directory, as a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketFile {
    device: Dev,
    inode: u64,
}

impl SocketFile {
    fn find(directory: impl AsFd, name: &str) -> Option<Self> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
        is_socket.then_some(Self { device: stat.st_dev, inode: stat.st_ino })
    }
}

/// Listens in the directory, in place of a former leader. Does nothing if `present` still has its name. Only the holder
/// of the lock may call it. Blocks on the disk.
pub(super) fn bind_in_directory(
    directory: &Directory,
    present: Option<SocketFile>,
) -> io::Result<Option<(Bound, SocketFile)>> {
    let files = directory.files();
    if present.is_some() && SocketFile::find(files.directory(), SOCKET) == present {
        return Ok(None);
    }
    files.remove(NEXT_SOCKET)?;
    let bound = Bound::new(&address::path(files, NEXT_SOCKET)?)?;
    // Whatever the umask is. Connecting requires write permission.
    rustix::fs::chmodat(files.directory(), NEXT_SOCKET, FILE_MODE, AtFlags::empty())?;
    let file = SocketFile::find(files.directory(), NEXT_SOCKET).ok_or(io::ErrorKind::NotFound)?;
    // The name always refers to a socket that listens, or to nothing.
    files.rename(NEXT_SOCKET, SOCKET)?;
    Ok(Some((bound, file)))
}

/// Removes the socket from the directory. Blocks on the disk.
pub(super) fn remove_from_directory(directory: &Directory, file: SocketFile) {
    if SocketFile::find(directory.files().directory(), SOCKET) == Some(file) {
        let _ = directory.files().remove(SOCKET);
    }
}
