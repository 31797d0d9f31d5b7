//! The events of a node, delivered to the host as they happen.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::dispatcher::{Dispatcher, Subscription};
use crate::error::ErrorCode;
use crate::status::State;

/// Something that happened to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When it happened.
    pub at: SystemTime,
    /// Events of this node that were lost just before this one, because the callback was too slow.
    pub dropped: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened in an [`Event`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The node moved from one state to another.
    StatusChanged {
        /// The state before.
        previous: State,
        /// The state now.
        state: State,
    },
    /// DDS sent a new secret. Read the secret itself from the node.
    SecretChanged {
        /// 1 for the first secret, then one more for each.
        version: u64,
    },
    /// A registration attempt failed. The registrar tries again.
    AttemptFailed {
        /// [`ErrorCode::Rejected`] or [`ErrorCode::Unavailable`].
        code: ErrorCode,
        /// What happened, with DDS's own words.
        message: String,
        /// The time until the next attempt.
        retry_in: Duration,
    },
    /// DDS probed `/health`.
    Healthcheck,
    /// The node holds a new access token. Read the token itself from the node.
    TokenRefreshed {
        /// When it expires.
        expires_at: SystemTime,
    },
    /// DDS does not know this node any more, so the node registers again.
    RegistrationLost {
        /// How the loss was detected, with DDS's own words.
        reason: String,
    },
}

/// The channel to the host for the events of one store.
#[derive(Default)]
pub(crate) struct EventChannel {
    dispatcher: Option<Arc<Dispatcher>>,
    /// Held by a job of [`EventChannel::call_in_turn`] until it has returned.
    turn: Arc<tokio::sync::Mutex<()>>,
    subscription: Mutex<Option<Arc<Subscription<Event>>>>,
    /// Counts the events that no callback received because it was too slow.
    dropped: AtomicU64,
}

impl EventChannel {
    pub(crate) fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Self { dispatcher: Some(dispatcher), ..Self::default() }
    }

    pub(crate) fn publish(&self, kind: EventKind) {
        let Some(dispatcher) = &self.dispatcher else { return };
        let subscription = self.subscription.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subscription) = &*subscription
            && !subscription.deliver(dispatcher, |dropped| Event { at: SystemTime::now(), dropped, kind })
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events were dropped because a callback was too slow.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether the host has subscribed.
    pub(crate) fn are_heard(&self) -> bool {
        self.subscription.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Runs a job on the dispatcher's thread, in order with the events.
    pub(crate) fn call(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.push(Box::new(job));
        }
    }

    /// As [`EventChannel::call`], once the former of these jobs has returned. The queue then has one of them at most,
    /// even if one never returns.
    pub(crate) async fn call_in_turn(&self, job: impl FnOnce() + Send + 'static) {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        self.call(move || {
            job();
            drop(turn);
        });
    }

    /// Replaces the subscription and returns the former one. That one ends when it has been dropped and the events
    /// queued for it have been delivered. Dropping it runs code of the host, so the caller must hold no lock.
    #[must_use]
    pub(crate) fn replace(
        &self,
        fresh: Option<Arc<Subscription<Event>>>,
    ) -> Option<Arc<Subscription<Event>>> {
        std::mem::replace(&mut *self.subscription.lock().unwrap_or_else(PoisonError::into_inner), fresh)
    }

    /// Ends the subscription. No callback begins after this.
    pub(crate) fn close(&self) {
        let former = self.subscription.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(former) = former {
            former.close();
        }
    }
}
