//! Tells what happens in a state directory, as it happens.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::directory::{Directory, Holder, RECORD, REQUEST};
use crate::error::{Error, ErrorCode, Result};

pub(crate) struct Watch {
    inotify: AsyncFd<OwnedFd>,
    directory: i32,
    lock: AtomicI32,
}

/// What may be new since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) record: bool,
    /// A process has closed the lock file, as the kernel does for one that ends.
    pub(crate) lock: bool,
    /// A follower asks for a new registration.
    pub(crate) request: bool,
}

impl News {
    const EVERYTHING: Self = Self { record: true, lock: true, request: true };

    fn is_any(self) -> bool {
        self != Self::default()
    }
}

impl Watch {
    /// Watches from now on. Only within the runtime.
    pub(crate) fn new(directory: &Directory) -> Result<Self> {
        let shown = directory.path().display();
        let failed = |error: io::Error| {
            let limits = match Errno::from_io_error(&error) {
                Some(Errno::MFILE | Errno::NOSPC) => {
                    "; raise the sysctls fs.inotify.max_user_instances and max_user_watches"
                }
                _ => "",
            };
            Error::new(ErrorCode::Io, format!("state_dir {shown}: cannot be watched: {error}{limits}"))
        };
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|error| failed(error.into()))?;
        let events = WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::ONLYDIR;
        let number =
            inotify::add_watch(&inotify, directory.path(), events).map_err(|error| failed(error.into()))?;
        let inotify = registered(inotify).map_err(failed)?;
        Ok(Self { inotify, directory: number, lock: AtomicI32::new(-1) })
    }

    /// Watches the lock file too, which is there by now.
    pub(crate) fn watch_lock(&self, path: &Path) -> io::Result<()> {
        let events = WatchFlags::CLOSE | WatchFlags::ATTRIB | WatchFlags::DONT_FOLLOW;
        let number = inotify::add_watch(self.inotify.get_ref(), path, events)?;
        self.lock.store(number, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn file(&self) -> &OwnedFd {
        self.inotify.get_ref()
    }

    /// What has happened and was not told yet.
    pub(crate) fn news(&self) -> News {
        let mut news = News::default();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => return news,
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                news = News::EVERYTHING;
            } else if event.wd() == self.directory {
                let name = event.file_name().map_or(&b""[..], |name| name.to_bytes());
                news.record |= name == RECORD.as_bytes() && event.events().contains(ReadFlags::MOVED_TO);
                news.request |= name.starts_with(REQUEST.as_bytes());
            } else {
                news.lock |= event.wd() == self.lock.load(Ordering::Relaxed);
            }
        }
    }

    /// Waits for something to happen.
    pub(crate) async fn changed(&self) -> News {
        loop {
            let Ok(mut ready) = self.inotify.readable().await else {
                // The runtime is going down, and with it who waits.
                return std::future::pending().await;
            };
            let news = self.news();
            ready.clear_ready();
            if news.is_any() {
                return news;
            }
        }
    }
}

/// Waits until the process that holds the lock has ended, if that can be seen.
pub(crate) async fn ended(holder: Holder) {
    match holder {
        Holder::Nobody => return,
        Holder::Process(process) => {
            if let Ok(process) = registered(process)
                && process.readable().await.is_ok()
            {
                return;
            }
        }
        Holder::Unknown => {}
    }
    std::future::pending().await
}

#[expect(unsafe_code, reason = "tokio asks its callers to see to it that the file stays open")]
fn registered(file: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is one open file until it is dropped, and the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register_with_interest(file, Interest::READABLE)? })
}
