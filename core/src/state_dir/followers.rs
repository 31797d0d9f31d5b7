//! What a leader does for its followers: it sends them its state, and carries out their requests.
//!
//! Each follower has a task of its own, which holds at most one record and a few answers. A slow or stopped follower
//! delays no other one, and receives the latest state when it reads again.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::frame::{Answer, Frame, FrameReader, FromLeader, Hello, Request, VERSION};
use super::or_pending::or_pending;
use super::socket::Accepted;
use crate::log::log;
use crate::secret::Secret;
use crate::state::record::{self, Owner};
use crate::state::registration::Acceptance;
use crate::state::store::Store;

/// With this many followers, new connections are closed at once.
const MAX_FOLLOWERS: usize = 1024;
/// How many connections may lack a hello at a time. One more ends the oldest, if that has had [`MIN_GREETING`].
const MAX_GREETING: usize = 64;
const MIN_GREETING: Duration = Duration::from_millis(100);
/// A connection without a hello ends after this time.
const MAX_GREETING_TIME: Duration = Duration::from_secs(5);
/// The longest request: a kind, a number, another kind, a policy, and the longest secret that a callback may bring.
const MAX_REQUEST: usize = 1 + 8 + 1 + 1 + 4096;
/// How many answers a follower may leave unread. With more, its requests wait.
const MAX_ANSWERS: usize = 16;

/// The leader's state, encoded for its followers.
pub(super) struct Records {
    owner: Owner,
    store: Arc<Store>,
    /// With its revision. It is encoded once for all followers.
    latest: Mutex<Option<(u64, Arc<Frame>)>>,
}

impl Records {
    pub(super) fn new(owner: Owner, store: Arc<Store>) -> Self {
        Self { owner, store, latest: Mutex::default() }
    }

    fn latest(&self) -> Arc<Frame> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let (revision, record) = self.store.record();
        match &*latest {
            Some((encoded, frame)) if *encoded == revision => Arc::clone(frame),
            _ => {
                let frame = FromLeader::Record(&record::encode(&self.owner, &record)).encode();
                let frame = Arc::new(frame);
                *latest = Some((revision, Arc::clone(&frame)));
                frame
            }
        }
    }
}

pub(super) struct Followers {
    records: Arc<Records>,
    tasks: JoinSet<()>,
    /// The connections without a hello, oldest first.
    greeting: VecDeque<Greeting>,
}

