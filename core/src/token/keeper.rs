//! Keeps an access token at hand from the first time on that somebody asks for one.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Flight, Held, Holder, Meaning};
use crate::backoff::{RateLimit, at_least, backoff};
use crate::config::Settings;
use crate::credentials::{self, decode_credentials};
use crate::dds::{Dds, Failure, FailureClass};
use crate::http_client::HttpClient;
use crate::log::{self, log};
use crate::register::until;
use crate::sign_in::Wallet;
use crate::siwe::Expectation;
use crate::state::{Signal, Store};
use crate::status::State;

/// At most one token per this time, and one more that replaces a refused token at once: a service that refuses
/// every token, or a DDS whose tokens live for milliseconds, makes no storm.
const MIN_LIFE: Duration = Duration::from_secs(1);

/// The token keeper of a node: runs until it is dropped.
pub(crate) async fn run_token_keeper(store: &Store, settings: &Settings, client: HttpClient) {
    let expected = Expectation::of(settings);
    keep_token(store, || sign_in(store, settings, &client, &expected)).await;
}

async fn sign_in(
    store: &Store,
    settings: &Settings,
    client: &HttpClient,
    expected: &Expectation,
) -> Result<Held, Failure> {
    let credentials = decode_credentials(settings.reg_secret.expose());
    let node_id = credentials.as_ref().map(|(id, _)| id.as_str());
    let secrets = || {
        let mut secrets = credentials::secrets(settings.reg_secret.expose(), &settings.key);
        secrets.extend(store.held_secrets());
        secrets
    };
    let dds = Dds {
        base_url: &settings.dds_base_url,
        client,
        timeout: Some(settings.request_timeout),
        secrets: &secrets,
        clock: store.clock(),
    };
    let signed = Wallet { key: &settings.key, expected }.sign_challenge(&dds).await?;
    let grant = dds.verify(&signed).await?;
    grant
        .check(&Holder { wallet: &signed.wallet, node_id }, dds.clock.now())
        .map_err(|why| Failure::retryable(format!("refused the access token of DDS: {why}")))
}

/// Signs in when somebody asks, and again before the token gets old; for ever.
async fn keep_token<A, F>(store: &Store, sign_in: A)
where
    A: Fn() -> F,
    F: Future<Output = Result<Held, Failure>>,
{
    let mut keeper = Keeper {
        store,
        signal: store.signal(),
        last: None,
        replaces_refused: false,
        failures: 0,
        lost: false,
        warnings: RateLimit::default(),
    };
    let mut refresh_in = None;
    loop {
        keeper.until_due(refresh_in).await;
        refresh_in = Some(keeper.get_token(&sign_in).await);
    }
}

struct Keeper<'a> {
    store: &'a Store,
    signal: watch::Receiver<Signal>,
    /// When the last token came.
    last: Option<Instant>,
    /// It came, or the next one comes, in place of a token that was refused.
    replaces_refused: bool,
    /// Failures in a row.
    failures: u32,
    /// DDS did not know the node since the last token came.
    lost: bool,
    warnings: RateLimit,
}

impl Keeper<'_> {
    /// Nothing runs here until somebody asks, nor any timer before the first token.
    async fn until_due(&mut self, refresh_in: Option<Duration>) {
        let asked = until(&mut self.signal, |now| now.token_due);
        match refresh_in {
            None => asked.await,
            Some(refresh_in) => drop(timeout(refresh_in, asked).await),
        }
    }

    /// Signs in until that brings a token, and returns the time until it is to be refreshed.
    async fn get_token<A, F>(&mut self, sign_in: &A) -> Duration
    where
        A: Fn() -> F,
        F: Future<Output = Result<Held, Failure>>,
    {
        loop {
            self.pace().await;
            until(&mut self.signal, |now| now.state == State::Registered).await;
            let Some(flight) = self.store.begin_sign_in() else { continue };
            match sign_in().await {
                Ok(held) => {
                    let refresh_in = held.refresh_in();
                    (self.last, self.failures, self.lost) = (Some(Instant::now()), 0, false);
                    self.warnings = RateLimit::default();
                    if self.store.finish_sign_in(&flight, held) {
                        log!(
                            Debug,
                            "token",
                            "access token received, to be refreshed in {} s",
                            refresh_in.as_secs()
                        );
                        return refresh_in;
                    }
                    log!(Debug, "token", "the access token was invalidated before it was here");
                }
                Err(failure) => self.recover(&flight, &failure).await,
            }
        }
    }

    /// Keeps the next sign-in apart from the last one. A refused token is replaced at once, unless it replaced
    /// another one itself less than [`MIN_LIFE`] ago.
    async fn pace(&mut self) {
        let replaces_refused = self.store.token_was_refused();
        let at_once = replaces_refused && !std::mem::replace(&mut self.replaces_refused, replaces_refused);
        if let Some(last) = self.last
            && !at_once
        {
            sleep_until(last + MIN_LIFE).await;
        }
    }

    /// Tells of the failure, and waits until the next sign-in is due.
    async fn recover(&mut self, flight: &Flight, failure: &Failure) {
        self.failures = self.failures.saturating_add(1);
        let meaning = match failure.class {
            FailureClass::Retryable => Meaning::Passing,
            FailureClass::Conflict | FailureClass::Refused => Meaning::Refused,
            FailureClass::UnknownNode => Meaning::UnknownNode,
        };
        let error = failure.to_error();
        self.store.fail_sign_in(&error, meaning);
        // A DDS that loses the node once gets it back at once. One that does not know it right after that
        // is not asked in circles.
        let at_once = meaning == Meaning::UnknownNode && !std::mem::replace(&mut self.lost, true);
        if !at_once {
            let pause = at_least(backoff(self.failures), failure.retry_after);
            log::write(
                self.warnings.level(Instant::now()),
                "posemesh_node::token",
                format_args!("no access token: {error}; next sign-in in {:.1} s", pause.as_secs_f64()),
            );
            let re_armed = until(&mut self.signal, |now| now.registration != flight.registration);
            let _ = timeout(pause, re_armed).await;
        }
        if meaning == Meaning::UnknownNode {
            self.store.lose_registration(flight.registration, error.message());
        }
        self.store.forget_refusal();
    }
}

#[cfg(test)]
mod tests;
