//! The lock that decides which process leads: `LockFileEx` on a file of its own, because a directory has no locks.
//!
//! Windows releases it when the process ends, however it does, because no other process has a copy of the handle.

use std::fs::{File, TryLockError};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) struct LockFile {
    file: File,
    /// Windows would refuse a second lock even to its holder.
    held: Mutex<bool>,
}

impl LockFile {
    pub(super) fn new(file: File) -> Self {
        Self { file, held: Mutex::new(false) }
    }

    fn held(&self) -> MutexGuard<'_, bool> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock if it is free. True if the caller holds it then; a second call of the holder changes nothing.
    pub(super) fn try_lock(&self) -> io::Result<bool> {
        let mut held = self.held();
        if !*held {
            *held = match self.file.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => false,
                Err(TryLockError::Error(error)) => return Err(error),
            };
        }
        Ok(*held)
    }

    /// Releases the lock.
    pub(super) fn unlock(&self) {
        if std::mem::take(&mut *self.held()) {
            // It fails only if the lock was not held.
            let _ = self.file.unlock();
        }
    }
}
