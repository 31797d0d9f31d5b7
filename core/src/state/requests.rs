//! Callbacks that this process cannot decide alone, because other processes share the state.
//!
//! They wait here until the task that talks to those processes has a verdict. Nothing is taken from them before.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

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
    waiter: Arc<Waiter>,
}

/// Takes the one verdict.
struct Waiter(Mutex<Option<oneshot::Sender<Acceptance>>>);

impl Waiter {
    fn lock(&self) -> MutexGuard<'_, Option<oneshot::Sender<Acceptance>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_waiting(&self) -> bool {
        self.lock().as_ref().is_some_and(|waiter| !waiter.is_closed())
    }

    fn decide(&self, verdict: Acceptance) {
        if let Some(waiter) = self.lock().take() {
            let _ = waiter.send(verdict);
        }
    }
}

impl Request {
    pub(crate) fn decide(self, verdict: Acceptance) {
        self.waiter.decide(verdict);
    }
}

impl Drop for Request {
    /// One that nobody has decided, because the task that should has ended.
    fn drop(&mut self) {
        self.waiter.decide(UNDECIDED);
    }
}

/// The requests of one node, oldest first.
#[derive(Default)]
pub(crate) struct Requests {
    queue: Mutex<Queue>,
    added: Notify,
    /// For [`Requests::expire`].
    patience_began: Notify,
}

#[derive(Default)]
struct Queue {
    /// The ones that no task has taken.
    requests: VecDeque<Request>,
    /// All of the last two seconds, and when they are given up.
    deadlines: VecDeque<(Instant, Arc<Waiter>)>,
    closed: bool,
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the verdict, which comes from the task that calls [`Requests::take`], or from [`Requests::expire`]. Needs
    /// no runtime.
    pub(super) async fn ask(&self, policy: Option<CallbackPolicy>, secret: Secret) -> Acceptance {
        let (sender, decided) = oneshot::channel();
        {
            let mut queue = self.lock();
            let waiting = queue.deadlines.iter().filter(|(_, waiter)| waiter.is_waiting()).count();
            if queue.closed || waiting >= MAX_WAITING {
                return UNDECIDED;
            }
            let waiter = Arc::new(Waiter(Mutex::new(Some(sender))));
            while queue.deadlines.front().is_some_and(|(_, first)| !first.is_waiting()) {
                queue.deadlines.pop_front();
            }
            queue.deadlines.push_back((Instant::now() + PATIENCE, Arc::clone(&waiter)));
            queue.requests.push_back(Request { policy, secret, waiter });
        }
        self.added.notify_one();
        self.patience_began.notify_one();
        decided.await.unwrap_or(UNDECIDED)
    }

    /// Gives up requests that have waited too long. Never returns.
    pub(crate) async fn expire(&self) {
        loop {
            let first = self.lock().deadlines.front().map(|(at, _)| *at);
            let Some(at) = first else {
                self.patience_began.notified().await;
                continue;
            };
            sleep_until(at).await;
            let mut queue = self.lock();
            while queue.deadlines.front().is_some_and(|(at, _)| *at <= Instant::now()) {
                if let Some((_, waiter)) = queue.deadlines.pop_front() {
                    waiter.decide(UNDECIDED);
                }
            }
        }
    }

    /// Refuses every request from now on.
    pub(super) fn close(&self) {
        let requests = {
            let mut queue = self.lock();
            queue.closed = true;
            std::mem::take(&mut queue.requests)
        };
        drop(requests);
    }

    /// Waits until a request was added since the last call. Cancel-safe.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    /// Takes all requests that somebody waits for. One that is dropped without a verdict is refused.
    pub(crate) fn take(&self) -> Vec<Request> {
        let requests = std::mem::take(&mut self.lock().requests);
        requests.into_iter().filter(|request| request.waiter.is_waiting()).collect()
    }

    /// Puts requests back that could not be decided yet.
    pub(crate) fn put_back(&self, requests: Vec<Request>) {
        let mut queue = self.lock();
        for request in requests.into_iter().rev() {
            queue.requests.push_front(request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(requests: &Arc<Requests>, secret: &str) -> tokio::task::JoinHandle<Acceptance> {
        let (requests, secret) = (Arc::clone(requests), Secret::new(secret));
        tokio::spawn(async move { requests.ask(None, secret).await })
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_receives_its_verdict_or_is_given_up() {
        let requests = Arc::<Requests>::default();
        let expired = Arc::clone(&requests);
        tokio::spawn(async move { expired.expire().await });
        let (one, two, three) = (ask(&requests, "1"), ask(&requests, "2"), ask(&requests, "3"));
        requests.added().await;
        tokio::task::yield_now().await;
        let mut taken = requests.take();
        assert_eq!(taken.iter().map(|request| request.secret.expose()).collect::<Vec<_>>(), ["1", "2", "3"]);
        let last = taken.pop();
        requests.put_back(taken);
        let mut taken = requests.take().into_iter();
        taken.next().expect("the first").decide(Acceptance::New(1));
        assert_eq!(one.await.expect("no panic"), Acceptance::New(1));
        drop(taken);
        assert_eq!(two.await.expect("no panic"), UNDECIDED);
        let began = Instant::now();
        assert_eq!(three.await.expect("no panic"), UNDECIDED);
        assert_eq!(began.elapsed(), PATIENCE);
        last.expect("the last").decide(Acceptance::New(2));
        assert!(requests.lock().deadlines.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_waiting_requests_is_bounded_and_none_waits_after_a_stop() {
        let requests = Arc::<Requests>::default();
        let waiting: Vec<_> = (0..MAX_WAITING).map(|_| ask(&requests, "s")).collect();
        tokio::task::yield_now().await;
        assert_eq!(requests.ask(None, Secret::new("one more")).await, UNDECIDED);
        requests.close();
        for one in waiting {
            assert_eq!(one.await.expect("no panic"), UNDECIDED);
        }
        assert_eq!(requests.ask(None, Secret::new("late")).await, UNDECIDED);
    }
}
