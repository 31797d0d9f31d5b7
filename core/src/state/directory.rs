//! A state directory: who may use it, the lock that says who writes, and files that are whole or not there.
//!
//! | file | is |
//! |---|---|
//! | `lock` | empty; its writer holds a record lock on it |
//! | `state` | the record, replaced as a whole |
//! | `state.new` | the next record, while it is being written |
//! | `state.damaged-…`, `state.foreign-…`, `state.newer-…` | what could not be used |
//! | `rearm-N` | empty; a follower asks for the registration after number N |
//!
//! The lock is a POSIX one. Those belong to a process: the kernel drops them when it ends, however it ends,
//! and even if a forked child still holds a copy of the file; no process id is ever compared. But closing
//! *any* file descriptor of that file drops them too, so a process opens the file once.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, PidfdFlags};
use zeroize::Zeroizing;

use super::record::{self, Owner, Record, Unusable};
use crate::error::{Error, ErrorCode, Result};
use crate::inherited::NotForChildren;
use crate::process;

const LOCK: &str = "lock";
pub(super) const RECORD: &str = "state";
const NEXT_RECORD: &str = "state.new";
pub(super) const REQUEST: &str = "rearm-";

/// No record is anywhere near as long.
const MAX_RECORD: u64 = 1024 * 1024;

const FILE_MODE: Mode = Mode::from_raw_mode(0o600);

pub(crate) struct Directory {
    path: PathBuf,
    directory: OwnedFd,
    /// None as long as the file could not be made, because nothing can be written here.
    lock: Mutex<Option<LockFile>>,
    /// The revision of the last record written: an older one must not come after it.
    written: Mutex<u64>,
    /// Given back after the lock.
    _claim: Claim,
}

struct LockFile {
    _not_for_children: NotForChildren,
    file: OwnedFd,
}

/// Who may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// This process.
    Ours,
    /// Another one.
    Theirs,
}

/// Why nobody knows who may write.
#[derive(Debug)]
pub(crate) enum LockError {
    /// The file cannot be made: the disk is full, say, or read-only. That may pass.
    Unwritable(Error),
    /// Locks do not work here, or something else is in the place of the file.
    Unusable(Error),
}