struct Greeting {
    since: Instant,
    over: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Followers {
    pub(super) fn new(records: Records) -> Self {
        Self { records: Arc::new(records), tasks: JoinSet::new(), greeting: VecDeque::new() }
    }

    /// Serves one more follower, in a task of its own.
    pub(super) fn add(&mut self, connection: Connection<Accepted>) {
        if self.tasks.len() >= MAX_FOLLOWERS {
            return;
        }
        let over = Arc::<AtomicBool>::default();
        let task = self.tasks.spawn(serve(connection, Arc::clone(&self.records), Arc::clone(&over)));
        self.greeting.push_back(Greeting { since: Instant::now(), over, task });
    }

    /// Until when to accept no connection, because too many lack a hello.
    pub(super) fn full_until(&mut self) -> Option<Instant> {
        self.greeting
            .retain(|greeting| !greeting.over.load(Ordering::Relaxed) && !greeting.task.is_finished());
        if self.greeting.len() < MAX_GREETING {
            return None;
        }
        self.greeting.front().map(|oldest| oldest.since + MIN_GREETING)
    }

    /// Ends the oldest connection that has not sent its hello.
    pub(super) fn end_oldest_greeting(&mut self) {
        if let Some(oldest) = self.greeting.pop_front() {
            oldest.task.abort();
        }
    }

    /// Waits until a follower leaves.
    pub(super) async fn left(&mut self) {
        match self.tasks.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                log!(Error, "state", "a bug ended the connection to a follower; please report it");
            }
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// Serves one follower, until it or the leader ends.
async fn serve(connection: Connection<Accepted>, records: Arc<Records>, greeted: Arc<AtomicBool>) {
    let Connection { close_on_fork: _close_on_fork, reader, mut writer } = connection;
    let mut frames = FrameReader::new(reader, MAX_REQUEST);
    if Hello(VERSION).encode().write(&mut writer).await.is_err() {
        return;
    }
    let Ok(Ok(hello)) = timeout(MAX_GREETING_TIME, frames.next()).await else { return };
    let Ok(Hello(version)) = Hello::decode(&hello) else { return };
    greeted.store(true, Ordering::Relaxed);
    if version != VERSION {
        // It can only be shown the end of this process.
        let _ = frames.next().await;
        return;
    }
    let (answers, unsent) = mpsc::channel(MAX_ANSWERS);
    let ended = tokio::select! {
        ended = send(writer, &records, unsent) => ended,
        ended = receive(frames, &records.store, answers) => ended,
    };
    if let Err(error) = ended {
        log!(Debug, "state", "a follower has left: {error}");
    }
}

/// An answer to the request with this number.
struct Unsent {
    number: u64,
    answer: Answer,
    /// The revision that must be written before the follower receives it, or whose write must have failed.
    after: u64,
}

/// Sends the answers, and the latest state whenever it has changed.
async fn send(
    mut writer: WriteHalf<Accepted>,
    records: &Records,
    mut answers: mpsc::Receiver<Unsent>,
) -> io::Result<()> {
    let mut revision = records.store.revision();
    revision.mark_changed();
    let mut settlements = records.store.settlements();
    let mut next: Option<Unsent> = None;
    loop {
        let after = next.as_ref().map(|unsent| unsent.after);
        tokio::select! {
            // The state first, so that a follower that has an answer also has the state that it is about.
            biased;
            _ = revision.changed() => records.latest().write(&mut writer).await?,
            () = or_pending(after.map(|after| until_settled(&mut settlements, after))) => {
                if let Some(Unsent { number, answer, .. }) = next.take() {
                    FromLeader::Answer(number, answer).encode().write(&mut writer).await?;
                }
            }
            unsent = answers.recv(), if next.is_none() => {
                let Some(unsent) = unsent else { return Ok(()) };
                next = Some(unsent);
            }
        }
    }
}

/// Waits until this revision was written, or its write has failed.
async fn until_settled(settlements: &mut watch::Receiver<u64>, revision: u64) {
    // The sender is a field of the store, so it outlives the wait.
    let _ = settlements.wait_for(|settled| *settled >= revision).await;
}

/// Carries out the requests.
async fn receive(
    mut frames: FrameReader<ReadHalf<Accepted>>,
    store: &Store,
    answers: mpsc::Sender<Unsent>,
) -> io::Result<()> {
    loop {
        let frame = frames.next().await?;
        let (number, request) = Request::decode(&frame)?;
        let (answer, changes) = match request {
            Request::Rearm { registration } if store.rearm_after(registration) => {
                log!(Info, "state", "re-armed by another process of this node: registering again");
                (Answer::Done, false)
            }
            Request::Rearm { .. } => (Answer::Outdated, false),
            Request::Secret { policy, secret } => {
                let acceptance = store.accept_secret(policy, Secret::new(secret));
                log_acceptance(acceptance);
                (Answer::Secret(acceptance), acceptance.is_kept())
            }
            Request::Probe => {
                store.touch_healthcheck();
                (Answer::Done, false)
            }
            Request::Unknown => (Answer::Unknown, false),
        };
        let after = if changes { *store.revision().borrow() } else { 0 };
        // This fails only when the task ends.
        let _ = answers.send(Unsent { number, answer, after }).await;
    }
}

/// The process that DDS has called logs the rest.
fn log_acceptance(acceptance: Acceptance) {
    if let Acceptance::New(version) = acceptance {
        log!(
            Info,
            "state",
            "a new node secret (version {version}) came through another process of this node"
        );
    }
}
