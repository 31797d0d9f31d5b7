//! Callbacks that this process cannot decide alone, because other processes share the state.
//!
//! They wait here until the task that talks to those processes has a verdict. Nothing is taken from them before.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::callback::Acceptance;
use crate::config::CallbackPolicy;
use crate::secret::Secret;

/// How long a callback waits for a verdict.
const PATIENCE: Duration = Duration::from_secs(2);
/// More callbacks than these are refused at once.
const MAX_WAITING: usize = 256;

const UNDECIDED: Acceptance =
    Acceptance::Unavailable("the processes that share this node's state cannot be reached at present");

/// A secret that DDS sent, and who waits for the verdict.
pub(crate) struct Request {
    pub(crate) policy: Option<CallbackPolicy>,
    pub(crate) secret: Secret,
    verdict: oneshot::Sender<Acceptance>,
}

impl Request {
    /// Whether anybody still waits. The secret of one that has been given up must not be taken.
    pub(crate) fn is_pending(&self) -> bool {
        !self.verdict.is_closed()
    }

    pub(crate) fn decide(self, verdict: Acceptance) {
        let _ = self.verdict.send(verdict);
    }
}

/// The requests of one node, oldest first.
#[derive(Default)]
pub(crate) struct Requests {
    waiting: Mutex<VecDeque<Request>>,
    added: Notify,
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Request>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the verdict, which comes from whoever calls [`Requests::take`].
    pub(super) async fn ask(&self, policy: Option<CallbackPolicy>, secret: Secret) -> Acceptance {
        let (verdict, decided) = oneshot::channel();
        {
            let mut waiting = self.lock();
            waiting.retain(Request::is_pending);
            if waiting.len() >= MAX_WAITING {
                return UNDECIDED;
            }
            waiting.push_back(Request { policy, secret, verdict });
        }
        self.added.notify_one();
        match timeout(PATIENCE, decided).await {
            Ok(Ok(verdict)) => verdict,
            _ => UNDECIDED,
        }
    }

    /// Waits until a request was added since the last call. Cancel-safe.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    /// Takes all requests that somebody waits for.
    pub(crate) fn take(&self) -> Vec<Request> {
        self.lock().drain(..).filter(Request::is_pending).collect()
    }

    /// Puts requests back that could not be decided.
    pub(crate) fn put_back(&self, requests: Vec<Request>) {
        let mut waiting = self.lock();
        for request in requests.into_iter().rev() {
            waiting.push_front(request);
        }
    }
}
