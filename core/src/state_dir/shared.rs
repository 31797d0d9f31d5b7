//! The part of a node that shares its state with other processes: it leads, or follows the one that does.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::directory::{Directory, Found};
use super::frame::{Answer, Frame, FromLeader, Request, VERSION};
use super::keeper::Keeper;
use super::leadership::Leadership;
use super::link::Link;
use super::lock::Lock;
use crate::blocking::blocking;
use crate::config::Settings;
use crate::error::{Error, ErrorCode, Result};
use crate::latch::latch;
use crate::log::log;
use crate::register::decode_credentials;
use crate::state::Store;
use crate::state::record::{self, Owner, Record};
use crate::status::{Role, State};

/// How long a start waits for a leader, and for the first write.
const PATIENCE: Duration = Duration::from_secs(1);
/// The first pause before the next try to reach a leader: there may be none yet, but the lock is taken. Each
/// further pause is twice as long.
const MIN_PAUSE: Duration = Duration::from_millis(1);
/// A leader that is not reached by then is reported.
const MAX_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Shared {
    directory: Arc<Directory>,
    owner: Owner,
    store: Arc<Store>,
    part: Part,
}

enum Part {
    Leader(Box<Leader>),
    /// With its connection to the leader, while there is one.
    Follower(Option<Box<Link>>),
}

struct Leader {
    keeper: Keeper,
    leadership: Leadership,
}

