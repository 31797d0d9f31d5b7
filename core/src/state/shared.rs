//! The part of a node that keeps its state in a directory, and shares it with other processes.
//!
//! One process holds the directory's lock and leads: it runs the registrar and the callback server, and
//! writes what changes. The others follow: they show what it writes, and one of them takes over when it ends.
//! Nothing polls: the kernel tells of new records, of requests, and of the end of the leader.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::Instant;

use super::Store;
use super::directory::{Directory, Found, Holder, Lock, LockError};
use super::news::{News, Watch, ended};
use super::record::{self, Owner, Record};
use crate::blocking::{Blocking, blocking};
use crate::config::Settings;
use crate::error::{Error, ErrorCode, Result};
use crate::log::log;
use crate::register::decode_credentials;
use crate::status::{Role, State};

/// How long a start waits for a leader that has just begun to put a former owner's record away.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// The longest pause before the next try to keep what could not be kept.
const MAX_PAUSE: Duration = Duration::from_secs(60);

pub(crate) struct Shared {
    directory: Arc<Directory>,
    watch: Watch,
    owner: Owner,
    store: Arc<Store>,
    /// Whether this process holds the lock.
    locked: bool,
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

impl Shared {
    /// Opens the directory and takes up what is in it: as the leader if there is none, else as a follower.
    /// Only within the runtime.
    pub(crate) fn join(
        path: &Path,
        wallet: &str,
        settings: &Settings,
        store: &Arc<Store>,
    ) -> Result<(Self, Role)> {
        let directory = Directory::open(path)?;
        let watch = Watch::new(&directory)?;
        let mut shared = Self {
            directory: Arc::new(directory),
            watch,
            owner: Owner {
                wallet: wallet.to_owned(),
                dds: settings.dds_base_url.as_str().trim_end_matches('/').to_owned(),
                node_id: decode_credentials(settings.reg_secret.expose()).map(|(id, _)| id),
            },
            store: Arc::clone(store),
            locked: false,
            kept: None,
            tried: None,
            writing: None,
            failures: 0,
            retry_at: None,
        };
        store.begin_keeping();
        let role = shared.take_part()?;
        store.set_role(role);
        Ok((shared, role))
    }

    fn take_part(&mut self) -> Result<Role> {
        let mut patience = Some(PATIENCE);
        loop {
            match self.try_lock() {
                Ok(Lock::Ours) => {
                    self.check_watch()?;
                    if let Some(record) = load(&self.directory, &self.owner) {
                        self.store.restore(record);
                    }
                    return Ok(Role::Leader);
                }
                Ok(Lock::Theirs) => {}
                Err(LockError::Unusable(error)) => return Err(error),
                Err(LockError::Unwritable(error)) => {
                    // What is there can still be used.
                    if let Found::Record(record) = self.directory.read(&self.owner) {
                        self.store.restore(*record);
                    }
                    self.fail(error);
                    return Ok(Role::Leader);
                }
            }
            match self.directory.read(&self.owner) {
                Found::Record(record) => self.store.follow(*record),
                Found::Foreign(other) => {
                    if let Some(patience) = patience.take() {
                        self.wait_for_news(&patience);
                        continue;
                    }
                    return Err(self.refused(&other));
                }
                // The leader has not written yet, or cannot; that is told as it comes.
                Found::Nothing | Found::Unusable(_) | Found::Unreadable(_) => {}
            }
            return Ok(Role::Follower);
        }
    }

    fn refused(&self, other: &Owner) -> Error {
        let node =
            |owner: &Owner| owner.node_id.as_ref().map_or_else(String::new, |id| format!(", node {id}"));
        Error::invalid_config(format!(
            "state_dir {} is in use by a node with wallet {} and DDS {}{}, and this one has wallet {} and DDS \
             {}{}; give each node a directory of its own",
            self.directory.path().display(),
            other.wallet,
            other.dds,
            node(other),
            self.owner.wallet,
            self.owner.dds,
            node(&self.owner),
        ))
    }

    fn try_lock(&mut self) -> std::result::Result<Lock, LockError> {
        self.locked = false;
        self.directory.open_lock()?;
        self.watch.watch_lock(&self.directory.lock_path()).map_err(|error| {
            let path = self.directory.path().display();
            LockError::Unusable(Error::new(
                ErrorCode::Io,
                format!("state_dir {path}: its lock cannot be watched: {error}"),
            ))
        })?;
        let lock = self.directory.try_lock()?;
        self.locked = lock == Lock::Ours;
        Ok(lock)
    }

    /// The kernel tells of a change before the call that makes it returns, or never.
    fn check_watch(&self) -> Result<()> {
        self.directory.touch_lock();
        if self.watch.news().lock {
            return Ok(());
        }
        Err(Error::invalid_config(format!(
            "state_dir {}: file notification does not work there; name a directory on a disk of this machine",
            self.directory.path().display()
        )))
    }

