//! A model of DDS: when it answers, and what it counts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::scenario::{BEFORE, LIMIT, OUTAGE, Outcome, SPREAD, Scenario};

const LATENCY: Duration = Duration::from_millis(50);
/// Of [`Scenario::Limiting`].
const WINDOW: Duration = Duration::from_secs(300);

/// One request of a node.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Request {
    Challenge,
    HandIn,
    /// The sign-in for a token.
    Verify,
}

/// Why a request fails.
pub(super) enum Refusal {
    /// No answer, or 429 or 503.
    Busy { retry_after: Option<Duration> },
    /// 403: the node is not known.
    Unknown,
}

pub(super) struct Dds {
    scenario: Scenario,
    nodes: usize,
    away_from: Instant,
    back_at: Instant,
    /// When enough nodes are registered.
    registered: Notify,
    state: Mutex<State>,
}

struct State {
    /// In each second from the return on.
    arrivals: Vec<usize>,
    is_known: Vec<bool>,
    known: usize,
    registered_after: Option<Duration>,
    each_second: Limit,
    each_window: Limit,
    has_forgotten: bool,
}

/// So many requests in each period.
struct Limit {
    period: u64,
    capacity: usize,
    /// The number of the period, and how many requests it has had.
    number: u64,
    answered: usize,
}

impl Limit {
    fn new(period: Duration, capacity: usize) -> Self {
        Self { period: period.as_secs(), capacity, number: 0, answered: 0 }
    }

    fn admits(&mut self, since: Duration) -> bool {
        let number = since.as_secs() / self.period;
        if self.number != number {
            (self.number, self.answered) = (number, 0);
        }
        self.answered += 1;
        self.answered <= self.capacity
    }

    /// Until the end of the period, in whole seconds as in a header.
    fn left(&self, since: Duration) -> Duration {
        Duration::from_secs(self.period - since.as_secs() % self.period)
    }
}

impl Dds {
    pub(super) fn new(scenario: Scenario, nodes: usize) -> Self {
        let before = if scenario.has_tokens() { BEFORE } else { Duration::ZERO };
        let away_from = Instant::now() + before;
        let needed = scenario.needed() * nodes;
        let even = needed / SPREAD.as_secs() as usize;
        let each_second = if scenario == Scenario::Half { even / 2 } else { even * 2 };
        let state = State {
            arrivals: Vec::new(),
            is_known: vec![false; nodes],
            known: 0,
            registered_after: None,
            each_second: Limit::new(Duration::from_secs(1), each_second),
            each_window: Limit::new(WINDOW, needed * 3 / 4),
            has_forgotten: false,
        };
        Self {
            scenario,
            nodes,
            away_from,
            back_at: away_from + OUTAGE,
            registered: Notify::new(),
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn ask(&self, node: usize, request: Request) -> Result<(), Refusal> {
        sleep(LATENCY / 2).await;
        let answer = self.answer(node, request);
        sleep(LATENCY / 2).await;
        answer
    }

    fn answer(&self, node: usize, request: Request) -> Result<(), Refusal> {
        let now = Instant::now();
        let mut state = self.lock();
        let Some(since) = now.checked_duration_since(self.back_at) else {
            if now >= self.away_from {
                return Err(Refusal::Busy { retry_after: None });
            }
            return self.decide(&mut state, node, request, None);
        };
        if !state.has_forgotten {
            state.has_forgotten = true;
            state.is_known.fill(false);
            state.known = 0;
        }
        let second = usize::try_from(since.as_secs()).expect("within the limit");
        if state.arrivals.len() <= second {
            state.arrivals.resize(second + 1, 0);
        }
        state.arrivals[second] += 1;
        self.admit(&mut state, since)?;
        self.decide(&mut state, node, request, Some(since))
    }

    /// Refuses what is over a limit.
    fn admit(&self, state: &mut State, since: Duration) -> Result<(), Refusal> {
        if self.scenario == Scenario::Limiting && !state.each_window.admits(since) {
            let retry_after = Some(state.each_window.left(since));
            return Err(Refusal::Busy { retry_after });
        }
        if state.each_second.admits(since) { Ok(()) } else { Err(Refusal::Busy { retry_after: None }) }
    }

    fn decide(
        &self,
        state: &mut State,
        node: usize,
        request: Request,
        since: Option<Duration>,
    ) -> Result<(), Refusal> {
        match request {
            Request::Challenge => {}
            Request::Verify if !state.is_known[node] => return Err(Refusal::Unknown),
            Request::Verify => {}
            Request::HandIn => {
                if !std::mem::replace(&mut state.is_known[node], true) {
                    state.known += 1;
                }
                if since.is_some() && state.registered_after.is_none() && state.known >= self.enough() {
                    state.registered_after = since;
                    self.registered.notify_one();
                }
            }
        }
        Ok(())
    }

    /// 99 % of the nodes.
    fn enough(&self) -> usize {
        self.nodes * 99 / 100
    }

    /// Returns when enough nodes are registered, or at the end of the simulation.
    pub(super) async fn until_registered(&self) {
        let end = self.back_at.saturating_duration_since(Instant::now()) + LIMIT;
        let _ = timeout(end, self.registered.notified()).await;
    }

    pub(super) fn outcome(&self) -> Outcome {
        let state = self.lock();
        let even = (self.scenario.needed() * self.nodes) as f64 / SPREAD.as_secs_f64();
        Outcome {
            peak: state.arrivals.iter().max().copied().unwrap_or_default() as f64 / even,
            registered: state.registered_after,
            requests: state.arrivals.iter().sum::<usize>() as f64 / self.nodes as f64,
        }
    }
}
