//! Keeps an access token at hand: from the first time that a caller asks for one, or, for a robot, from its
//! registration, which brings its first token.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::backoff::{RateLimit, backoff, spread_at_least};
use crate::config::Settings;
use crate::dds::{Dds, Failure, FailureClass};
use crate::http_client::HttpClient;
use crate::log::{self, log};
use crate::metrics::counters::{LossReason, SignInOutcome};
use crate::sign_in::SignIn;
use crate::siwe::Expectation;
use crate::state::observed::{Observed, until};
use crate::state::store::Store;
use crate::state::token::{AfterFailure, SignInAttempt};
use crate::status::State;
use crate::token::cached::CachedToken;

/// At most one token in this time, plus one that replaces a refused token at once. This bounds the requests when a
/// service refuses every token, or when DDS issues tokens that live for milliseconds.
const MIN_LIFE: Duration = Duration::from_secs(1);

/// Refreshes the token of a node. Runs until it is dropped.
pub(crate) async fn run_token_refresher(store: &Store, settings: &Settings, client: HttpClient) {
    let expected = Expectation::of(settings);
    // Boxed, so that a node holds memory for a sign-in only during one.
    refresh_token(store, || Box::pin(sign_in(store, settings, &client, &expected))).await;
}

async fn sign_in(
    store: &Store,
    settings: &Settings,
    client: &HttpClient,
    expected: &Expectation,
) -> Result<CachedToken, Failure> {
    let is_first = store.status().sign_in_failures == 0;
    let sign_in = SignIn::new(settings, store.events(), expected, is_first);
    let secrets = || {
        let mut secrets = sign_in.secrets();
        secrets.extend(store.current_secrets());
        secrets.extend(settings.path_secrets());
        secrets
    };
    let dds = Dds {
        base_url: &settings.dds_base_url,
        client,
        timeout: Some(settings.request_timeout),
        secrets: &secrets,
        clock: store.clock(),
        requests: &store.counters().dds_requests,
    };
    sign_in.token(&dds).await
}

/// Signs in when a caller asks for a token, and again before the token becomes too old. Never returns.
pub(crate) async fn refresh_token<A, F>(store: &Store, sign_in: A)
where
    A: Fn() -> F,
    F: Future<Output = Result<CachedToken, Failure>>,
{
    let mut refresher = Refresher {
        store,
        observed: store.observe(),
        last: None,
        registration_tokens: 0,
        replaced_refused: false,
        failures: 0,
        unknown: false,
        warnings: RateLimit::default(),
    };
    let mut refresh_in = None;
    loop {
        refresher.until_due(refresh_in).await;
        refresh_in = Some(refresher.get_token(&sign_in).await);
    }
}

struct Refresher<'a> {
    store: &'a Store,
    observed: watch::Receiver<Observed>,
    /// When the last token arrived.
    last: Option<Instant>,
    /// How many tokens had come with a registration when this last looked.
    registration_tokens: u64,
    /// The last token replaced one that was refused. A sign-in that brings none does not count.
    replaced_refused: bool,
    /// Failures in a row.
    failures: u32,
    /// DDS has said since the last token that it does not know the node.
    unknown: bool,
    warnings: RateLimit,
}

