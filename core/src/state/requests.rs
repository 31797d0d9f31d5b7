//! Requests of DDS that this process cannot decide alone, because other processes share the state.
//!
//! They wait here until the task that talks to those processes has a verdict. Nothing is taken from them before.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::callback::{Acceptance, STOPPED};
use crate::config::CallbackPolicy;
use crate::secret::Secret;

/// How long a request waits for a verdict.
const PATIENCE: Duration = Duration::from_secs(2);
/// More requests than these are refused at once.
const MAX_WAITING: usize = 256;

/// A request that more processes than these have not survived is refused.
const MAX_INTERRUPTIONS: u8 = 3;

const UNDECIDED: Acceptance =
    Acceptance::Unavailable("the processes that share this node's state cannot be reached at present");

/// Where the verdict goes, once.
type Verdict = Mutex<Option<oneshot::Sender<Acceptance>>>;

fn decide(verdict: &Verdict, acceptance: Acceptance) {
    let taken = verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(sender) = taken {
        let _ = sender.send(acceptance);
    }
}

/// Whether anybody still waits.
fn is_awaited(verdict: &Verdict) -> bool {
    let sender = verdict.lock().unwrap_or_else(PoisonError::into_inner);
    sender.as_ref().is_some_and(|sender| !sender.is_closed())
}

/// A secret that DDS sent, and who waits for the verdict.
pub(crate) struct Request {
    pub(crate) policy: Option<CallbackPolicy>,
    pub(crate) secret: Secret,
    /// How many processes have ended without a verdict.
    interruptions: u8,
    verdict: Arc<Verdict>,
}

impl Request {
    /// Whether anybody still waits. The secret of one that has been given up must not be taken.
    pub(crate) fn is_pending(&self) -> bool {
        is_awaited(&self.verdict)
    }

    pub(crate) fn decide(self, verdict: Acceptance) {
        let verdict = match verdict {
            // The process that was asked before may have been waiting for it.
            Acceptance::NotWaiting(_) if self.interruptions > 0 => UNDECIDED,
            verdict => verdict,
        };
        decide(&self.verdict, verdict);
    }
}

/// A health probe of DDS, and who waits until another process has recorded it.
pub(crate) struct Probe(Arc<Verdict>);

impl Probe {
    /// [`Acceptance::Same`] if it is recorded.
    pub(crate) fn decide(self, verdict: Acceptance) {
        decide(&self.0, verdict);
    }
}

/// The requests of one node, oldest first.
#[derive(Default)]
pub(crate) struct Requests {
    queue: Mutex<Queue>,
    added: Notify,
    /// As `added`, for [`Requests::expire`].
    expiring: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Request>,
    probes: Vec<Probe>,
    /// When to give up on each request, also on those that were taken. The earliest first.
    deadlines: VecDeque<(Instant, Weak<Verdict>)>,
    closed: bool,
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the verdict, which comes from whoever calls [`Requests::take`]. Needs no runtime.
    pub(super) async fn ask(&self, policy: Option<CallbackPolicy>, secret: Secret) -> Acceptance {
        self.submit(|queue, verdict| {
            queue.waiting.push_back(Request { policy, secret, interruptions: 0, verdict });
        })
        .await
    }

    /// Waits until a probe is recorded by whoever calls [`Requests::take_probes`]. Needs no runtime.
    pub(super) async fn ask_to_record_probe(&self) -> Acceptance {
        self.submit(|queue, verdict| queue.probes.push(Probe(verdict))).await
    }

    /// Waits for the verdict on what `add` adds.
    async fn submit(&self, add: impl FnOnce(&mut Queue, Arc<Verdict>)) -> Acceptance {
        let (sender, decided) = oneshot::channel();
        let verdict = Arc::new(Mutex::new(Some(sender)));
        {
            let mut queue = self.lock();
            if queue.closed {
                return Acceptance::Unavailable(STOPPED);
            }
            // While the other processes are out of reach, nothing else removes requests whose clients have left.
            queue.waiting.retain(Request::is_pending);
            queue.probes.retain(|probe| is_awaited(&probe.0));
            queue.deadlines.retain(|(_, verdict)| verdict.strong_count() > 0);
            if queue.deadlines.len() >= MAX_WAITING {
                return UNDECIDED;
            }
            add(&mut queue, Arc::clone(&verdict));
            queue.deadlines.push_back((Instant::now() + PATIENCE, Arc::downgrade(&verdict)));
        }
        drop(verdict);
        self.added.notify_one();
        self.expiring.notify_one();
        decided.await.unwrap_or(UNDECIDED)
    }

