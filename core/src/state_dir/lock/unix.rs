//! The lock that decides which process leads: `flock` on the directory itself.
//!
//! It needs neither a file of its own nor write permission, so it works on a read-only or full disk. The kernel releases
//! it when the last copy of the open directory is closed, however the process ends. A forked child has a copy too, and
//! closes it before the host's code runs (see [`crate::fork`]). Process ids are never compared.

use std::io;

use rustix::fd::AsFd;
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

/// Takes the lock if it is free. True if the caller holds it then; a second call of the holder changes nothing.
pub(super) fn try_lock(directory: impl AsFd) -> io::Result<bool> {
    match retry_on_intr(|| flock(directory.as_fd(), FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Releases the lock, even if a forked child still has a copy of the open directory.
pub(super) fn unlock(directory: impl AsFd) {
    // It fails only if the lock was not held.
    let _ = flock(directory, FlockOperation::NonBlockingUnlock);
}
