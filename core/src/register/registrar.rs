//! The registrar: attempts until the node is registered, parks, and begins again after a re-arm.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::attempt::{HandIn, Outcome, Registration, outcome_of};
use super::attempt_log::{after, level_of_attempt};
use super::reregistration::keep_reregistering;
use super::retry_policy::RetryPolicy;
use crate::backoff::BurstLimit;
use crate::config::Settings;
use crate::http_client::HttpClient;
use crate::log::{self, Level, log};
use crate::metrics::counters::AttemptOutcome;
use crate::sign_in::SignIn;
use crate::siwe::Expectation;
use crate::state::observed::{Observed, until};
use crate::state::store::Store;
use crate::status::State;

/// What registers one node with DDS.
pub(crate) struct Registrar<'a> {
    store: &'a Store,
    settings: &'a Settings,
    client: &'a HttpClient,
    permits: &'a Semaphore,
    expected: Expectation,
}

impl<'a> Registrar<'a> {
    pub(crate) fn new(
        store: &'a Store,
        settings: &'a Settings,
        client: &'a HttpClient,
        permits: &'a Semaphore,
    ) -> Self {
        Self { store, settings, client, permits, expected: Expectation::of(settings) }
    }

    /// Keeps the node registered. Runs until it is dropped.
    pub(crate) async fn run(&self) {
        keep_registered(self.store, self.policy(), |number| async move {
            Some(self.attempt(level_of_attempt(self.store), Some(number)).await)
        })
        .await;
    }

    /// Registers the node again in the background. Runs until it is dropped.
    pub(crate) async fn run_again(&self, interval: Duration) {
        keep_reregistering(self.store, interval, self.policy(), || self.attempt(Level::Debug, None)).await;
    }

    fn policy(&self) -> RetryPolicy {
        RetryPolicy::new(self.settings.register_interval, self.settings.max_retry)
    }

    /// `number` is the registration that a callback can confirm from the hand-in on. `None`: the node is registered already.
    async fn attempt(&self, level: Level, number: Option<u64>) -> Outcome {
        let settings = self.settings;
        let _permit = self.permits.acquire().await;
        let is_first = self.store.status().consecutive_failures == 0;
        let registration = Registration {
            dds_base_url: &settings.dds_base_url,
            node_version: &settings.node_version,
            sign_in: SignIn::new(settings, self.store.events(), &self.expected, is_first),
            client: self.client,
            capabilities: &settings.capabilities,
            node_url: settings.node_url.as_ref(),
            max_concurrency: settings.max_concurrency,
            timeout: Some(settings.request_timeout),
            clock: self.store.clock(),
            requests: &self.store.counters().dds_requests,
            other_secrets: &|| self.secrets(),
            level,
        };
        let on_hand_in = |event| async move {
            match (&event, number) {
                (HandIn::Begins, Some(number)) => self.store.hand_in(number),
                (HandIn::Refused, Some(number)) => self.store.hand_in_refused(number),
                // While the node is registered, a callback is accepted anyway.
                (_, None) => {}
            }
            if let HandIn::Begins = event {
                self.store.confirm_leadership().await;
            }
        };
        // Boxed, so that a parked node holds no memory for attempts.
        Box::pin(registration.attempt(on_hand_in)).await
    }

    /// What DDS could repeat, other than credentials and keys.
    fn secrets(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let mut secrets = self.store.current_secrets();
        secrets.extend(self.settings.path_secrets());
        secrets
    }
}

/// Keeps the node of this store registered. Never returns.
///
/// `attempt` receives the number of the registration. It returns `None` when another registration loop is making an
/// attempt.
pub(crate) async fn keep_registered<A, F>(store: &Store, mut policy: RetryPolicy, attempt: A)
where
    A: Fn(u64) -> F,
    F: Future<Output = Option<Outcome>>,
{
    let attempts = &store.counters().registration_attempts;
    let mut observed = store.observe();
    let mut last = observed.borrow().registration;
    let mut rearms = BurstLimit::default();
    loop {
        if observed.borrow().state == State::Registered {
            // By an attempt, or by a callback of DDS during an attempt or between two.
            policy.succeeded();
        }
        // Parked: nothing runs until the state changes.
        until(&mut observed, |now| now.state != State::Registered && !now.stopped).await;
        let registration = observed.borrow().registration;
        if registration != last {
            // However often a host re-arms, DDS receives a bounded number of requests. The re-arms during this pause
            // count as one.
            if let Err(wait) = rearms.take(Instant::now()) {
                store.hold_back(wait);
                let changed = until(&mut observed, |now| now.stopped || now.registration != registration);
                let _ = tokio::time::timeout(wait, changed).await;
                continue;
            }
        }
        let Some(registration) = store.begin_attempt() else { continue };
        last = registration;
        let began = Instant::now();
        let finished = tokio::select! {
            finished = attempt(registration) => finished,
            // A re-arm overtook this attempt and needs its own.
            () = until(&mut observed, |now| now.registration != registration) => {
                attempts.count(AttemptOutcome::Cancelled);
                continue;
            }
        };
        let Some(finished) = finished else {
            log!(Debug, "register", "another registration loop of this process is making an attempt");
            pause(&mut observed, registration, policy.interval).await;
            continue;
        };
        attempts.count(outcome_of(&finished));
        let failure = match finished {
            Ok(token) => {
                let failures = store.status().consecutive_failures;
                if store.finish_attempt(registration, token) {
                    let millis = began.elapsed().as_millis();
                    log!(Info, "register", "registered with DDS in {millis} ms{}", after(failures));
                }
                continue;
            }
            Err(failure) => failure,
        };
        let next = policy.failed(&failure, Instant::now());
        let error = failure.to_error();
        if store.fail_attempt(registration, &error, next.pause) {
            log::write(
                next.level,
                "posemesh_node::register",
                format_args!("{error}; {}next attempt in {:.1} s", next.remark, next.pause.as_secs_f64()),
            );
            pause(&mut observed, registration, next.pause).await;
        }
    }
}

/// Sleeps until the pause is over, a re-arm, or a callback that confirms the registration.
async fn pause(observed: &mut watch::Receiver<Observed>, registration: u64, pause: Duration) {
    let woken = until(observed, |now| now.registration != registration || now.state == State::Registered);
    let _ = tokio::time::timeout(pause, woken).await;
}
