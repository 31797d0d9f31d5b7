//! A state directory: who may use it, and access to its files.
//!
//! Every access goes through the directory's own file descriptor, so it reaches the same directory after a rename or a
//! `chroot`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::filesystem::remote_kind;
use super::lock::{self, Lock};
use crate::error::{Error, ErrorCode, Result};
use crate::fork::{CloseOnFork, Generation, PerProcess};

/// The file with the record.
pub(super) const RECORD: &str = "state";

const DIRECTORY_MODE: u32 = 0o700;
pub(super) const FILE_MODE: Mode = Mode::from_raw_mode(0o600);

pub(crate) struct Directory {
    path: PathBuf,
    /// The user who owns it. Only processes of this user may use it.
    uid: u32,
    /// Device and inode.
    identity: (u64, u64),
    /// The revision of the last record written. An older one must not replace it.
    pub(super) written: Mutex<u64>,
    generation: Generation,
    /// Taken only by `drop`.
    open: Option<Open>,
}

struct Open {
    _close_on_fork: CloseOnFork,
    directory: OwnedFd,
    /// Released after the lock.
    _claim: Claim,
}

impl Directory {
    /// Opens the directory. Creates it if only the last part of its path is missing.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let refused = |what: &str| Error::invalid_config(format!("state_dir {shown}: {what}"));
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Error::new(ErrorCode::Io, format!("state_dir {shown}: {what}: {error}"))
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::open(path, flags, Mode::empty());
        let opened = match open() {
            Err(Errno::NOENT) => {
                make(path).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => {
                        refused("its parent directory does not exist; create that one first")
                    }
                    _ => failed("cannot be created", &error),
                })?;
                open()
            }
            opened => opened,
        };
        let directory = fs::File::from(opened.map_err(|error| match error {
            Errno::NOTDIR => refused("is not a directory"),
            error => failed("cannot be opened", &io::Error::from(error)),
        })?);
        let close_on_fork = CloseOnFork::new(&directory);
        let metadata = directory.metadata().map_err(|error| failed("cannot be examined", &error))?;
        check_owner(metadata.uid(), metadata.mode(), "chmod 700").map_err(|why| {
            refused(&format!(
                "{why}, or name a subdirectory that does not exist yet (it is created with mode 700)"
            ))
        })?;
        if let Some(kind) = remote_kind(&directory, &metadata) {
            return Err(refused(&format!(
                "is on {kind}, where a lock does not exclude the processes of other machines; name a directory \
                 on a disk of this machine"
            )));
        }
        let identity = (metadata.dev(), metadata.ino());
        // Used in messages: where it was at the start.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let claim = Claim::new(identity, &path)?;
        let opened = Self {
            path,
            uid: metadata.uid(),
            identity,
            written: Mutex::default(),
            generation: Generation::current(),
            open: Some(Open { _close_on_fork: close_on_fork, directory: directory.into(), _claim: claim }),
        };
        opened.check_file(RECORD)?;
        Ok(opened)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    pub(super) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.open.as_ref().expect("only drop takes it").directory.as_fd()
    }

    fn shown(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    pub(super) fn failed(&self, what: &str, name: &str, error: impl Into<io::Error>) -> Error {
        let error: io::Error = error.into();
        Error::new(ErrorCode::Io, format!("state_dir: cannot {what} {}: {error}", self.shown(name)))
            .with_os_error(&error)
    }

    /// Refuses an existing file that other users could have read or written.
    fn check_file(&self, name: &str) -> Result<()> {
        let refused = |what: &str| Error::invalid_config(format!("state_dir: {} {what}", self.shown(name)));
        match rustix::fs::statat(self.file(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                Err(refused("is not a regular file; remove it"))
            }
            Ok(stat) => check_owner(stat.st_uid, stat.st_mode, "chmod 600").map_err(|why| refused(&why)),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed("examine", name, error)),
        }
    }

    pub(super) fn open_file(&self, name: &str, flags: OFlags) -> io::Result<fs::File> {
        // Without NONBLOCK, opening a named pipe in place of a file would block for ever.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        Ok(rustix::fs::openat(self.file(), name, flags, FILE_MODE)?.into())
    }

    /// Takes the lock if it is free. A second call of the holder changes nothing.
    pub(crate) fn try_lock(&self) -> Result<Lock> {
        lock::try_lock(self.file()).map_err(|error| {
            Error::invalid_config(format!(
                "state_dir {}: locks do not work there ({error}); name a directory on a disk of this machine",
                self.path.display()
            ))
        })
    }

    pub(crate) fn unlock(&self) {
        lock::unlock(self.file());
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.generation.is_foreign() {
            // The lock belongs to the parent, and the file descriptor may refer to another file here.
            std::mem::forget(self.open.take());
        } else {
            self.unlock();
        }
    }
}

/// Creates the directory with the required mode, whatever the umask is.
fn make(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(DIRECTORY_MODE)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns what is wrong when another user owns a file, or when other users may read or write it.
pub(super) fn check_owner(owner: u32, mode: u32, remedy: &str) -> std::result::Result<(), String> {
    let me = rustix::process::geteuid().as_raw();
    if owner != me {
        return Err(format!("belongs to user {owner}, and this process runs as user {me}; chown it"));
    }
    let mode = mode & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("has mode {mode:o}, so others could get at the node secret; {remedy} it"));
    }
    Ok(())
}

/// The directories that this process uses, by device and inode.
static IN_USE: PerProcess<Mutex<BTreeSet<(u64, u64)>>> = PerProcess::new();

/// Marks a directory, by device and inode, as in use by this process.
struct Claim((u64, u64));

impl Claim {
    fn new(inode: (u64, u64), path: &Path) -> Result<Self> {
        let mut claimed = IN_USE.get().lock().unwrap_or_else(PoisonError::into_inner);
        if !claimed.insert(inode) {
            return Err(Error::new(
                ErrorCode::AlreadyRunning,
                format!(
                    "state_dir {} is already in use in this process; give each node a directory of its own",
                    path.display()
                ),
            ));
        }
        Ok(Self(inode))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        IN_USE.get().lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}
