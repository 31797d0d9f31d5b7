//! An open directory, and access to its files.
//!
//! Every access goes through the directory's own file descriptor, so it reaches the same directory after a rename or a
//! `chroot`.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd as _, BorrowedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode};
use rustix::io::Errno;

use super::filesystem::remote_kind;
use super::{access, lock};
use crate::error::{Error, ErrorCode, Result};
use crate::fork::CloseOnFork;

const DIRECTORY_MODE: u32 = 0o700;
pub(super) const FILE_MODE: Mode = Mode::from_raw_mode(0o600);

/// Device and inode.
pub(super) type Identity = (u64, u64);

pub(super) struct Files {
    _close_on_fork: CloseOnFork,
    directory: fs::File,
    uid: u32,
    identity: Identity,
    path: PathBuf,
}

impl Files {
    /// Opens the directory. Creates it if only the last part of its path is missing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        // Without a `.` at the end, which the system does not create.
        let path = &*path.components().collect::<PathBuf>();
        let shown = path.display();
        let refused = |what: &str| Error::invalid_config(format!("state_dir {shown}: {what}"));
        let failed = |what: &str, error: &io::Error| {
            let remedy = access::remedy(error);
            Error::new(ErrorCode::Io, format!("state_dir {shown}: {what}: {error}{remedy}"))
                .with_os_error(error)
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::open(path, flags, Mode::empty());
        let opened = match open() {
            Err(Errno::NOENT) => {
                make(path).map_err(|error| match error.kind() {
                    // Such as in /proc.
                    io::ErrorKind::NotFound if path.parent().is_some_and(Path::exists) => {
                        refused("cannot be created there; name a directory on a disk of this machine")
                    }
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
            error => failed("cannot be opened", &error.into()),
        })?);
        let close_on_fork = CloseOnFork::new(&directory);
        let metadata = directory.metadata().map_err(|error| failed("cannot be examined", &error))?;
        let (uid, identity) = (metadata.uid(), (metadata.dev(), metadata.ino()));
        access::check(uid, mode(&metadata), "chmod 700").map_err(|why| {
            refused(&format!(
                "{why} if nothing else uses it, or name a subdirectory that does not exist yet (it is created with \
                 mode 700)"
            ))
        })?;
        if let Some(kind) = remote_kind(&directory) {
            return Err(refused(&format!(
                "is on {kind}, where a lock does not exclude the processes of other machines; name a directory \
                 on a disk of this machine"
            )));
        }
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { _close_on_fork: close_on_fork, directory, uid, identity, path })
    }

    /// Where it was at the start.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// The user who owns it. Only processes of this user may use it.
    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Takes the lock if it is free. True if this process holds it then; a second call of the holder changes nothing.
    pub(super) fn try_lock(&self) -> io::Result<bool> {
        lock::try_lock(&self.directory)
    }

    pub(super) fn unlock(&self) {
        lock::unlock(&self.directory);
    }

    /// What is wrong with an existing file that other users could have read or written.
    pub(super) fn check(&self, name: &str) -> io::Result<std::result::Result<(), String>> {
        match rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                Ok(Err("is not a regular file; remove it".into()))
            }
            Ok(stat) => {
                let mode = Mode::from_raw_mode(stat.st_mode);
                Ok(access::check(stat.st_uid, mode, "chmod 600"))
            }
            Err(Errno::NOENT) => Ok(Ok(())),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a file for reading. Refuses one that other users could have written.
    pub(super) fn open_file(&self, name: &str) -> io::Result<fs::File> {
        let file = self.open_with(name, OFlags::RDONLY)?;
        let metadata = file.metadata()?;
        access::check(metadata.uid(), mode(&metadata), "chmod 600").map_err(io::Error::other)?;
        Ok(file)
    }

    /// Creates a file, in place of an existing one, which may be a pipe, or a link to another file.
    pub(super) fn create_file(&self, name: &str) -> io::Result<fs::File> {
        self.remove(name)?;
        let file = self.open_with(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        // Whatever the umask is.
        rustix::fs::fchmod(&file, FILE_MODE)?;
        Ok(file)
    }

    fn open_with(&self, name: &str, flags: OFlags) -> io::Result<fs::File> {
        // Without NONBLOCK, opening a named pipe in place of a file would block for ever.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        Ok(rustix::fs::openat(&self.directory, name, flags, FILE_MODE)?.into())
    }

    /// Removes a file, if it exists.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.directory, from, &self.directory, to)?)
    }

    /// Renames a file that was written, and returns when that is on the disk.
    pub(super) fn publish(&self, _written: &fs::File, from: &str, to: &str) -> io::Result<()> {
        self.rename(from, to)?;
        // Without this the rename may be undone by a power cut.
        self.directory.sync_all()
    }
}

fn mode(metadata: &fs::Metadata) -> Mode {
    Mode::from_raw_mode((metadata.mode() & 0o777) as RawMode)
}

/// Creates the directory with the required mode, whatever the umask is.
fn make(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(DIRECTORY_MODE)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