/// What a follower starts with.
struct Met {
    link: Link,
    /// None from a leader with another version of the protocol.
    first: Option<Frame>,
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
        let mut shared = Self {
            directory: Arc::new(Directory::open(path)?),
            owner: Owner {
                wallet: wallet.to_owned(),
                dds: settings.dds_base_url.as_str().trim_end_matches('/').to_owned(),
                node_id: decode_credentials(settings.reg_secret.expose()).map(|(id, _)| id),
            },
            store: Arc::clone(store),
            part: Part::Follower(None),
        };
        store.begin_keeping();
        let role = shared.take_part()?;
        store.set_role(role);
        Ok((shared, role))
    }

    fn take_part(&mut self) -> Result<Role> {
        let deadline = Instant::now() + PATIENCE;
        let (mut wait, mut unreached) = (MIN_PAUSE, None);
        loop {
            if self.directory.try_lock()? == Lock::Ours {
                if let Some(record) = load(&self.directory, &self.owner) {
                    self.store.restore(record);
                }
                self.part = Part::Leader(self.begin_to_lead());
                return Ok(Role::Leader);
            }
            match self.meet(deadline) {
                Ok(Met { link, first }) => {
                    match &first {
                        Some(first) => self.hear_first(first)?,
                        None => self.follow_record(other_version(&self.directory, link.version))?,
                    }
                    self.part = Part::Follower(Some(Box::new(link)));
                    return Ok(Role::Follower);
                }
                // Another process may have the lock and not listen yet, or be about to end.
                Err(error) if Instant::now() < deadline => {
                    unreached = Some(error);
                    thread::sleep(wait);
                }
                Err(error) => {
                    self.follow_record(unreached.unwrap_or(error))?;
                    return Ok(Role::Follower);
                }
            }
            wait *= 2;
        }
    }

    /// Meets the leader, from the calling thread.
    fn meet(&self, deadline: Instant) -> Result<Met> {
        let directory = Arc::clone(&self.directory);
        let (opener, ended) = latch();
        let (sender, mut met) = oneshot::channel();
        Handle::current().spawn(async move {
            let _ = sender.send(meet(&directory, deadline).await);
            drop(opener);
        });
        // The task ends by then.
        ended.wait_until(deadline + PATIENCE);
        met.try_recv().unwrap_or_else(|_| Err(silent(&self.directory)))
    }

    /// Shows the state of the leader, unless that is another node.
    fn hear_first(&self, first: &Frame) -> Result<()> {
        if let Ok(FromLeader::Record(bytes)) = FromLeader::decode(first)
            && let Ok((owner, _)) = record::decode(bytes)
            && !owner.is(&self.owner)
        {
            return Err(self.refused(&owner));
        }
        self.hear(first);
        Ok(())
    }

    /// Shows what is on the disk, as long as the leader cannot be reached.
    fn follow_record(&self, error: Error) -> Result<()> {
        match self.directory.read(&self.owner) {
            Found::Record(record) => self.store.follow(*record),
            Found::Foreign(other) => return Err(self.refused(&other)),
            Found::Nothing | Found::Unusable(_) | Found::Unreadable(_) => {}
        }
        self.fail(error);
        Ok(())
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

    fn begin_to_lead(&self) -> Box<Leader> {
        Box::new(Leader {
            keeper: Keeper::new(&self.directory, &self.owner, &self.store),
            leadership: Leadership::begin(&self.directory, &self.owner, &self.store),
        })
    }

    /// Keeps the state once, before the node does anything.
    pub(crate) fn announce(&mut self) {
        if let Part::Leader(leader) = &mut self.part {
            leader.keeper.keep_within(PATIENCE);
        }
    }

    /// Shows what the leader does. Returns when this process leads.
    pub(crate) async fn follow(&mut self) {
        let mut pause = MIN_PAUSE;
        loop {
            let Part::Follower(link) = &mut self.part else { return };
            if let Some(link) = link.take()
                && self.follow_leader(*link).await
            {
                pause = MIN_PAUSE;
            }
            let error = match self.directory.try_lock() {
                Ok(Lock::Ours) => return self.take_over().await,
                Ok(Lock::Theirs) => match Link::open(&self.directory).await {
                    Ok(link) => {
                        self.part = Part::Follower(Some(Box::new(link)));
                        continue;
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if pause == MAX_PAUSE {
                self.fail(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Shows what this leader does, and passes requests on to it. Returns at its end; true if it has said
    /// anything.
    async fn follow_leader(&self, mut link: Link) -> bool {
        if link.version != VERSION {
            self.fail(other_version(&self.directory, link.version));
            while link.next().await.is_ok() {}
            return false;
        }
        let mut signal = self.store.signal();
        let (mut asked, mut heard) = (None, false);
        loop {
            let asks = self.store.asked_after();
            if let Some(registration) = asks
                && asked != asks
            {
                link.request(Request::Rearm { registration }).await;
                asked = asks;
            }
            tokio::select! {
                frame = link.next() => match frame {
                    Ok(frame) => heard |= self.hear(&frame),
                    Err(_) => return heard,
                },
                _ = signal.changed() => {}
            }
        }
    }

    /// Takes up what the leader says. True if it can be used.
    fn hear(&self, frame: &Frame) -> bool {
        let path = self.directory.path().display();
        let error = match FromLeader::decode(frame) {
            Ok(FromLeader::Record(bytes)) => match record::decode(bytes) {
                Ok((owner, record)) if owner.is(&self.owner) => {
                    self.store.follow(record);
                    if self.store.set_persistence_error(None) {
                        log!(Info, "state", "the process that leads in {path} is followed again");
                    }
                    return true;
                }
                Ok((owner, _)) => self.refused(&owner),
                Err(unusable) => Error::new(
                    ErrorCode::Io,
                    format!(
                        "state_dir {path}: the state that the process that leads sends cannot be used: {unusable}"
                    ),
                ),
            },
            // The record that follows shows what came of it.
            Ok(FromLeader::Answer(_, Answer::Done | Answer::Outdated)) => return true,
            Ok(FromLeader::Answer(_, Answer::Unknown)) => Error::new(
                ErrorCode::Io,
                format!("state_dir {path}: the process that leads does not know what it was asked for"),
            ),
            Err(error) => Error::new(
                ErrorCode::Io,
                format!("state_dir {path}: the process that leads cannot be understood: {error}"),
            ),
        };
        self.fail(error);
        false
    }

    fn fail(&self, error: Error) {
        let message = error.message().to_owned();
        if self.store.set_persistence_error(Some(error)) {
            log!(Warn, "state", "{message}; the node goes on with what it has in memory, and tries again");
        }
    }

    async fn take_over(&mut self) {
        self.part = Part::Leader(self.begin_to_lead());
        let (directory, owner) = (Arc::clone(&self.directory), self.owner.clone());
        if let Ok(Some(record)) = blocking(move || Ok(load(&directory, &owner))).await {
            self.store.catch_up(record);
        }
        self.store.set_role(Role::Leader);
        let goes_on = match self.store.state() {
            State::Registered => "it stays registered",
            State::Disconnected | State::Registering => "it registers",
        };
        log!(Info, "state", "this process has taken the node over from another one, and {goes_on}");
    }

    /// Keeps the state, and serves the followers. Never returns.
    pub(crate) async fn lead(&mut self) {
        match &mut self.part {
            Part::Leader(leader) => {
                tokio::join!(leader.keeper.run(), leader.leadership.run());
            }
            Part::Follower(_) => unreachable!("a node leads when `follow` has returned"),
        }
    }

    /// Keeps what is not kept yet, after a stop, and lets another process lead.
    pub(crate) async fn close(self) {
        if let Part::Leader(mut leader) = self.part {
            leader.keeper.finish().await;
            leader.leadership.remove_socket().await;
            // Before the followers see the end of their connections.
            self.directory.unlock();
        }
    }
}

/// Connects to the leader, and waits for its state.
async fn meet(directory: &Directory, deadline: Instant) -> Result<Met> {
    let met = async {
        let mut link = Link::open(directory).await?;
        if link.version != VERSION {
            return Ok(Met { link, first: None });
        }
        match link.next().await {
            Ok(first) => Ok(Met { link, first: Some(first) }),
            Err(_) => Err(silent(directory)),
        }
    };
    tokio::time::timeout_at(deadline.into(), met).await.unwrap_or_else(|_| Err(silent(directory)))
}

fn silent(directory: &Directory) -> Error {
    let path = directory.path().display();
    Error::new(ErrorCode::Io, format!("state_dir {path}: the process that leads does not answer"))
}

fn other_version(directory: &Directory, version: u8) -> Error {
    let path = directory.path().display();
    Error::new(
        ErrorCode::Io,
        format!(
            "state_dir {path}: the process that leads speaks version {version} of the protocol, and this one \
             version {VERSION}; run one version of this library, and restart that process first"
        ),
    )
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
