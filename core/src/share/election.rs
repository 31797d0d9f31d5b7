//! Which process leads: one that follows takes over when the leader has stopped or is silent, and one that leads gives up
//! when its term ends.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::exchange::{Exchange, Written};
use super::term::Term;
use crate::error::{Error, ErrorCode, Result};
use crate::latch::latch;
use crate::log::log;
use crate::status::{Role, State};

/// How often the leader writes.
const RENEWAL: Duration = Duration::from_secs(3);
/// How often a follower looks, if it is told of no change: a little later than the next renewal is due.
const LOOK: Duration = Duration::from_millis(3_300);
/// How long a start waits for the state in the store, and a stop for its last write.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pauses between tries while the store cannot be used. Each is twice as long as the one before.
const MIN_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The part of one process among those that share a store.
pub(crate) struct Membership {
    exchange: Exchange,
    term: Arc<Term>,
    /// When the last read or write that succeeded began.
    last_contact: Duration,
    /// Failures in a row.
    failures: u32,
}

impl Membership {
    pub(super) fn new(exchange: Exchange) -> Self {
        exchange.store.share_remotely();
        exchange.store.set_role(Role::Follower);
        let term = Arc::new(Term::new(exchange.clock));
        Self { exchange, term, last_contact: Duration::ZERO, failures: 0 }
    }

    /// Takes the state from the store. Blocks until that is done, for a second at most. Call it within the runtime.
    pub(super) fn begin(mut self) -> Result<Self> {
        let (opener, ended) = latch();
        let (sender, mut begun) = oneshot::channel();
        Handle::current().spawn(async move {
            let looked = timeout(PATIENCE, self.exchange.look()).await;
            // If it took longer, the next look shows why.
            let looked = looked.unwrap_or(Ok(()));
            self.settle(looked);
            let _ = sender.send(self);
            drop(opener);
        });
        ended.wait_until(std::time::Instant::now() + 2 * PATIENCE);
        begun
            .try_recv()
            .map_err(|_| Error::new(ErrorCode::Io, "the library's runtime thread does not respond"))
    }

    /// Shows the state of the leader, and adds to it what only this process knows. Returns when this process leads.
    pub(crate) async fn follow(&mut self) {
        let mut looks = true;
        loop {
            let round = self.follow_once(looks).await;
            let leads = matches!(round, Ok(true));
            self.settle(round.map(|_| ()));
            if leads {
                return;
            }
            looks = self.until_due().await;
        }
    }

    async fn look(&mut self) -> Result<()> {
        let began = self.exchange.clock.now();
        let looked = self.exchange.look().await;
        if looked.is_ok() {
            self.last_contact = began;
        }
        looked
    }

    /// Returns true when this process leads.
    async fn follow_once(&mut self, looks: bool) -> Result<bool> {
        let mut looked = if looks { self.look().await } else { Ok(()) };
        let mut fresh = looks;
        loop {
            if self.exchange.may_lead_at().is_some_and(|at| at <= self.exchange.clock.now()) {
                if let Some(began) = self.exchange.claim().await? {
                    self.take_over(began);
                    return Ok(true);
                }
                continue;
            }
            // The record of another node, or one that was altered, is not overwritten while a leader may use it.
            looked.clone()?;
            match self.exchange.contribute(fresh).await? {
                Written::Done => return Ok(false),
                Written::Overtaken => fresh = true,
                Written::Unsure => {
                    looked = self.look().await;
                    fresh = true;
                }
            }
        }
    }

    fn take_over(&mut self, began: Duration) {
        self.term.extend(began);
        let store = &self.exchange.store;
        store.set_role(Role::Leader);
        if !std::mem::replace(&mut self.exchange.met_leader, true) && store.has_history() {
            // All that had led before ended before this process started.
            store.begin_anew();
        }
        let then = match store.state() {
            State::Registered => "stays registered",
            State::Disconnected | State::Registering => "registers",
        };
        log!(
            Info,
            "state",
            "this process leads the processes that share {}, and {then}",
            self.exchange.place()
        );
    }

    /// Waits until there is something to do for a follower. Returns true if it has to look at the store first: what it
    /// only adds there shows whether it has seen the latest value.
    async fn until_due(&mut self) -> bool {
        let exchange = &self.exchange;
        let now = exchange.clock.now();
        if let Some(pause) = self.pause() {
            // Everything else waits, too, so that a store in trouble is left alone meanwhile.
            tokio::time::sleep(pause).await;
            return true;
        }
        let look = (self.last_contact + LOOK).saturating_sub(now);
        let lead = exchange.may_lead_at().map_or(look, |at| at.saturating_sub(now));
        let mut revision = exchange.store.revision();
        tokio::select! {
            () = exchange.key.changed() => true,
            () = exchange.store.requests().added() => false,
            _ = revision.wait_for(|revision| *revision != exchange.known) => false,
            () = tokio::time::sleep(look.min(lead)) => true,
        }
    }