    fn wait_for_news(&self, patience: &Timespec) {
        let _ = poll(&mut [PollFd::new(self.watch.file(), PollFlags::IN)], Some(patience));
        self.watch.news();
    }

    /// Tells the followers who leads now, before the node does anything.
    pub(crate) fn announce(&mut self) {
        if self.locked {
            let (revision, record) = self.store.record();
            let result = self.directory.write(revision, &record::encode(&self.owner, &record));
            self.finish_write(revision, result);
        }
    }

    /// Shows what the leader does. Returns when this process leads.
    pub(crate) async fn follow(&mut self) {
        self.store.set_role(Role::Follower);
        loop {
            let holder = match self.try_lock() {
                Ok(Lock::Ours) => break,
                Ok(Lock::Theirs) => self.directory.holder(),
                Err(LockError::Unusable(error) | LockError::Unwritable(error)) => {
                    self.fail(error);
                    Holder::Unknown
                }
            };
            self.follow_holder(holder).await;
        }
        self.take_over().await;
    }

    /// Returns when the lock may be free.
    async fn follow_holder(&mut self, holder: Holder) {
        let unknown = matches!(holder, Holder::Unknown);
        let mut ended = pin!(ended(holder));
        let mut signal = self.store.signal();
        let mut asked = None;
        let mut news = News { record: true, ..News::default() };
        loop {
            if news.record {
                self.read().await;
            }
            if news.lock {
                return;
            }
            if let Some(registration) = self.store.asked_after()
                && asked != Some(registration)
                && self.retry_at.is_none()
            {
                let directory = Arc::clone(&self.directory);
                match blocking(move || directory.request_rearm(registration)).await {
                    Ok(()) => asked = Some(registration),
                    Err(error) => self.fail(error),
                }
            }
            news = tokio::select! {
                news = self.watch.changed() => news,
                () = &mut ended => return,
                () = pause(self.retry_at) => {
                    self.retry_at = None;
                    // Without the lock file there is no other way to learn whether it can be made by now.
                    News { record: true, lock: unknown, request: false }
                }
                _ = signal.changed() => News::default(),
            };
        }
    }

