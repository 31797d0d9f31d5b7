//! Writes a leader's record to the disk whenever it changes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::directory::Directory;
use super::or_pending::or_pending;
use crate::blocking::{Blocking, blocking};
use crate::error::{Error, Result};
use crate::latch::latch;
use crate::log::log;
use crate::state::record::{self, Owner};
use crate::state::store::Store;

/// The longest pause after a failed write.
const MAX_PAUSE: Duration = Duration::from_secs(60);

pub(super) struct Writer {
    directory: Arc<Directory>,
    owner: Owner,
    store: Arc<Store>,
    /// The revision of the record on the disk.
    written: Option<u64>,
    /// The revision of the last write, also if it failed.
    tried: Option<u64>,
    /// The write under way, and its revision.
    writing: Option<(u64, Blocking<()>)>,
    /// Failures in a row, and when to try again.
    failures: u32,
    retry_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(directory: &Arc<Directory>, owner: &Owner, store: &Arc<Store>) -> Self {
        Self {
            directory: Arc::clone(directory),
            owner: owner.clone(),
            store: Arc::clone(store),
            written: None,
            tried: None,
            writing: None,
            failures: 0,
            retry_at: None,
        }
    }

    /// Writes every change. Never returns.
    pub(super) async fn run(&mut self) {
        let mut revision = self.store.revision();
        loop {
            if self.is_due() {
                let (revision, write) = self.next_write();
                self.writing = Some((revision, blocking(write)));
            }
            tokio::select! {
                _ = revision.changed() => {}
                () = or_pending(self.retry_at.map(sleep_until)) => self.retry_at = None,
                (revision, result) = finished(&mut self.writing) => self.finish_write(revision, result),
            }
        }
    }

    /// Writes the record, and blocks until that is done, or until the timeout passes: the disk may be frozen.
    pub(super) fn write_within(&mut self, timeout: Duration) {
        let (revision, write) = self.next_write();
        let (opener, ended) = latch();
        let result = Arc::new(OnceLock::new());
        let to_caller = Arc::clone(&result);
        let writing = blocking(move || {
            let result = write();
            let _ = to_caller.set(result.clone());
            drop(opener);
            result
        });
        self.writing = Some((revision, writing));
        if ended.wait_until(std::time::Instant::now() + timeout)
            && let Some(result) = result.get()
        {
            self.finish_write(revision, result.clone());
        }
    }

    /// Writes what is not written yet.
    pub(super) async fn finish(&mut self) {
        if self.writing.is_some() {
            let (revision, result) = finished(&mut self.writing).await;
            self.finish_write(revision, result);
        }
        if self.written != Some(*self.store.revision().borrow()) {
            let (revision, write) = self.next_write();
            let result = blocking(write).await;
            self.finish_write(revision, result);
        }
    }

    fn is_due(&self) -> bool {
        let current = *self.store.revision().borrow();
        let waits = self.retry_at.is_some() && self.tried == Some(current);
        self.writing.is_none() && self.written != Some(current) && !waits
    }

    /// The revision to write now, and a job that writes it.
    fn next_write(&self) -> (u64, impl FnOnce() -> Result<()> + Send + 'static) {
        let (directory, owner) = (Arc::clone(&self.directory), self.owner.clone());
        let (revision, record) = self.store.record();
        (revision, move || directory.write(revision, &record::encode(&owner, &record)))
    }

    fn finish_write(&mut self, revision: u64, result: Result<()>) {
        self.writing = None;
        self.tried = Some(revision);
        match result {
            Ok(()) => {
                self.written = Some(revision);
                self.failures = 0;
                self.retry_at = None;
                if self.store.set_persistence_error(None) {
                    log!(Info, "state", "state is written to {} again", self.directory.path().display());
                }
            }
            Err(error) => self.fail(error),
        }
        self.store.settle(revision);
    }

    fn fail(&mut self, error: Error) {
        let message = error.message().to_owned();
        // What is on the disk is unknown until the next write.
        self.written = None;
        self.failures = self.failures.saturating_add(1);
        let backoff = Duration::from_secs(1 << self.failures.min(6)).min(MAX_PAUSE);
        self.retry_at = Some(Instant::now() + backoff);
        if self.store.set_persistence_error(Some(error)) {
            log!(Warn, "state", "{message}; the node continues with the state in memory, and tries again");
        }
    }
}

/// The outcome of the write under way. Pending while there is none.
async fn finished(writing: &mut Option<(u64, Blocking<()>)>) -> (u64, Result<()>) {
    or_pending(writing.as_mut().map(async |(revision, write)| (*revision, write.await))).await
}
