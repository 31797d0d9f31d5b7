//! What a thread that waits sleeps on: the waker of its wait rings it, and a signal wakes it as well.
//!
//! A condition variable would sleep through signals, and so through Ctrl-C.

use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use posemesh_node_registration::error::{Error, ErrorCode, Result};

/// Rung by one thread, slept on by another.
pub(crate) struct Bell(imp::Bell);

/// How a sleep ended.
#[derive(PartialEq)]
pub(crate) enum Slept {
    /// The bell rang, or the time is over, or neither: the caller looks.
    Enough,
    /// A signal came.
    Interrupted,
}

impl Bell {
    pub(crate) fn new() -> Result<Arc<Self>> {
        imp::Bell::new().map(|bell| Arc::new(Self(bell))).map_err(|error| failed(&error))
    }

    /// Sleeps until the bell rings or a signal comes, or for this long. A bell that has rung since the last sleep
    /// lets nobody sleep.
    pub(crate) fn sleep(&self, left: Option<Duration>) -> Result<Slept> {
        self.0.sleep(left).map_err(|error| failed(&error))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.ring();
    }
}

fn failed(error: &std::io::Error) -> Error {
    Error::new(ErrorCode::Io, format!("cannot wait: {error}"))
}

/// A word that the kernel watches.
#[cfg(target_os = "linux")]
mod imp {
    use std::io;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::thread::futex::{Flags, Timespec, wait, wake};

    use super::Slept;

    const QUIET: u32 = 0;
    const RUNG: u32 = 1;

    pub(super) struct Bell(AtomicU32);

    impl Bell {
        #[expect(clippy::unnecessary_wraps, reason = "elsewhere it takes sockets")]
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self(AtomicU32::new(QUIET)))
        }

        pub(super) fn ring(&self) {
            self.0.store(RUNG, Ordering::Release);
            // It fails only for an address that is none.
            let _ = wake(&self.0, Flags::PRIVATE, 1);
        }

        pub(super) fn sleep(&self, left: Option<Duration>) -> io::Result<Slept> {
            // What no clock can hold is no limit.
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let slept = wait(&self.0, Flags::PRIVATE, QUIET, left.as_ref());
            self.0.swap(QUIET, Ordering::Acquire);
            match slept {
                Ok(()) | Err(Errno::AGAIN | Errno::TIMEDOUT) => Ok(Slept::Enough),
                Err(Errno::INTR) => Ok(Slept::Interrupted),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// A pair of sockets: reading from one ends when a signal comes.
#[cfg(not(target_os = "linux"))]
mod imp {
    use std::io::{self, ErrorKind, Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::Slept;

    pub(super) struct Bell {
        rung: UnixStream,
        ring: UnixStream,
    }

    impl Bell {
        pub(super) fn new() -> io::Result<Self> {
            let (rung, ring) = UnixStream::pair()?;
            ring.set_nonblocking(true)?;
            Ok(Self { rung, ring })
        }

        pub(super) fn ring(&self) {
            // When the buffer is full, the reader has enough to wake up for.
            let _ = (&self.ring).write(&[0]);
        }

        pub(super) fn sleep(&self, left: Option<Duration>) -> io::Result<Slept> {
            let slept = self.rung.set_read_timeout(left).and_then(|()| (&self.rung).read(&mut [0; 64]));
            match slept.map_err(|error| (error.kind(), error)) {
                Ok(_) | Err((ErrorKind::WouldBlock | ErrorKind::TimedOut, _)) => Ok(Slept::Enough),
                Err((ErrorKind::Interrupted, _)) => Ok(Slept::Interrupted),
                Err((_, error)) => Err(error),
            }
        }
    }
}