    async fn read(&mut self) {
        let (directory, owner) = (Arc::clone(&self.directory), self.owner.clone());
        let found = blocking(move || Ok(directory.read(&owner))).await;
        let why = match found {
            Ok(Found::Record(record)) => {
                self.store.follow(*record);
                return self.succeed();
            }
            Ok(Found::Nothing) => return,
            Ok(Found::Foreign(other)) => return self.fail(self.refused(&other)),
            Ok(Found::Unusable(unusable)) => unusable.to_string(),
            Ok(Found::Unreadable(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let path = self.directory.path().display();
        self.fail(Error::new(ErrorCode::Io, format!("state_dir {path}: the record cannot be used: {why}")));
    }

    async fn take_over(&mut self) {
        let (directory, owner) = (Arc::clone(&self.directory), self.owner.clone());
        if let Ok(Some(record)) = blocking(move || Ok(load(&directory, &owner))).await {
            self.store.follow(record);
        }
        (self.kept, self.tried) = (None, None);
        self.store.set_role(Role::Leader);
        let goes_on = match self.store.state() {
            State::Registered => "it stays registered",
            State::Disconnected | State::Registering => "it registers",
        };
        log!(Info, "state", "this process has taken the node over from another one, and {goes_on}");
    }

    /// Keeps the state and hears the followers. Returns when another process leads after all.
    pub(crate) async fn lead(&mut self) {
        let mut revision = self.store.revision();
        self.take_requests().await;
        loop {
            if self.is_due() && !self.begin_write().await {
                log!(Warn, "state", "another process leads; this one follows");
                return;
            }
            tokio::select! {
                news = self.watch.changed() => {
                    if news.lock && self.locked && !self.still_leads() {
                        // Closing a file drops the locks that this process has on it.
                        let lock = self.directory.lock_path();
                        log!(Warn, "state", "this process has lost {} to another one, for it has opened and \
                            closed that file, or somebody has removed it; it follows now", lock.display());
                        self.wait_for_write().await;
                        return;
                    }
                    if news.request {
                        self.take_requests().await;
                    }
                }
                _ = revision.changed() => {}
                () = pause(self.retry_at) => {
                    self.retry_at = None;
                    self.take_requests().await;
                }
                (revision, result) = finished(&mut self.writing) => {
                    self.writing = None;
                    self.finish_write(revision, result);
                }
            }
        }
    }

    fn is_due(&self) -> bool {
        let current = *self.store.revision().borrow();
        let waits = self.retry_at.is_some() && self.tried == Some(current);
        self.writing.is_none() && self.kept != Some(current) && !waits
    }

    /// False when it is not for this process to write.
    async fn begin_write(&mut self) -> bool {
        let (directory, owner) = (Arc::clone(&self.directory), self.owner.clone());
        if !self.locked {
            // The lock file could not be made, or not again.
            match self.try_lock() {
                Ok(Lock::Ours) => {}
                Ok(Lock::Theirs) => return false,
                Err(LockError::Unusable(error) | LockError::Unwritable(error)) => {
                    let current = *self.store.revision().borrow();
                    self.finish_write(current, Err(error));
                    return true;
                }
            }
            let (directory, owner) = (Arc::clone(&directory), owner.clone());
            if let Ok(Some(record)) = blocking(move || Ok(load(&directory, &owner))).await {
                self.store.adopt(&record);
            }
        }
        let (revision, record) = self.store.record();
        let write = move || directory.write(revision, &record::encode(&owner, &record));
        self.writing = Some((revision, blocking(write)));
        true
    }

    async fn wait_for_write(&mut self) {
        if self.writing.is_some() {
            let (revision, result) = finished(&mut self.writing).await;
            self.writing = None;
            self.finish_write(revision, result);
        }
    }

    fn finish_write(&mut self, revision: u64, result: Result<()>) {
        match result {
            Ok(()) => {
                self.kept = Some(revision);
                self.succeed();
            }
            Err(error) => {
                self.fail(error);
                self.tried = Some(revision);
            }
        }
        self.store.settle(revision);
    }

    fn succeed(&mut self) {
        self.failures = 0;
        self.retry_at = None;
        if self.store.set_persistence_error(None) {
            log!(Info, "state", "state is kept in {} again", self.directory.path().display());
        }
    }

    fn fail(&mut self, error: Error) {
        let message = error.message().to_owned();
        // What is on the disk is in doubt until the next write.
        self.kept = None;
        self.tried = Some(*self.store.revision().borrow());
        self.failures = self.failures.saturating_add(1);
        let backoff = Duration::from_secs(1 << self.failures.min(6)).min(MAX_PAUSE);
        self.retry_at = Some(Instant::now() + backoff);
        if self.store.set_persistence_error(Some(error)) {
            log!(Warn, "state", "{message}; the node goes on with what it has in memory, and tries again");
        }
    }

    fn still_leads(&mut self) -> bool {
        match self.try_lock() {
            Ok(lock) => lock == Lock::Ours,
            Err(LockError::Unusable(error) | LockError::Unwritable(error)) => {
                self.fail(error);
                true
            }
        }
    }

    async fn take_requests(&mut self) {
        if !self.locked {
            return;
        }
        let directory = Arc::clone(&self.directory);
        let requests = blocking(move || Ok(directory.take_requests())).await;
        let requests = requests.and_then(|requests| {
            requests.map_err(|error| {
                let path = self.directory.path().display();
                Error::new(ErrorCode::Io, format!("state_dir {path}: cannot hear its followers: {error}"))
            })
        });
        match requests {
            Ok(requests) => {
                for registration in requests {
                    if self.store.rearm_after(registration) {
                        log!(Info, "state", "re-armed by another process of this node: registering again");
                    }
                }
            }
            Err(error) => self.fail(error),
        }
    }

    /// Keeps what is not kept yet, after a stop, and lets another process lead.
    pub(crate) async fn close(mut self) {
        self.wait_for_write().await;
        let (revision, record) = self.store.record();
        if self.locked && self.kept != Some(revision) {
            let (directory, owner) = (Arc::clone(&self.directory), self.owner.clone());
            let result = blocking(move || directory.write(revision, &record::encode(&owner, &record))).await;
            self.finish_write(revision, result);
        }
    }
}

/// Reads the record, or puts away what is in its place and cannot be used. Only for the holder of the lock.
fn load(directory: &Directory, owner: &Owner) -> Option<Record> {
    let (kind, why) = match directory.read(owner) {
        Found::Record(record) => return Some(*record),
        Found::Nothing => return None,
        Found::Foreign(other) => {
            ("foreign", format!("it is that of wallet {} and DDS {}", other.wallet, other.dds))
        }
        Found::Unusable(unusable) => (unusable.kind(), unusable.to_string()),
        Found::Unreadable(error) => ("damaged", error.to_string()),
    };
    let path = directory.path().display();
    match directory.set_aside(kind) {
        Ok(aside) => log!(
            Warn,
            "state",
            "the record in {path} cannot be used: {why}; it is now {}, and the node starts afresh",
            aside.display()
        ),
        Err(error) => log!(
            Warn,
            "state",
            "the record in {path} cannot be used: {why}; the node starts afresh ({error})"
        ),
    }
    None
}

async fn finished(writing: &mut Option<(u64, Blocking<()>)>) -> (u64, Result<()>) {
    match writing {
        Some((revision, writing)) => (*revision, writing.await),
        None => std::future::pending().await,
    }
}

async fn pause(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
