//! What happens to a node, told to the host as it happens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::dispatcher::{Dispatcher, Subscription};
use crate::error::ErrorCode;
use crate::status::State;

/// Something that happened to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened.
    pub at: SystemTime,
    /// Events of this node that were lost just before this one, because the callback was too slow.
    pub dropped: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What an [`Event`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The node moved from one state to another.
    StatusChanged {
        /// The state before.
        from: State,
        /// The state now.
        to: State,
    },
    /// DDS sent a new secret. The secret itself is read from the node.
    SecretChanged {
        /// 1 for the first secret, then one more for each.
        version: u64,
    },
    /// A registration attempt failed; the registrar goes on.
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
    /// A new access token is held. The token itself is asked for from the node.
    TokenRefreshed {
        /// When it expires.
        expires_at: SystemTime,
    },
    /// DDS does not know this node any more, so it registers again.
    RegistrationLost {
        /// How the loss was noticed, with DDS's own words.
        reason: String,
    },
}

/// Where the events of one store go.
#[derive(Default)]
pub(crate) struct EventChannel {
    dispatcher: Option<Arc<Dispatcher>>,
    subscription: Mutex<Option<Arc<Subscription<Event>>>>,
}

impl EventChannel {
    pub(crate) fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Self { dispatcher: Some(dispatcher), subscription: Mutex::default() }
    }

    pub(crate) fn publish(&self, kind: EventKind) {
        let Some(dispatcher) = &self.dispatcher else { return };
        let subscription = self.subscription.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subscription) = &*subscription {
            subscription.deliver(dispatcher, |dropped| Event { at: SystemTime::now(), dropped, kind });
        }
    }

    /// Whether somebody has subscribed.
    pub(crate) fn are_heard(&self) -> bool {
        self.subscription.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Calls back once, in order with the events.
    pub(crate) fn call(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.push(Box::new(job));
        }
    }

    /// Replaces the subscription. The former one ends when it is dropped and what is queued for it was
    /// delivered; that runs the host's code, so the caller drops it under no lock.
    #[must_use]
    pub(crate) fn replace(
        &self,
        fresh: Option<Arc<Subscription<Event>>>,
    ) -> Option<Arc<Subscription<Event>>> {
        std::mem::replace(&mut *self.subscription.lock().unwrap_or_else(PoisonError::into_inner), fresh)
    }

    /// Ends the subscription: no callback begins after this.
    pub(crate) fn close(&self) {
        let former = self.subscription.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(former) = former {
            former.close();
        }
    }
}
