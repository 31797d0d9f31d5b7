//! Registering again in the background, while the node stays registered.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::attempt::{Outcome, outcome_of};
use super::attempt_log::after;
use super::retry_policy::RetryPolicy;
use crate::backoff::jitter;
use crate::log::{self, Level};
use crate::metrics::counters::AttemptOutcome;
use crate::state::observed::{Observed, until};
use crate::state::store::Store;
use crate::status::State;

/// Registers a node again whenever it has been registered for about `interval`. Runs until it is dropped.
///
/// The registration stays the same one: its state, its token and the secret that it has accepted do not change. A
/// failed attempt is reported and retried as any other.
pub(super) async fn keep_reregistering<A, F>(
    store: &Store,
    interval: Duration,
    mut policy: RetryPolicy,
    attempt: A,
) where
    A: Fn() -> F,
    F: Future<Output = Outcome>,
{
    let attempts = &store.counters().registration_attempts;
    let mut observed = store.observe();
    let mut pause = jitter(interval);
    loop {
        until(&mut observed, |now| now.state == State::Registered && !now.stopped).await;
        let registration = observed.borrow().registration;
        let is_over = |now: &Observed| {
            now.registration != registration || now.state != State::Registered || now.stopped
        };
        if timeout(pause, until(&mut observed, is_over)).await.is_ok() {
            policy.succeeded();
            pause = jitter(interval);
            continue;
        }
        if !store.begin_reregistration(registration) {
            continue;
        }
        pause = jitter(interval);
        let outcome = tokio::select! {
            outcome = attempt() => outcome,
            // A re-arm overtook this attempt, and the registrar makes its own.
            () = until(&mut observed, is_over) => {
                attempts.count(AttemptOutcome::Cancelled);
                continue;
            }
        };
        attempts.count(outcome_of(&outcome));
        match outcome {
            Ok(token) => {
                let failures = store.status().consecutive_failures;
                if store.finish_attempt(registration, token) {
                    log::write(
                        // A failure was reported, so the end of it is, too.
                        if failures == 0 { Level::Debug } else { Level::Info },
                        "posemesh_node::register",
                        format_args!("registered again with DDS{}", after(failures)),
                    );
                }
                policy.succeeded();
            }
            Err(failure) => {
                let next = policy.failed(&failure, Instant::now());
                let error = failure.to_error();
                pause = next.pause;
                if store.fail_reregistration(registration, &error, pause) {
                    let seconds = pause.as_secs_f64();
                    log::write(
                        next.level,
                        "posemesh_node::register",
                        format_args!(
                            "registering again failed: {error}; {}next attempt in {seconds:.1} s",
                            next.remark
                        ),
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
