//! A node of this library, and nodes with other policies.

use std::time::{Duration, SystemTime};

use rand::Rng as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::dds::{Dds, Refusal, Request};
use super::scenario::{Policy, Scenario, TOKEN_LIFETIME};
use crate::backoff::{MAX_BACKOFF, backoff};
use crate::dds::{Failure, FailureClass};
use crate::register::{RetryPolicy, keep_registered};
use crate::secret::Secret;
use crate::state::store::Store;
use crate::token::AccessToken;
use crate::token::cached::CachedToken;
use crate::token_refresh::refresh_token;

const REGISTER_INTERVAL: Duration = Duration::from_secs(120);
const SDK_INTERVAL: Duration = Duration::from_secs(120);
const SDK_TRIES: usize = 3;
const SDK_PAUSE: Duration = Duration::from_secs(2);

/// Runs one node until it is dropped.
pub(super) async fn run(policy: Policy, scenario: Scenario, dds: &Dds, node: usize) {
    match policy {
        Policy::Ours => ours(scenario, dds, node).await,
        Policy::Sdk => sdk(dds, node).await,
        Policy::Predecessor | Policy::FullJitter => other(policy, scenario, dds, node).await,
    }
}

async fn register(dds: &Dds, node: usize) -> Result<(), Refusal> {
    dds.ask(node, Request::Challenge).await?;
    dds.ask(node, Request::HandIn).await
}

async fn sign_in(dds: &Dds, node: usize) -> Result<(), Refusal> {
    dds.ask(node, Request::Challenge).await?;
    dds.ask(node, Request::Verify).await
}

/// The registrar and the token refresher, as in a [`crate::Node`].
async fn ours(scenario: Scenario, dds: &Dds, node: usize) {
    let store = Store::default();
    let policy = RetryPolicy::new(REGISTER_INTERVAL, -1);
    let registered = keep_registered(&store, policy, async |_| {
        Some(register(dds, node).await.map(|()| None).map_err(failure))
    });
    if !scenario.has_tokens() {
        return registered.await;
    }
    let tokens = refresh_token(&store, async || sign_in(dds, node).await.map(|()| token()).map_err(failure));
    let user = async {
        // From the first request on, the node holds a token.
        let _ = store.access_token_async().await;
        std::future::pending::<()>().await;
    };
    tokio::join!(registered, tokens, user);
}

fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Busy { retry_after } => Failure { retry_after, ..Failure::retryable("busy".into()) },
        Refusal::Unknown => {
            Failure { class: FailureClass::UnknownNode, ..Failure::retryable("node not found".into()) }
        }
    }
}

fn token() -> CachedToken {
    let token = AccessToken::new(Secret::new("token"), SystemTime::now() + TOKEN_LIFETIME);
    CachedToken::new(token, TOKEN_LIFETIME, None)
}

/// Registers until it is registered, and signs in for tokens, with the pauses of another policy.
async fn other(policy: Policy, scenario: Scenario, dds: &Dds, node: usize) {
    register_with(policy, dds, node).await;
    while scenario.has_tokens() {
        let refresh_in = TOKEN_LIFETIME.mul_f64(rand::thread_rng().gen_range(0.7..=0.8));
        sleep(refresh_in).await;
        let mut failures = 0;
        while let Err(refusal) = sign_in(dds, node).await {
            match refusal {
                Refusal::Unknown => register_with(policy, dds, node).await,
                Refusal::Busy { retry_after } => {
                    failures += 1;
                    sleep(pause(policy, failures, retry_after)).await;
                }
            }
        }
    }
}

async fn register_with(policy: Policy, dds: &Dds, node: usize) {
    let mut failures = 0;
    while let Err(refusal) = register(dds, node).await {
        failures += 1;
        let retry_after = if let Refusal::Busy { retry_after } = refusal { retry_after } else { None };
        sleep(pause(policy, failures, retry_after)).await;
    }
}

fn pause(policy: Policy, failures: u32, retry_after: Option<Duration>) -> Duration {
    if policy == Policy::Predecessor {
        return backoff(failures);
    }
    let longest = Duration::from_secs(2_u64.saturating_pow(failures)).min(MAX_BACKOFF);
    let pause = longest.mul_f64(rand::thread_rng().gen_range(0.0..=1.0));
    pause.max(retry_after.unwrap_or_default())
}

/// Registers again and again, whether it is registered or not.
async fn sdk(dds: &Dds, node: usize) {
    let mut next = Instant::now();
    loop {
        for _ in 0..SDK_TRIES {
            if register(dds, node).await.is_ok() {
                break;
            }
            sleep(SDK_PAUSE).await;
        }
        next += SDK_INTERVAL;
        sleep_until(next).await;
    }
}
