//! Files that a forked child closes: while it holds copies of a dead parent's, the port looks taken, and
//! nobody is told that the lock file was closed.
//!
//! Only a child that uses the library does so, at its first call. All other files of the parent are harmless
//! there.

#![expect(unsafe_code, reason = "a file is known by its number alone after a fork")]

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use crate::process;

/// Those of one process, with device and inode: a child may have closed them, and others may have their
/// numbers.
#[derive(Default)]
pub(crate) struct NotInherited(Mutex<BTreeMap<RawFd, (u64, u64)>>);

/// Names an open file, until it is dropped.
pub(crate) struct NotForChildren(RawFd);

impl NotForChildren {
    pub(crate) fn new(file: &impl AsFd) -> Self {
        let file = file.as_fd();
        if let Some(inode) = inode(file) {
            let mut files = process::current().not_inherited.0.lock().unwrap_or_else(PoisonError::into_inner);
            files.insert(file.as_raw_fd(), inode);
        }
        Self(file.as_raw_fd())
    }
}

impl Drop for NotForChildren {
    fn drop(&mut self) {
        process::current().not_inherited.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

impl NotInherited {
    /// For the first call in a forked child, with what was its parent's.
    pub(crate) fn close(&self) {
        // A thread of the parent's that held the lock at the fork will never give it back.
        let Ok(files) = self.0.try_lock() else { return };
        for (number, expected) in &*files {
            // SAFETY: borrowed for one call, which fails if nothing has this number.
            let same = inode(unsafe { BorrowedFd::borrow_raw(*number) }) == Some(*expected);
            if same {
                // SAFETY: it is the parent's file, which nothing in the child ever uses or closes: what owned
                // it in the parent is leaked here.
                drop(unsafe { OwnedFd::from_raw_fd(*number) });
            }
        }
    }
}

fn inode(file: BorrowedFd<'_>) -> Option<(u64, u64)> {
    rustix::fs::fstat(file).ok().map(|stat| (stat.st_dev, stat.st_ino))
}