    /// Waits until a request was added since the last call. Cancel-safe.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    /// Takes all secrets that somebody waits for. One that is dropped without a verdict is refused.
    pub(crate) fn take(&self) -> Vec<Request> {
        self.lock().waiting.drain(..).filter(Request::is_pending).collect()
    }

    /// Takes all probes.
    pub(crate) fn take_probes(&self) -> Vec<Probe> {
        std::mem::take(&mut self.lock().probes)
    }

    /// Puts requests back that could not be decided.
    pub(crate) fn put_back(&self, requests: Vec<Request>) {
        let mut queue = self.lock();
        if queue.closed {
            drop(queue);
            requests.into_iter().for_each(|request| request.decide(Acceptance::Unavailable(STOPPED)));
            return;
        }
        for request in requests.into_iter().rev() {
            queue.waiting.push_front(request);
        }
    }

    /// As [`Requests::put_back`], for requests to a process that has ended. It gives up on those that several processes
    /// have not survived.
    pub(crate) fn put_back_interrupted(&self, requests: Vec<Request>, probes: Vec<Probe>) {
        let interrupted = requests.into_iter().map(|request| {
            let interruptions = request.interruptions + 1;
            Request { interruptions, ..request }
        });
        let (again, hopeless): (Vec<_>, Vec<_>) =
            interrupted.partition(|request| request.interruptions <= MAX_INTERRUPTIONS);
        hopeless.into_iter().for_each(|request| request.decide(UNDECIDED));
        self.put_back(again);
        self.lock().probes.extend(probes);
    }

    /// Refuses everything that waits, for this reason.
    pub(crate) fn refuse(&self, why: &'static str) {
        let (waiting, probes) = {
            let mut queue = self.lock();
            (std::mem::take(&mut queue.waiting), std::mem::take(&mut queue.probes))
        };
        // Not under the lock, because it wakes tasks of the host.
        waiting.into_iter().for_each(|request| request.decide(Acceptance::Unavailable(why)));
        probes.into_iter().for_each(|probe| probe.decide(Acceptance::Unavailable(why)));
    }

    /// Gives up on requests whose time is over. Never returns.
    pub(crate) async fn expire(&self) {
        loop {
            let (expired, next) = self.take_expired();
            expired.iter().for_each(|verdict| decide(verdict, UNDECIDED));
            match next {
                Some(next) => sleep_until(next).await,
                None => self.expiring.notified().await,
            }
        }
    }

    /// The requests whose time is over, and when the next one's is.
    fn take_expired(&self) -> (Vec<Arc<Verdict>>, Option<Instant>) {
        let now = Instant::now();
        let mut queue = self.lock();
        let mut expired = Vec::new();
        while let Some((deadline, verdict)) = queue.deadlines.front() {
            match verdict.upgrade() {
                Some(_) if *deadline > now => return (expired, Some(*deadline)),
                Some(verdict) => expired.push(verdict),
                None => {}
            }
            queue.deadlines.pop_front();
        }
        (expired, None)
    }

    /// The node was stopped: refuses what waits, and what comes.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.refuse(STOPPED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Option<CallbackPolicy> = Some(CallbackPolicy::PerRegistration);

    fn ask(requests: &Arc<Requests>) -> tokio::task::JoinHandle<Acceptance> {
        let requests = Arc::clone(requests);
        tokio::spawn(async move { requests.ask(POLICY, Secret::new("s")).await })
    }

