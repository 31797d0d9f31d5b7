//! Which process leads: this one, or another one that it follows and may replace.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::AsyncRead;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::acceptor::Acceptor;
use super::directory::{Directory, Lock};
use super::frame::{Frame, FrameReader, FromLeader, VERSION};
use super::link::Link;
use super::questions::Questions;
use super::record_file::Found;
use super::socket;
use super::writer::Writer;
use crate::blocking::blocking;
use crate::config::Settings;
use crate::error::{Error, ErrorCode, Result};
use crate::latch::latch;
use crate::log::log;
use crate::state::record::{self, Owner};
use crate::state::store::Store;
use crate::status::{Role, State};

/// How long a start waits for the leader, and for the first write.
const PATIENCE: Duration = Duration::from_secs(1);
/// The first pause before the next try to reach the leader, which may have taken the lock but not listen yet. Each
/// further pause is twice as long.
const MIN_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause. A leader that cannot be reached by then is reported as an error.
const MAX_PAUSE: Duration = Duration::from_secs(1);

const OTHER_VERSION: &str =
    "the process that leads this node runs a version of this library that this process does not understand";

/// The part of one process among those that share a state directory.
pub(crate) struct Leadership {
    directory: Arc<Directory>,
    owner: Owner,
    store: Arc<Store>,
    part: Part,
}

enum Part {
    Leader(Box<Leader>),
    /// With the connection to the leader, while there is one.
    Follower(Option<Box<Link>>),
}

struct Leader {
    writer: Writer,
    acceptor: Acceptor,
}

/// A leader that was reached.
struct Met {
    link: Link,
    /// Its first frame. `None` if it speaks another version of the protocol.
    first: Option<Frame>,
}

impl Leadership {
    /// Opens the directory and restores the state in it, as the leader if there is none, otherwise as a follower. Call
    /// it within the runtime. `name` is the address of the wallet, or the name of the robot.
    pub(crate) fn join(
        path: &Path,
        name: &str,
        settings: &Settings,
        store: &Arc<Store>,
    ) -> Result<(Self, Role)> {
        let directory = Directory::open(path)?;
        socket::check_address(&directory).map_err(|error| {
            let path = directory.path().display();
            Error::invalid_config(format!("state_dir {path}: {error}; name a directory with a shorter path"))
        })?;
        let mut leadership = Self {
            directory: Arc::new(directory),
            owner: Owner {
                wallet: name.to_owned(),
                dds: settings.dds_base_url.as_str().trim_end_matches('/').to_owned(),
                node_id: settings.reg_secret.node_id().map(|id| id.to_string()),
            },
            store: Arc::clone(store),
            part: Part::Follower(None),
        };
        store.begin_writing();
        let role = leadership.take_part()?;
        store.set_role(role);
        Ok((leadership, role))
    }

    fn take_part(&mut self) -> Result<Role> {
        let deadline = Instant::now() + PATIENCE;
        let (mut wait, mut unreached) = (MIN_PAUSE, None);
        loop {
            if self.directory.try_lock()? == Lock::Ours {
                if let Some(record) = self.directory.load(&self.owner) {
                    self.store.restore(record);
                }
                self.part = Part::Leader(self.begin_to_lead());
                return Ok(Role::Leader);
            }
            match self.meet(deadline) {
                Ok(Met { link, first }) => {
                    match &first {
                        Some(first) => self.receive_first(first)?,
                        None => self.follow_record(other_version(&self.directory, link.version))?,
                    }
                    self.part = Part::Follower(Some(Box::new(link)));
                    return Ok(Role::Follower);
                }
                // Another process may hold the lock and not listen yet, or be about to end.
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

    /// Connects to the leader, and blocks until its state has arrived.
    fn meet(&self, deadline: Instant) -> Result<Met> {
        let directory = Arc::clone(&self.directory);
        let (opener, ended) = latch();
        let (sender, mut met) = oneshot::channel();
        Handle::current().spawn(async move {
            let _ = sender.send(meet(&directory, deadline).await);
            drop(opener);
        });
        // The task ends before this.
        ended.wait_until(deadline + PATIENCE);
        met.try_recv().unwrap_or_else(|_| Err(silent(&self.directory)))
    }

    /// Shows the state of the leader. An error if it is another node.
    fn receive_first(&self, first: &Frame) -> Result<()> {
        if let Ok(FromLeader::Record(bytes)) = FromLeader::decode(first)
            && let Ok((owner, _)) = record::decode(bytes)
            && !owner.is(&self.owner)
        {
            return Err(self.refused(&owner));
        }
        self.receive(first);
        Ok(())
    }

    /// Shows the record on the disk, while the leader cannot be reached.
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
            "state_dir {} is in use by a node with {}{}, and this one has {}{}; give each node a directory of its own",
            self.directory.path().display(),
            other.describe(),
            node(other),
            self.owner.describe(),
            node(&self.owner),
        ))
    }

    fn begin_to_lead(&self) -> Box<Leader> {
        Box::new(Leader {
            writer: Writer::new(&self.directory, &self.owner, &self.store),
            acceptor: Acceptor::begin(&self.directory, &self.owner, &self.store),
        })
    }

