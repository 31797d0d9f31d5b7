//! The files of a state directory: who may use it, and a record that is whole or absent.
//!
//! Every access goes through the directory's own file descriptor, so it goes on in the same directory after a
//! rename or a `chroot`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::filesystem::remote_kind;
use super::lock::{self, Lock};
use crate::error::{Error, ErrorCode, Result};
use crate::fork::{CloseOnFork, Generation, PerProcess};
use crate::state::record::{self, Owner, Record, Unusable};
use crate::thread::without_file_size_signal;

const RECORD: &str = "state";
const NEXT_RECORD: &str = "state.new";

/// A longer record is refused. None is anywhere near as long.
pub(super) const MAX_RECORD: usize = 1024 * 1024;

const DIRECTORY_MODE: u32 = 0o700;
pub(super) const FILE_MODE: Mode = Mode::from_raw_mode(0o600);

pub(crate) struct Directory {
    path: PathBuf,
    /// Its owner, who is the user of every process that may use it.
    uid: u32,
    /// Device and inode.
    identity: (u64, u64),
    /// The revision of the last record written: an older one must not come after it.
    written: Mutex<u64>,
    generation: Generation,
    /// Given away only by `drop`.
    open: Option<Open>,
}

struct Open {
    _close_on_fork: CloseOnFork,
    directory: OwnedFd,
    /// Released after the lock.
    _claim: Claim,
}

/// What was found in the place of the record.
pub(crate) enum Found {
    Record(Box<Record>),
    Nothing,
    /// Another wallet's, DDS's or node's.
    Foreign(Owner),
    Unusable(Unusable),
    Unreadable(io::Error),
}

impl Directory {
    /// Opens it, and makes it if only the last part of its path is missing.
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
                        refused("the directory above it does not exist; make that one first")
                    }
                    _ => failed("cannot be made", &error),
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
                "{why}, or name a subdirectory that does not exist yet (it is made with mode 700)"
            ))
        })?;
        if let Some(kind) = remote_kind(&directory, &metadata) {
            return Err(refused(&format!(
                "is on {kind}, where a lock does not exclude the processes of other machines; name a directory \
                 on a disk of this machine"
            )));
        }
        let identity = (metadata.dev(), metadata.ino());
        // For messages: where it was at the start.
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

    fn failed(&self, what: &str, name: &str, error: impl Into<io::Error>) -> Error {
        let error: io::Error = error.into();
        Error::new(ErrorCode::Io, format!("state_dir: cannot {what} {}: {error}", self.shown(name)))
            .with_os_error(&error)
    }

    /// Refuses a file that was here before and that others could have read or written.
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

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<fs::File> {
        // Without NONBLOCK a named pipe in the place of a file would block for ever.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        Ok(rustix::fs::openat(self.file(), name, flags, FILE_MODE)?.into())
    }

    /// Takes the lock if it is free. Taking it again changes nothing.
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

    /// Reads the record, if it is this owner's.
    pub(crate) fn read(&self, owner: &Owner) -> Found {
        match self.read_any() {
            Ok(None) => Found::Nothing,
            Ok(Some(Ok((found, record)))) if found.is(owner) => Found::Record(Box::new(record)),
            Ok(Some(Ok((found, _)))) => Found::Foreign(found),
            Ok(Some(Err(unusable))) => Found::Unusable(unusable),
            Err(error) => Found::Unreadable(error),
        }
    }

    /// Reads the record, of any owner.
    pub(crate) fn read_any(&self) -> io::Result<Option<std::result::Result<(Owner, Record), Unusable>>> {
        let file = match self.open_file(RECORD, OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        check_owner(metadata.uid(), metadata.mode(), "chmod 600").map_err(io::Error::other)?;
        if !metadata.is_file() || metadata.len() > MAX_RECORD as u64 {
            return Ok(Some(Err(Unusable::Damaged("it is no state file"))));
        }
        // Room for all of it and for the read that finds the end: a buffer that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 64));
        file.take(metadata.len()).read_to_end(&mut bytes)?;
        Ok(Some(record::decode(&bytes)))
    }

    /// Replaces the record, and returns when it is on the disk. Only for the holder of the lock.
    ///
    /// `revision` counts the records of this process; one that comes late is not written.
    pub(crate) fn write(&self, revision: u64, bytes: &[u8]) -> Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if revision < *written {
            return Ok(());
        }
        self.write_next(bytes).map_err(|error| self.failed("write", NEXT_RECORD, error))?;
        rustix::fs::renameat(self.file(), NEXT_RECORD, self.file(), RECORD)
            // Without this the new name may be gone after a power cut.
            .and_then(|()| rustix::fs::fsync(self.file()))
            .map_err(|error| self.failed("write", RECORD, error))?;
        *written = revision;
        Ok(())
    }

    /// Always to a new file: what is left under the name may be a pipe, or a link to another file.
    fn write_next(&self, bytes: &[u8]) -> io::Result<()> {
        match rustix::fs::unlinkat(self.file(), NEXT_RECORD, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let mut file = self.open_file(NEXT_RECORD, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        // Whatever the umask is.
        rustix::fs::fchmod(&file, FILE_MODE)?;
        without_file_size_signal(|| file.write_all(bytes))?;
        file.sync_all()
    }

    /// Renames a record that cannot be used, and returns its new path. Only for the holder of the lock.
    pub(crate) fn set_aside(&self, why: &str) -> Result<PathBuf> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let names = (0_u32..).map(|nth| match nth {
            0 => format!("{RECORD}.{why}-{now}"),
            nth => format!("{RECORD}.{why}-{now}-{nth}"),
        });
        for name in names {
            let taken = rustix::fs::statat(self.file(), &name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
            if !taken {
                rustix::fs::renameat(self.file(), RECORD, self.file(), &name)
                    .map_err(|error| self.failed("rename", RECORD, error))?;
                return Ok(self.path.join(name));
            }
        }
        unreachable!("there is a free name")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.generation.is_foreign() {
            // The lock is the parent's, and the file descriptor's number may be in use for another file here.
            std::mem::forget(self.open.take());
        } else {
            self.unlock();
        }
    }
}

/// Makes the directory with the mode that it must have, whatever the umask is.
fn make(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(DIRECTORY_MODE)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Describes the fault when another user owns it or others may read or write it.
fn check_owner(owner: u32, mode: u32, remedy: &str) -> std::result::Result<(), String> {
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

/// A directory in use by this process, by device and inode.
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