    /// The oldest request.
    async fn taken(requests: &Requests) -> Request {
        loop {
            let mut waiting = requests.take();
            if !waiting.is_empty() {
                let oldest = waiting.remove(0);
                requests.put_back(waiting);
                return oldest;
            }
            requests.added().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_a_verdict_is_given_up() {
        let requests = Arc::<Requests>::default();
        let expiring = Arc::clone(&requests);
        tokio::spawn(async move { expiring.expire().await });
        let began = Instant::now();
        let (under_way, waiting) = (ask(&requests), ask(&requests));
        let request = taken(&requests).await;
        assert_eq!(waiting.await.expect("no panic"), UNDECIDED);
        assert_eq!(under_way.await.expect("no panic"), UNDECIDED);
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(!request.is_pending());
        assert!(requests.take().is_empty());
        assert!(requests.lock().deadlines.is_empty());

        let decided = ask(&requests);
        taken(&requests).await.decide(Acceptance::New(3));
        assert_eq!(decided.await.expect("no panic"), Acceptance::New(3));
    }

    #[tokio::test]
    async fn a_callback_that_no_process_survives_is_given_up() {
        let requests = Arc::<Requests>::default();
        let asked = ask(&requests);
        for _ in 0..=MAX_INTERRUPTIONS {
            let request = taken(&requests).await;
            assert!(!asked.is_finished());
            requests.put_back_interrupted(vec![request], Vec::new());
        }
        assert_eq!(asked.await.expect("no panic"), UNDECIDED);
        assert!(requests.take().is_empty());
    }

    /// The former leader may have handed in the registration that DDS calls back for, which its successor does not know.
    #[tokio::test]
    async fn the_successor_of_a_leader_does_not_refuse_what_the_leader_may_have_accepted() {
        for (verdict, expected) in [
            (Acceptance::NotWaiting("why"), UNDECIDED),
            (Acceptance::New(1), Acceptance::New(1)),
            (Acceptance::Another, Acceptance::Another),
        ] {
            let requests = Arc::<Requests>::default();
            let asked = ask(&requests);
            let request = taken(&requests).await;
            requests.put_back_interrupted(vec![request], Vec::new());
            taken(&requests).await.decide(verdict);
            assert_eq!(asked.await.expect("no panic"), expected);
        }
    }

    #[tokio::test]
    async fn a_stop_refuses_what_waits_and_what_comes() {
        let requests = Arc::<Requests>::default();
        let (under_way, waiting) = (ask(&requests), ask(&requests));
        let request = taken(&requests).await;
        requests.close();
        requests.put_back(vec![request]);
        for asked in [waiting, under_way, ask(&requests)] {
            assert_eq!(asked.await.expect("no panic"), Acceptance::Unavailable(STOPPED));
        }
        assert_eq!(requests.ask_to_record_probe().await, Acceptance::Unavailable(STOPPED));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_up_is_not_kept_while_nobody_takes_it() {
        let requests = Arc::<Requests>::default();
        let expiring = Arc::clone(&requests);
        tokio::spawn(async move { expiring.expire().await });
        let kept = |requests: &Requests| {
            let queue = requests.lock();
            [queue.waiting.len(), queue.probes.len(), queue.deadlines.len()]
        };
        for _ in 0..3 {
            assert_eq!(ask(&requests).await.expect("no panic"), UNDECIDED);
            assert_eq!(requests.ask_to_record_probe().await, UNDECIDED);
            assert_eq!(kept(&requests), [0, 1, 0]);
        }
        // The client has disconnected.
        for _ in 0..=MAX_WAITING {
            let asked = ask(&requests);
            tokio::task::yield_now().await;
            asked.abort();
            assert!(asked.await.is_err());
        }
        assert_eq!(kept(&requests), [1, 0, 1]);
    }

    #[tokio::test]
    async fn the_number_of_waiting_requests_is_bounded() {
        let requests = Arc::<Requests>::default();
        let waiting: Vec<_> = (0..MAX_WAITING).map(|_| ask(&requests)).collect();
        while requests.lock().waiting.len() < MAX_WAITING {
            tokio::task::yield_now().await;
        }
        let under_way = requests.take();
        assert_eq!(requests.ask(POLICY, Secret::new("one more")).await, UNDECIDED);
        drop(under_way);
        for one in waiting {
            assert_eq!(one.await.expect("no panic"), UNDECIDED, "dropped without a verdict");
        }
        let next = ask(&requests);
        taken(&requests).await.decide(Acceptance::Same);
        assert_eq!(next.await.expect("no panic"), Acceptance::Same);
    }
}