/// The process that holds the lock.
pub(crate) enum Holder {
    /// Its end can be waited for.
    Process(OwnedFd),
    /// It is in another container, say.
    Unknown,
    /// There is none.
    Nobody,
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
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(refused("the directory above it does not exist; make that one first"));
            }
            // A read-only file system says so before it looks whether the directory is there.
            Err(_) if path.is_dir() => {}
            Err(error) => return Err(failed("cannot be made", &error)),
        }
        let path = fs::canonicalize(path).map_err(|error| failed("cannot be opened", &error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOTDIR => refused("is not a directory"),
            error => failed("cannot be opened", &io::Error::from(error)),
        })?;
        let directory = File::from(directory);
        let metadata = directory.metadata().map_err(|error| failed("cannot be looked at", &error))?;
        check_owner(metadata.uid(), metadata.mode(), "chmod 700").map_err(|why| {
            refused(&format!(
                "{why}, or name a subdirectory that does not exist yet (it is made with mode 700)"
            ))
        })?;
        if let Some(kind) = remote_kind(&directory, &metadata) {
            return Err(refused(&format!(
                "is on {kind}, where locks and file notification do not work among all who use it; name a \
                 directory on a disk of this machine"
            )));
        }
        let claim = Claim::new((metadata.dev(), metadata.ino()), &path)?;
        let opened = Self {
            path,
            directory: directory.into(),
            lock: Mutex::default(),
            written: Mutex::default(),
            _claim: claim,
        };
        for name in [LOCK, RECORD] {
            opened.check_file(name)?;
        }
        Ok(opened)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
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
        match rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                Err(refused("is not a regular file; remove it"))
            }
            Ok(stat) => check_owner(stat.st_uid, stat.st_mode, "chmod 600").map_err(|why| refused(&why)),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed("look at", name, error)),
        }
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // Without NONBLOCK a named pipe in the place of a file would block for ever.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        Ok(rustix::fs::openat(&self.directory, name, flags, FILE_MODE)?.into())
    }

    /// Makes and opens the lock file, if that was not done before or somebody has removed it since.
    pub(crate) fn open_lock(&self) -> std::result::Result<(), LockError> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(LockFile { file, .. }) = &*lock
            && rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink > 0)
        {
            return Ok(());
        }
        // Not two at a time: closing the one would drop the lock of the other, were it the same file.
        *lock = None;
        let file = self.open_file(LOCK, OFlags::RDWR | OFlags::CREATE).map_err(|error| {
            let may_pass = [Errno::ROFS, Errno::ACCESS, Errno::PERM, Errno::NOSPC, Errno::DQUOT, Errno::IO];
            let error = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            let failed = self.failed("open", LOCK, error);
            if may_pass.contains(&error) {
                LockError::Unwritable(failed)
            } else {
                LockError::Unusable(failed)
            }
        })?;
        *lock = Some(LockFile { _not_for_children: NotForChildren::new(&file), file: file.into() });
        Ok(())
    }

    pub(crate) fn lock_path(&self) -> PathBuf {
        self.path.join(LOCK)
    }

    /// Takes the lock if nobody has it. Taking it again changes nothing.
    pub(crate) fn try_lock(&self) -> std::result::Result<Lock, LockError> {
        self.open_lock()?;
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let LockFile { file, .. } = lock.as_ref().expect("opened above");
        match rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock::Ours),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(Lock::Theirs),
            Err(error) => Err(LockError::Unusable(Error::invalid_config(format!(
                "state_dir {}: locks do not work there ({}); name a directory on a disk of this machine",
                self.path.display(),
                io::Error::from(error)
            )))),
        }
    }

    /// The process that holds the lock, if it is not this one.
    pub(crate) fn holder(&self) -> Holder {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(LockFile { file, .. }) = &*lock else { return Holder::Unknown };
        let holder = || rustix::process::fcntl_getlk(file, &Flock::from(FlockType::WriteLock));
        // Between asking who it is and getting hold of it, a process may end and another one get its number.
        let mut asked = holder();
        loop {
            let pid = match &asked {
                Ok(None) => return Holder::Nobody,
                Ok(Some(Flock { pid: Some(pid), .. })) => *pid,
                // No process of this namespace.
                Ok(Some(_)) | Err(_) => return Holder::Unknown,
            };
            let process = rustix::process::pidfd_open(pid, PidfdFlags::empty());
            let again = holder();
            let same = matches!(&again, Ok(Some(flock)) if flock.pid == Some(pid));
            match process {
                Ok(process) if same => return Holder::Process(process),
                Ok(_) | Err(Errno::SRCH) if !same => asked = again,
                _ => return Holder::Unknown,
            }
        }
    }

    /// Gives the lock back, so that those who watch the file are told.
    ///
    /// Closing it does both, but not as long as a forked child of the host holds a copy.
    pub(crate) fn unlock(&self) {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(LockFile { file, .. }) = &lock {
            let _ = rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingUnlock);
            touch(file);
        }
    }

    /// Makes the watchers of the lock file look at it, as a check of whether watching works here.
    pub(crate) fn touch_lock(&self) {
        if let Some(LockFile { file, .. }) = &*self.lock.lock().unwrap_or_else(PoisonError::into_inner) {
            touch(file);
        }
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

    /// Reads the record, whoever's it is.
    pub(crate) fn read_any(&self) -> io::Result<Option<std::result::Result<(Owner, Record), Unusable>>> {
        let file = match self.open_file(RECORD, OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        check_owner(metadata.uid(), metadata.mode(), "chmod 600").map_err(io::Error::other)?;
        if !metadata.is_file() || metadata.len() > MAX_RECORD {
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
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        self.open_file(NEXT_RECORD, flags)
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            })
            .and_then(|()| {
                rustix::fs::renameat(&self.directory, NEXT_RECORD, &self.directory, RECORD)?;
                // Without this the new name may be gone after a power cut.
                Ok(rustix::fs::fsync(&self.directory)?)
            })
            .map_err(|error| self.failed("write", RECORD, error))?;
        *written = revision;
        Ok(())
    }

    /// Renames a record that cannot be used, and returns its new path. Only for the holder of the lock.
    pub(crate) fn set_aside(&self, why: &str) -> Result<PathBuf> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let names = (0_u32..).map(|nth| match nth {
            0 => format!("{RECORD}.{why}-{now}"),
            nth => format!("{RECORD}.{why}-{now}-{nth}"),
        });
        for name in names {
            let taken = rustix::fs::statat(&self.directory, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
            if !taken {
                rustix::fs::renameat(&self.directory, RECORD, &self.directory, &name)
                    .map_err(|error| self.failed("rename", RECORD, error))?;
                return Ok(self.path.join(name));
            }
        }
        unreachable!("there is a free name")
    }

    /// Asks the holder of the lock for the registration after this one.
    pub(crate) fn request_rearm(&self, registration: u64) -> Result<()> {
        let name = format!("{REQUEST}{registration}");
        self.open_file(&name, OFlags::WRONLY | OFlags::CREATE)
            .map_err(|error| self.failed("make", &name, error))?;
        Ok(())
    }

    /// Takes what followers have asked for. Only for the holder of the lock.
    pub(crate) fn take_requests(&self) -> io::Result<Vec<u64>> {
        let mut requests = Vec::new();
        for entry in rustix::fs::Dir::read_from(self.directory.as_fd())? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let number = name.to_str().and_then(|name| name.strip_prefix(REQUEST)?.parse().ok());
            if let Some(number) = number {
                rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())?;
                requests.push(number);
            }
        }
        Ok(requests)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.unlock();
    }
}

