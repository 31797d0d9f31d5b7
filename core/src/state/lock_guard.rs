//! The lock with which the registration loops of one process take turns.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::fork::PerProcess;

/// Allows one registration attempt at a time in this process. Released on drop.
#[derive(Debug)]
pub struct LockGuard {
    token: u64,
}

/// Which guard holds the lock, and since when.
#[derive(Debug, Default)]
struct RegistrationLock {
    holder: Option<(u64, Instant)>,
    last_token: u64,
}

static REGISTRATION_LOCK: PerProcess<Mutex<RegistrationLock>> = PerProcess::new();

fn lock() -> MutexGuard<'static, RegistrationLock> {
    REGISTRATION_LOCK.get().lock().unwrap_or_else(PoisonError::into_inner)
}

impl LockGuard {
    /// Takes the lock if it is free, or if its holder took it longer than `stale_after` ago. Returns `None` while
    /// another registration loop is making an attempt.
    ///
    /// # Errors
    /// None at present; the signature is its predecessor's.
    pub fn try_acquire(stale_after: Duration) -> io::Result<Option<Self>> {
        let mut lock = lock();
        let now = Instant::now();
        if let Some((_, since)) = lock.holder
            && now.duration_since(since) <= stale_after
        {
            return Ok(None);
        }
        lock.last_token += 1;
        let token = lock.last_token;
        lock.holder = Some((token, now));
        Ok(Some(Self { token }))
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        let mut lock = lock();
        // A holder whose lock became stale must not release the lock of the next holder.
        if lock.holder.is_some_and(|(token, _)| token == self.token) {
            lock.holder = None;
        }
    }
}