impl Refresher<'_> {
    /// Waits until a sign-in is due. Before the first token, and before the first caller asks for one, this waits without
    /// a timer.
    async fn until_due(&mut self, mut refresh_in: Option<Duration>) {
        loop {
            let known = self.registration_tokens;
            let woken = until(&mut self.observed, |now| now.token_due || now.registration_tokens != known);
            match refresh_in {
                None => woken.await,
                Some(refresh_in) => {
                    if timeout(refresh_in, woken).await.is_err() {
                        return;
                    }
                }
            }
            match self.take_registration_token() {
                Some(from_registration) => refresh_in = Some(from_registration),
                None => return,
            }
        }
    }

    /// The time until the token that a registration brought must be refreshed. `None` if none has brought one since the
    /// last call, or if that token was invalidated.
    fn take_registration_token(&mut self) -> Option<Duration> {
        let count = self.observed.borrow().registration_tokens;
        if std::mem::replace(&mut self.registration_tokens, count) == count {
            return None;
        }
        self.last = Some(Instant::now());
        let refresh_in = self.store.refresh_in();
        if refresh_in.is_some() {
            self.succeed();
            self.hold();
        }
        refresh_in
    }

    /// A token has arrived, so the next failure is the first one.
    fn succeed(&mut self) {
        (self.failures, self.unknown) = (0, false);
    }

    /// The node holds a token, so the next failure is a warning again.
    fn hold(&mut self) {
        if std::mem::take(&mut self.warnings).has_warned() {
            log!(Info, "token", "the node has an access token again");
        }
    }

    /// Signs in until that brings a token. Returns the time until it must be refreshed.
    async fn get_token<A, F>(&mut self, sign_in: &A) -> Duration
    where
        A: Fn() -> F,
        F: Future<Output = Result<CachedToken, Failure>>,
    {
        loop {
            let replaces_refused = self.pace().await;
            until(&mut self.observed, |now| now.state == State::Registered).await;
            if let Some(refresh_in) = self.take_registration_token() {
                self.replaced_refused = replaces_refused;
                return refresh_in;
            }
            let Some(attempt) = self.store.begin_sign_in() else { continue };
            let outcome = sign_in().await;
            self.store.counters().sign_ins.count(match &outcome {
                Ok(_) => SignInOutcome::Success,
                Err(failure) => failure.class.into(),
            });
            match outcome {
                Ok(token) => {
                    let refresh_in = token.refresh_in();
                    self.last = Some(Instant::now());
                    self.succeed();
                    self.replaced_refused = replaces_refused;
                    if self.store.finish_sign_in(&attempt, token) {
                        self.hold();
                        log!(
                            Debug,
                            "token",
                            "access token received, to be refreshed in {} s",
                            refresh_in.as_secs()
                        );
                        return refresh_in;
                    }
                    log!(Debug, "token", "the access token was invalidated before it arrived");
                }
                Err(failure) => self.recover(&attempt, &failure).await,
            }
        }
    }

    /// Waits between two sign-ins. A refused token is replaced at once, unless it had itself replaced a refused
    /// one less than [`MIN_LIFE`] ago. Returns whether a refused token is to be replaced.
    async fn pace(&self) -> bool {
        let replaces_refused = self.store.token_was_refused();
        let at_once = replaces_refused && !self.replaced_refused;
        if let Some(last) = self.last
            && !at_once
        {
            sleep_until(last + MIN_LIFE).await;
        }
        replaces_refused
    }

    /// Publishes the failure, and waits until the next sign-in is due.
    async fn recover(&mut self, attempt: &SignInAttempt, failure: &Failure) {
        self.failures = self.failures.saturating_add(1);
        let after = match failure.class {
            FailureClass::Retryable => AfterFailure::Wait,
            FailureClass::Conflict | FailureClass::Refused | FailureClass::UnknownNonce => AfterFailure::Fail,
            FailureClass::UnknownNode => AfterFailure::Register,
        };
        let error = failure.to_error();
        self.store.fail_sign_in(&error, after);
        // The node registers again at once the first time that DDS does not know it. If DDS still does not know it
        // after that, the node must not register and sign in in a tight loop.
        let at_once = after == AfterFailure::Register && !std::mem::replace(&mut self.unknown, true);
        if !at_once {
            let pause = spread_at_least(backoff(self.failures), failure.retry_after);
            log::write(
                self.warnings.level(Instant::now()),
                "posemesh_node::token",
                format_args!("no access token: {error}; next sign-in in {:.1} s", pause.as_secs_f64()),
            );
            let rearmed = until(&mut self.observed, |now| now.registration != attempt.registration);
            let _ = timeout(pause, rearmed).await;
        }
        if after == AfterFailure::Register {
            self.store.lose_registration(attempt.registration, LossReason::UnknownNode, error.message());
        }
        self.store.forget_refusal();
    }
}

#[cfg(test)]
mod tests;