    /// Writes the state once, before the node does anything.
    pub(crate) fn announce(&mut self) {
        if let Part::Leader(leader) = &mut self.part {
            leader.writer.write_within(PATIENCE);
        }
    }

    /// Shows the state of the leader. Returns when this process leads.
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

    /// Shows the state of this leader, and sends it requests. Returns when the connection ends; true if it brought
    /// anything usable.
    async fn follow_leader(&self, mut link: Link) -> bool {
        if link.version != VERSION {
            self.fail(other_version(&self.directory, link.version));
            loop {
                tokio::select! {
                    frame = link.frames.next() => if frame.is_err() { return false },
                    () = self.store.requests().added() => self.store.requests().refuse(OTHER_VERSION),
                }
            }
        }
        let questions = Questions::new(&self.store);
        tokio::select! {
            received = self.receive_all(&mut link.frames, &questions) => received,
            () = questions.send(&mut link.writer) => unreachable!("it never returns"),
        }
    }

    /// Uses the frames of the leader until the connection ends. Returns true if one was usable.
    async fn receive_all(
        &self,
        frames: &mut FrameReader<impl AsyncRead + Unpin>,
        questions: &Questions<'_>,
    ) -> bool {
        let mut received = false;
        while let Ok(frame) = frames.next().await {
            received |= match FromLeader::decode(&frame) {
                // The next record shows the result of a re-arm.
                Ok(FromLeader::Answer(number, answer)) if questions.answered(number, answer) => true,
                _ => self.receive(&frame),
            };
        }
        received
    }

    /// Uses a frame of the leader. Returns false if it is unusable.
    fn receive(&self, frame: &Frame) -> bool {
        let path = self.directory.path().display();
        let error = match FromLeader::decode(frame) {
            Ok(FromLeader::Record(bytes)) => match record::decode(bytes) {
                Ok((owner, record)) if owner.is(&self.owner) => {
                    self.store.follow(record);
                    if self.store.set_persistence_error(None) {
                        log!(Info, "state", "following the leader in {path} again");
                    }
                    return true;
                }
                Ok((owner, _)) => self.refused(&owner),
                Err(unusable) => Error::new(
                    ErrorCode::Io,
                    format!("state_dir {path}: the state that the leader sends cannot be used: {unusable}"),
                ),
            },
            Ok(FromLeader::Answer(..)) => {
                Error::new(ErrorCode::Io, format!("state_dir {path}: the leader does not know this request"))
            }
            Err(error) => Error::new(
                ErrorCode::Io,
                format!("state_dir {path}: the leader sent an unexpected message: {error}"),
            ),
        };
        self.fail(error);
        false
    }

    fn fail(&self, error: Error) {
        let message = error.message().to_owned();
        if self.store.set_persistence_error(Some(error)) {
            log!(Warn, "state", "{message}; the node continues with the state in memory, and tries again");
        }
    }

    async fn take_over(&mut self) {
        self.part = Part::Leader(self.begin_to_lead());
        let (directory, owner) = (Arc::clone(&self.directory), self.owner.clone());
        if let Ok(Some(record)) = blocking(move || Ok(directory.load(&owner))).await {
            self.store.catch_up(record);
        }
        self.store.set_role(Role::Leader);
        let then = match self.store.state() {
            State::Registered => "stays registered",
            State::Disconnected | State::Registering => "registers",
        };
        log!(Info, "state", "this process has taken over from the former leader, and {then}");
    }

    /// Writes the state, serves the followers, and decides what this process was asked before it led. Never returns.
    pub(crate) async fn lead(&mut self) {
        match &mut self.part {
            Part::Leader(leader) => {
                tokio::join!(leader.writer.run(), leader.acceptor.run(), self.store.decide_requests());
            }
            Part::Follower(_) => unreachable!("a node leads when `follow` has returned"),
        }
    }

    /// Writes what is not written yet, after a stop, and releases the lock to another process.
    pub(crate) async fn close(self) {
        if let Part::Leader(mut leader) = self.part {
            leader.writer.finish().await;
            leader.acceptor.remove_socket().await;
            // Before the connections to the followers end, so that one of them can take the lock.
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
        match link.frames.next().await {
            Ok(first) => Ok(Met { link, first: Some(first) }),
            Err(_) => Err(silent(directory)),
        }
    };
    tokio::time::timeout_at(deadline.into(), met).await.unwrap_or_else(|_| Err(silent(directory)))
}

fn silent(directory: &Directory) -> Error {
    let path = directory.path().display();
    Error::new(ErrorCode::Io, format!("state_dir {path}: the leader does not respond"))
}

fn other_version(directory: &Directory, version: u8) -> Error {
    let path = directory.path().display();
    Error::new(
        ErrorCode::Io,
        format!(
            "state_dir {path}: the leader speaks version {version} of the protocol, and this process version \
             {VERSION}; run one version of this library, and restart the leader first"
        ),
    )
}
