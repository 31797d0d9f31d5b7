//! Parks a thread until the waker of its wait, or a signal, wakes it.
//!
//! A condition variable would sleep through signals, and thus through Ctrl-C.

use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use posemesh_node_registration::error::{Error, ErrorCode, Result};

/// Parks one thread, and is unparked by any other.
pub(crate) struct Parker(imp::Parker);

/// Why a parked thread woke.
#[derive(PartialEq)]
pub(crate) enum Woken {
    /// It was unparked, the timeout passed, or neither: the caller has to check.
    Unparked,
    /// A signal arrived.
    Interrupted,
}

impl Parker {
    pub(crate) fn new() -> Result<Arc<Self>> {
        imp::Parker::new().map(|parker| Arc::new(Self(parker))).map_err(|error| failed(&error))
    }

    /// Parks this thread until it is unparked, a signal arrives, or the timeout passes. Returns at once if it was
    /// unparked since the last call.
    pub(crate) fn park(&self, timeout: Option<Duration>) -> Result<Woken> {
        self.0.park(timeout).map_err(|error| failed(&error))
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn failed(error: &std::io::Error) -> Error {
    Error::new(ErrorCode::Io, format!("cannot wait: {error}"))
}

/// A futex.
#[cfg(target_os = "linux")]
mod imp {
    use std::io;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::thread::futex::{Flags, Timespec, wait, wake};

    use super::Woken;

    const EMPTY: u32 = 0;
    const NOTIFIED: u32 = 1;

    pub(super) struct Parker(AtomicU32);

    impl Parker {
        #[expect(clippy::unnecessary_wraps, reason = "on macOS it opens sockets")]
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self(AtomicU32::new(EMPTY)))
        }

        pub(super) fn unpark(&self) {
            self.0.store(NOTIFIED, Ordering::Release);
            // It fails only for an invalid address.
            let _ = wake(&self.0, Flags::PRIVATE, 1);
        }

        pub(super) fn park(&self, timeout: Option<Duration>) -> io::Result<Woken> {
            // A timeout that a timespec cannot hold is no timeout.
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            let woken = wait(&self.0, Flags::PRIVATE, EMPTY, timeout.as_ref());
            self.0.swap(EMPTY, Ordering::Acquire);
            match woken {
                Ok(()) | Err(Errno::AGAIN | Errno::TIMEDOUT) => Ok(Woken::Unparked),
                Err(Errno::INTR) => Ok(Woken::Interrupted),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// A pair of sockets: a signal interrupts a read.
#[cfg(all(unix, not(target_os = "linux")))]
mod imp {
    use std::io::{self, ErrorKind, Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::Woken;

    pub(super) struct Parker {
        reader: UnixStream,
        writer: UnixStream,
    }

    impl Parker {
        pub(super) fn new() -> io::Result<Self> {
            let (reader, writer) = UnixStream::pair()?;
            writer.set_nonblocking(true)?;
            Ok(Self { reader, writer })
        }

        pub(super) fn unpark(&self) {
            // If the buffer is full, the reader wakes anyway.
            let _ = (&self.writer).write(&[0]);
        }

        pub(super) fn park(&self, timeout: Option<Duration>) -> io::Result<Woken> {
            let read = self.reader.set_read_timeout(timeout).and_then(|()| (&self.reader).read(&mut [0; 64]));
            match read.map_err(|error| (error.kind(), error)) {
                Ok(_) | Err((ErrorKind::WouldBlock | ErrorKind::TimedOut, _)) => Ok(Woken::Unparked),
                Err((ErrorKind::Interrupted, _)) => Ok(Woken::Interrupted),
                Err((_, error)) => Err(error),
            }
        }
    }
}

/// A condition variable. On Windows, Ctrl-C runs a function on a thread of its own and interrupts no wait, so this one
/// ends several times a second for the caller to check.
#[cfg(windows)]
mod imp {
    use std::io;
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::Duration;

    use super::Woken;

    const CHECK_EVERY: Duration = Duration::from_millis(100);

    #[derive(Default)]
    pub(super) struct Parker {
        notified: Mutex<bool>,
        changed: Condvar,
    }

    impl Parker {
        #[expect(clippy::unnecessary_wraps, reason = "on macOS it opens sockets")]
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self::default())
        }

        pub(super) fn unpark(&self) {
            *self.notified.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.changed.notify_one();
        }

        #[expect(clippy::unnecessary_wraps, reason = "other systems have errors")]
        pub(super) fn park(&self, timeout: Option<Duration>) -> io::Result<Woken> {
            let limit = timeout.map_or(CHECK_EVERY, |timeout| timeout.min(CHECK_EVERY));
            let notified = self.notified.lock().unwrap_or_else(PoisonError::into_inner);
            let (mut notified, _) = self
                .changed
                .wait_timeout_while(notified, limit, |notified| !*notified)
                .unwrap_or_else(PoisonError::into_inner);
            let was_notified = std::mem::take(&mut *notified);
            Ok(if was_notified { Woken::Unparked } else { Woken::Interrupted })
        }
    }
}