    /// Writes every change of the state, and renews the term. Returns when this process leads no more.
    pub(crate) async fn lead(&mut self) {
        let term = Arc::clone(&self.term);
        let deposed = term.within(self.keep_leading()).await.is_some();
        term.give_up();
        let exchange = &self.exchange;
        exchange.store.set_role(Role::Follower);
        if deposed {
            log!(Warn, "state", "another process leads those that share {}", exchange.place());
        } else {
            log!(
                Warn,
                "state",
                "this process has stopped leading, because it could not write to {} in time",
                exchange.place()
            );
        }
    }

    /// What a leader does beside this, until its term ends.
    pub(crate) fn term(&self) -> LeaderTerm {
        LeaderTerm(Arc::clone(&self.term))
    }

    /// Returns when another process leads.
    async fn keep_leading(&mut self) {
        loop {
            let looks = self.until_news().await;
            let round = self.lead_once(looks).await;
            if self.exchange.is_deposed() {
                return;
            }
            self.settle(round);
        }
    }

    /// Waits until there is something to do for the leader. Returns true if it has to look at the store.
    async fn until_news(&mut self) -> bool {
        if let Some(pause) = self.pause() {
            tokio::time::sleep(pause).await;
            return true;
        }
        let exchange = &self.exchange;
        let renewal = (self.last_contact + RENEWAL).saturating_sub(exchange.clock.now());
        let mut revision = exchange.store.revision();
        tokio::select! {
            () = exchange.key.changed() => true,
            () = exchange.store.requests().added() => false,
            _ = revision.wait_for(|revision| *revision != exchange.known) => false,
            () = tokio::time::sleep(renewal) => false,
        }
    }

    async fn lead_once(&mut self, looks: bool) -> Result<()> {
        // A record that cannot be used is replaced. If the store cannot be, the write says why.
        let unclear = looks && self.exchange.look().await.is_err();
        loop {
            if self.exchange.is_deposed() {
                return Ok(());
            }
            let requests = self.exchange.store.requests().take();
            let began = self.exchange.clock.now();
            let due = began >= self.last_contact + RENEWAL
                || self.exchange.has_news()
                || self.failures > 0
                || unclear;
            if !due && requests.is_empty() {
                return Ok(());
            }
            let (header, revision) =
                (self.exchange.next_header(Some(self.exchange.me)), *self.exchange.store.revision().borrow());
            if let Written::Done = self.exchange.write(header, requests).await? {
                self.term.extend(began);
                self.last_contact = began;
                self.exchange.store.settle(revision);
                return Ok(());
            }
        }
    }

    /// Hands over after a stop.
    pub(crate) async fn close(mut self) {
        if !self.term.is_over() {
            let _ = timeout(PATIENCE, self.hand_over()).await;
        }
        self.exchange.key.close().await;
    }

    async fn hand_over(&mut self) -> Result<()> {
        while !self.exchange.is_deposed() {
            let header = self.exchange.next_header(None);
            if let Written::Done = self.exchange.write(header, Vec::new()).await? {
                break;
            }
        }
        Ok(())
    }

    /// How long to leave the store alone after a failure.
    fn pause(&self) -> Option<Duration> {
        let doublings = self.failures.checked_sub(1)?;
        Some((MIN_PAUSE * 2_u32.pow(doublings.min(4))).min(MAX_PAUSE))
    }

    /// Shows whether the store can be used.
    fn settle(&mut self, outcome: Result<()>) {
        let store = &self.exchange.store;
        match outcome {
            Ok(()) => {
                self.failures = 0;
                if store.set_persistence_error(None) {
                    log!(Info, "state", "the state is shared through {} again", self.exchange.place());
                }
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let message = error.message().to_owned();
                if store.set_persistence_error(Some(error)) {
                    log!(
                        Warn,
                        "state",
                        "{message}; this process does not register until the store can be used, and tries again"
                    );
                }
            }
        }
    }
}

/// The term of this process while it leads.
#[derive(Clone)]
pub(crate) struct LeaderTerm(Arc<Term>);

impl LeaderTerm {
    /// Does this work while this process leads. What is under way when the term ends is dropped.
    pub(crate) async fn within(&self, work: impl Future<Output = ()>) {
        self.0.within(work).await;
    }
}

#[cfg(test)]
mod tests;
