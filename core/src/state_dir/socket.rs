//! The sockets through which followers reach their leader.
//!
//! | socket | reaches |
//! |---|---|
//! | `leader` in the directory | every process that can use the directory, even in other containers |
//! | an abstract one, named after the directory's device and inode (Linux) | every process of the same network namespace, even while no file can be created (the disk is read-only, full or frozen), after a `chroot`, and after the file was removed |
//!
//! Followers try them in this order. Each end closes the connection if the other end runs as another user.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net as std_net;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use super::directory::{Directory, FILE_MODE};
use crate::fork::CloseOnFork;

const SOCKET: &str = "leader";
const NEXT_SOCKET: &str = "leader.new";

/// A connection between two processes of one user.
pub(super) struct Connection {
    pub(super) close_on_fork: CloseOnFork,
    pub(super) reader: OwnedReadHalf,
    pub(super) writer: OwnedWriteHalf,
}

impl Connection {
    /// Refuses a peer that runs as another user than the owner of the directory.
    pub(super) fn new(stream: UnixStream, directory: &Directory) -> io::Result<Self> {
        let close_on_fork = CloseOnFork::new(&stream);
        let peer = stream.peer_cred()?.uid();
        if peer != directory.uid() {
            let why = format!("the process at the other end runs as user {peer}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let (reader, writer) = stream.into_split();
        Ok(Self { close_on_fork, reader, writer })
    }
}

/// Connects to the leader.
pub(super) async fn connect(directory: &Directory) -> io::Result<Connection> {
    let stream = match UnixStream::connect(path(directory, SOCKET)).await {
        Ok(stream) => stream,
        // A leader in this network namespace always has the abstract socket, so the error of the file says more.
        Err(error) => UnixStream::connect(abstract_path(directory)).await.map_err(|_| error)?,
    };
    Connection::new(stream, directory)
}

/// A listening socket that is not yet part of the runtime.
pub(super) struct Bound {
    close_on_fork: CloseOnFork,
    listener: std_net::UnixListener,
}

impl Bound {
    fn new(listener: std_net::UnixListener) -> io::Result<Self> {
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

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
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
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn find(directory: &Directory, name: &str) -> Option<Self> {
        let stat: Stat = rustix::fs::statat(directory.file(), name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
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
    if present.is_some() && SocketFile::find(directory, SOCKET) == present {
        return Ok(None);
    }
    let directory_file = directory.file();
    match rustix::fs::unlinkat(directory_file, NEXT_SOCKET, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let bound = Bound::new(std_net::UnixListener::bind(path(directory, NEXT_SOCKET))?)?;
    // Whatever the umask is. Connecting requires write permission.
    rustix::fs::chmodat(directory_file, NEXT_SOCKET, FILE_MODE, AtFlags::empty())?;
    let file = SocketFile::find(directory, NEXT_SOCKET).ok_or(io::ErrorKind::NotFound)?;
    // The name always refers to a socket that listens, or to nothing.
    rustix::fs::renameat(directory_file, NEXT_SOCKET, directory_file, SOCKET)?;
    Ok(Some((bound, file)))
}

/// Removes the socket from the directory. Blocks on the disk.
pub(super) fn remove_from_directory(directory: &Directory, file: SocketFile) {
    if SocketFile::find(directory, SOCKET) == Some(file) {
        let _ = rustix::fs::unlinkat(directory.file(), SOCKET, AtFlags::empty());
    }
}

/// Listens on the abstract socket.
pub(super) fn bind_abstract(directory: &Directory) -> io::Result<Bound> {
    let address = std_net::SocketAddr::from_abstract_name(abstract_name(directory))?;
    Bound::new(std_net::UnixListener::bind_addr(&address)?)
}

fn abstract_name(directory: &Directory) -> String {
    let (device, inode) = directory.identity();
    format!("posemesh-node-state/{device:x}/{inode:x}")
}

/// The abstract name in the form that tokio expects.
fn abstract_path(directory: &Directory) -> PathBuf {
    format!("\0{}", abstract_name(directory)).into()
}

/// A short path to a file of the directory, even after the directory was renamed. Not `self`, which is the main thread
/// and may have ended.
fn path(directory: &Directory, name: &str) -> PathBuf {
    format!("/proc/thread-self/fd/{}/{name}", directory.file().as_raw_fd()).into()
}