fn touch(file: &OwnedFd) {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let _ = rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: now });
}

/// Says what is wrong when somebody else owns it or others may read or write it.
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

/// What kind of file system this is, if others than the processes of this machine may write to it.
fn remote_kind(directory: &File, metadata: &fs::Metadata) -> Option<String> {
    const KINDS: &[(u32, &str)] = &[
        (0x0000_6969, "NFS"),
        (0x0000_517b, "SMB"),
        (0xff53_4d42, "SMB (CIFS)"),
        (0xfe53_4d42, "SMB"),
        (0x0102_1997, "9P"),
        (0x00c3_6400, "Ceph"),
        (0x5346_414f, "AFS"),
        (0x6b41_4653, "AFS"),
        (0x7375_7245, "Coda"),
        (0x0bd0_0bd0, "Lustre"),
        (0x4750_4653, "GPFS"),
        (0x0116_1970, "GFS2"),
        (0x7461_636f, "OCFS2"),
        (0x1983_0326, "BeeGFS"),
    ];
    const FUSE: u32 = 0x6573_5546;
    // The numbers of the kernel's magic.h, all of 32 bits.
    let kind = rustix::fs::fstatfs(directory).ok()?.f_type as u32;
    if kind == FUSE {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        return remote_fuse(&mounts, metadata.dev());
    }
    KINDS.iter().find(|(number, _)| *number == kind).map(|(_, name)| (*name).to_owned())
}

/// FUSE may be anything; the list of mounts says what it is. Local ones, such as an overlay, are fine.
fn remote_fuse(mounts: &str, device: u64) -> Option<String> {
    const REMOTE: &[&str] = &[
        "sshfs",
        "s3",
        "gcs",
        "gluster",
        "ceph",
        "rclone",
        "davfs",
        "goofys",
        "mountpoint",
        "juicefs",
        "blob",
        "hdfs",
        "moosefs",
        "mfs",
        "lizardfs",
        "seaweedfs",
        "cifs",
        "smb",
        "nfs",
        "curlftpfs",
        "grpc",
    ];
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    // "36 35 98:0 /root /where options optional… - type source options"
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let kind = mount.split_once(" - ")?.1.split(' ').next()?;
    REMOTE.iter().any(|remote| kind.contains(remote)).then(|| kind.to_owned())
}

/// A directory in use by this process, by device and inode.
struct Claim((u64, u64));

impl Claim {
    fn new(inode: (u64, u64), path: &Path) -> Result<Self> {
        let mut claimed = process::current().state_dirs.lock().unwrap_or_else(PoisonError::into_inner);
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
        process::current().state_dirs.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuse_is_refused_where_it_is_a_network() {
        let mounts = "\
            24 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
            36 24 0:45 / /mnt/a rw,nosuid shared:2 master:1 - fuse.sshfs user@host:/ rw\n\
            37 24 0:46 / /mnt/b rw - fuse.fuse-overlayfs fuse-overlayfs rw\n\
            38 24 0:47 / /mnt/c rw - virtiofs share rw\n";
        let on = |minor| remote_fuse(mounts, rustix::fs::makedev(0, minor));
        assert_eq!(on(45).as_deref(), Some("fuse.sshfs"));
        assert_eq!([on(46), on(47), on(48)], [None, None, None]);
    }

    #[test]
    fn a_disk_of_this_machine_is_not_remote() {
        let place = std::env::temp_dir();
        let directory = File::open(&place).expect("it is there");
        let metadata = directory.metadata().expect("it is there");
        assert_eq!(remote_kind(&directory, &metadata), None);
    }
}
