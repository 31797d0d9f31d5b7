//! Keeps a leader's state on the disk.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::directory::Directory;
use super::pause;
use crate::blocking::{Blocking, blocking};
use crate::error::{Error, Result};
use crate::latch::latch;
use crate::log::log;
use crate::state::Store;
use crate::state::record::{self, Owner};

/// The longest pause before the next try to keep what could not be kept.
const MAX_PAUSE: Duration = Duration::from_secs(60);

pub(super) struct Keeper {
    directory: Arc<Directory>,
    owner: Owner,
    store: Arc<Store>,
    /// The revision that the record on the disk has.
    kept: Option<u64>,
    /// The last revision that was to be kept.
    tried: Option<u64>,
    /// A write under way, and its revision.
    writing: Option<(u64, Blocking<()>)>,
    /// Failures in a row, and when to try again.
    failures: u32,
    retry_at: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(directory: &Arc<Directory>, owner: &Owner, store: &Arc<Store>) -> Self {
        Self {
            directory: Arc::clone(directory),
            owner: owner.clone(),
            store: Arc::clone(store),
            kept: None,
            tried: None,
            writing: None,
            failures: 0,
            retry_at: None,
        }
    }

    /// Keeps what changes. Never returns.
    pub(super) async fn run(&mut self) {
        let mut revision = self.store.revision();
        loop {
            if self.is_due() {
                let (revision, write) = self.next_write();
                self.writing = Some((revision, blocking(write)));
            }
            tokio::select! {
                _ = revision.changed() => {}
                () = pause(self.retry_at) => self.retry_at = None,
                (revision, result) = written(&mut self.writing) => self.finish_write(revision, result),
            }
        }
    }

    /// Keeps the state, and waits for that on the calling thread, but not for longer than this: the disk may
    /// be frozen.
    pub(super) fn keep_within(&mut self, patience: Duration) {
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
        if ended.wait_until(std::time::Instant::now() + patience)
            && let Some(result) = result.get()
        {
            self.finish_write(revision, result.clone());
        }
    }

    /// Keeps what is not kept yet.
    pub(super) async fn finish(&mut self) {
        if self.writing.is_some() {
            let (revision, result) = written(&mut self.writing).await;
            self.finish_write(revision, result);
        }
        if self.kept != Some(*self.store.revision().borrow()) {
            let (revision, write) = self.next_write();
            let result = blocking(write).await;
            self.finish_write(revision, result);
        }
    }

    fn is_due(&self) -> bool {
        let current = *self.store.revision().borrow();
        let waits = self.retry_at.is_some() && self.tried == Some(current);
        self.writing.is_none() && self.kept != Some(current) && !waits
    }

    /// The revision that is to be kept now, and what writes it.
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
                self.kept = Some(revision);
                self.failures = 0;
                self.retry_at = None;
                if self.store.set_persistence_error(None) {
                    log!(Info, "state", "state is kept in {} again", self.directory.path().display());
                }
            }
            Err(error) => self.fail(error),
        }
        self.store.settle(revision);
    }

    fn fail(&mut self, error: Error) {
        let message = error.message().to_owned();
        // What is on the disk is in doubt until the next write.
        self.kept = None;
        self.failures = self.failures.saturating_add(1);
        let backoff = Duration::from_secs(1 << self.failures.min(6)).min(MAX_PAUSE);
        self.retry_at = Some(Instant::now() + backoff);
        if self.store.set_persistence_error(Some(error)) {
            log!(Warn, "state", "{message}; the node goes on with what it has in memory, and tries again");
        }
    }
}

async fn written(writing: &mut Option<(u64, Blocking<()>)>) -> (u64, Result<()>) {
    match writing {
        Some((revision, writing)) => (*revision, writing.await),
        None => std::future::pending().await,
    }
}
