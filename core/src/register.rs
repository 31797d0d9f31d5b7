//! One registration, and the policy of when to try again. Nothing here knows about HTTP.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use url::Url;

pub(crate) use crate::credentials::decode_credentials;
pub use crate::dds::NodeRegisterWalletRequest;

use crate::backoff::{BurstLimit, RateLimit, at_least, backoff};
use crate::clock::DdsClock;
use crate::config::{Settings, SiweDomain, SiweFormat};
use crate::credentials;
use crate::crypto::{self, SecretKey, load_secp256k1_privhex};
use crate::dds::{Dds, Failure, FailureClass};
use crate::foreign::foreign;
use crate::http_client::HttpClient;
use crate::log::{self, Level, log};
use crate::sign_in::Wallet;
use crate::siwe::Expectation;
use crate::state::{self, LockGuard, Signal, Store};
use crate::status::State;

/// What [`run_registration_loop`] needs.
pub struct RegistrationConfig {
    /// The URL of DDS; a base path is kept.
    pub dds_base_url: String,
    /// The version of the node's own software.
    pub node_version: String,
    /// The registration credentials from the console.
    pub reg_secret: String,
    /// The wallet's private key, 64 hex digits.
    pub secp256k1_privhex: String,
    /// The HTTP client to use; give it a timeout.
    pub client: Client,
    /// Seconds between attempts after a conflict or a lasting refusal; at least 1.
    pub register_interval_secs: u64,
    /// Failures in a row after which to pause for one interval; negative = never.
    pub max_retry: i32,
    /// What the node can do; must not be empty.
    pub capabilities: Vec<String>,
}

impl fmt::Debug for RegistrationConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationConfig")
            .field("dds_base_url", &self.dds_base_url)
            .field("node_version", &self.node_version)
            .field("reg_secret", &"[redacted]")
            .field("secp256k1_privhex", &"[redacted]")
            .field("register_interval_secs", &self.register_interval_secs)
            .field("max_retry", &self.max_retry)
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

/// How a registration attempt ended, as the retry policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationAttemptKind {
    /// DDS has registered the node.
    Registered,
    /// Another online node holds the wallet.
    Conflict,
    /// DDS is out of reach or gave no usable answer: worth another try soon.
    RetryableFailure,
    /// DDS said no: worth another try later.
    SlowRetryFailure,
}

/// How a registration attempt ended.
#[derive(Debug, Clone)]
pub struct RegistrationAttempt {
    failure: Option<Failure>,
}

impl RegistrationAttempt {
    /// How it ended.
    pub fn kind(&self) -> RegistrationAttemptKind {
        match self.failure.as_ref().map(|failure| failure.class) {
            None => RegistrationAttemptKind::Registered,
            Some(FailureClass::Conflict) => RegistrationAttemptKind::Conflict,
            Some(FailureClass::Retryable) => RegistrationAttemptKind::RetryableFailure,
            Some(FailureClass::Refused | FailureClass::UnknownNode) => {
                RegistrationAttemptKind::SlowRetryFailure
            }
        }
    }

    /// What went wrong, with DDS's own words; none after a success.
    pub fn error_text(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| failure.text.as_str())
    }
}

impl From<Result<(), Failure>> for RegistrationAttempt {
    fn from(result: Result<(), Failure>) -> Self {
        Self { failure: result.err() }
    }
}

/// Registers once: asks for a challenge, checks and signs it, hands it in.
///
/// The challenge must be for the host of `dds_base_url`; any other is refused unsigned.
pub async fn register_once(
    dds_base_url: &str,
    node_version: &str,
    reg_secret: &str,
    sk: &SecretKey,
    client: &Client,
    capabilities: &[String],
) -> RegistrationAttempt {
    let dds = match Url::parse(dds_base_url) {
        Ok(url) => url,
        Err(error) => {
            return Err(Failure::retryable(format!("the DDS base URL does not parse: {}", foreign(error))))
                .into();
        }
    };
    let registration = Registration {
        dds_base_url: &dds,
        node_version,
        reg_secret,
        key: sk,
        client: &HttpClient::of_host(client),
        capabilities,
        max_concurrency: None,
        timeout: None,
        expected: &Expectation { domain: SiweDomain::OfDds, dds: dds.clone(), format: SiweFormat::Posemesh },
        clock: &DdsClock::default(),
        store: None,
    };
    registration.attempt(|_| {}).await.into()
}

/// Everything one attempt needs.
struct Registration<'a> {
    dds_base_url: &'a Url,
    node_version: &'a str,
    reg_secret: &'a str,
    key: &'a SecretKey,
    client: &'a HttpClient,
    capabilities: &'a [String],
    max_concurrency: Option<u32>,
    timeout: Option<Duration>,
    expected: &'a Expectation,
    clock: &'a DdsClock,
    /// Of a node: what it holds must not come back out of an error.
    store: Option<&'a Store>,
}

/// What happens to a signed challenge.
enum HandIn {
    Begins,
    Refused,
}

impl Registration<'_> {
    /// `on_hand_in` hears when the signed challenge goes out, and when DDS refuses it: in between DDS may call
    /// back, and after an answer that says neither yes nor no it still may.
    async fn attempt(&self, on_hand_in: impl Fn(HandIn)) -> Result<(), Failure> {
        if self.capabilities.is_empty() {
            return Err(Failure::refused("DDS registers no node without capabilities; name one".into()));
        }
        log!(
            Debug,
            "register",
            "registering wallet {} with {} (version {}, capabilities {})",
            crypto::derive_eth_address(self.key),
            self.dds_base_url.as_str().trim_end_matches('/'),
            self.node_version,
            self.capabilities.join(", ")
        );
        let secrets = || {
            let mut secrets = credentials::secrets(self.reg_secret, self.key);
            secrets.extend(self.store.into_iter().flat_map(Store::held_secrets));
            secrets
        };
        let dds = Dds {
            base_url: self.dds_base_url,
            client: self.client,
            timeout: self.timeout,
            secrets: &secrets,
            clock: self.clock,
        };
        let signed = Wallet { key: self.key, expected: self.expected }.sign_challenge(&dds).await?;
        let request = NodeRegisterWalletRequest {
            message: signed.message,
            signature: signed.signature,
            registration_credentials: self.reg_secret.to_owned(),
            capabilities: self.capabilities.to_vec(),
            version: self.node_version.to_owned(),
        };
        on_hand_in(HandIn::Begins);
        let answer = dds.register(&request, self.max_concurrency).await;
        if answer.as_ref().is_err_and(|failure| failure.class != FailureClass::Retryable) {
            on_hand_in(HandIn::Refused);
        }
        answer
    }
}

/// Registers, and keeps registered, in the process-wide default state; spawn it on a tokio runtime. Returns
/// only when the private key cannot be used.
///
/// Parked while registered: no request, no timer. [`state::set_status`]`("disconnected")` re-arms it at once.
pub async fn run_registration_loop(cfg: RegistrationConfig) {
    let key = match load_secp256k1_privhex(&cfg.secp256k1_privhex) {
        Ok(key) => key,
        Err(error) => {
            log!(Warn, "register", "the registration loop cannot run: {error}");
            return;
        }
    };
    let interval = Duration::from_secs(cfg.register_interval_secs.max(1));
    let policy = RetryPolicy::new(interval, cfg.max_retry);
    // A registrar that has not given the lock back after two of its intervals is gone.
    let stale_after = interval.saturating_mul(2).clamp(Duration::from_secs(30), Duration::from_secs(600));
    let store = Arc::clone(state::default_store_handle());
    let (cfg, key) = (Arc::new(cfg), Arc::new(key));
    keep_registered(&store, policy, |_| {
        let (cfg, key) = (Arc::clone(&cfg), Arc::clone(&key));
        async move {
            let _lock = LockGuard::try_acquire(stale_after).ok().flatten()?;
            Some(
                register_once(
                    &cfg.dds_base_url,
                    &cfg.node_version,
                    &cfg.reg_secret,
                    &key,
                    &cfg.client,
                    &cfg.capabilities,
                )
                .await,
            )
        }
    })
    .await;
}

/// The registrar of a node: runs until it is dropped.
pub(crate) async fn run_registrar(
    store: &Store,
    settings: &Settings,
    client: &HttpClient,
    turns: &Semaphore,
) {
    let policy = RetryPolicy::new(settings.register_interval, settings.max_retry);
    let expected = &Expectation::of(settings);
    keep_registered(store, policy, |number| async move {
        let _turn = turns.acquire().await;
        let registration = Registration {
            dds_base_url: &settings.dds_base_url,
            node_version: &settings.node_version,
            reg_secret: settings.reg_secret.expose(),
            key: &settings.key,
            client,
            capabilities: &settings.capabilities,
            max_concurrency: settings.max_concurrency,
            timeout: Some(settings.request_timeout),
            expected,
            clock: store.clock(),
            store: Some(store),
        };
        let attempt = registration.attempt(|event| match event {
            HandIn::Begins => store.hand_in(number),
            HandIn::Refused => store.hand_in_refused(number),
        });
        Some(attempt.await.into())
    })
    .await;
}

/// Attempts until registered, parks, and begins again when re-armed; for ever.
///
/// `attempt` gets the number of the registration, and answers `None` when it is another registrar's turn.
async fn keep_registered<A, F>(store: &Store, mut policy: RetryPolicy, attempt: A)
where
    A: Fn(u64) -> F,
    F: Future<Output = Option<RegistrationAttempt>>,
{
    let mut signal = store.signal();
    let mut last = signal.borrow().registration;
    let mut rearms = BurstLimit::default();
    loop {
        if signal.borrow().state == State::Registered {
            // By an attempt, or by a callback of DDS during one or between two.
            policy.succeeded();
        }
        // Parked: nothing runs until the state says something else.
        until(&mut signal, |now| now.state != State::Registered && !now.stopped).await;
        let registration = signal.borrow().registration;
        if registration != last {
            // However often a host re-arms, DDS hears of it now and then. Those that come meanwhile are one.
            if let Err(wait) = rearms.take(Instant::now()) {
                store.hold_back(wait);
                let changed = until(&mut signal, |now| now.stopped || now.registration != registration);
                let _ = tokio::time::timeout(wait, changed).await;
                continue;
            }
        }
        let Some(registration) = store.begin_attempt() else { continue };
        last = registration;
        let began = Instant::now();
        let finished = tokio::select! {
            finished = attempt(registration) => finished,
            // Overtaken by a re-arm, which wants an attempt of its own.
            () = until(&mut signal, |now| now.registration != registration) => continue,
        };
        let Some(finished) = finished else {
            log!(Debug, "register", "another registrar of this process is at work");
            pause(&mut signal, registration, policy.interval).await;
            continue;
        };
        let Some(failure) = finished.failure else {
            if store.finish_attempt(registration) {
                log!(Info, "register", "registered with DDS in {} ms", began.elapsed().as_millis());
            }
            continue;
        };
        let next = policy.failed(&failure, Instant::now());
        let error = failure.to_error();
        if store.fail_attempt(registration, &error, next.pause) {
            log::write(
                next.level,
                "posemesh_node::register",
                format_args!("{error}; {}next attempt in {:.1} s", next.remark, next.pause.as_secs_f64()),
            );
            pause(&mut signal, registration, next.pause).await;
        }
    }
}

/// Sleeps, but not through a re-arm, nor through a callback that confirms the registration.
async fn pause(signal: &mut watch::Receiver<Signal>, registration: u64, pause: Duration) {
    let woken = until(signal, |now| now.registration != registration || now.state == State::Registered);
    let _ = tokio::time::timeout(pause, woken).await;
}

pub(crate) async fn until(signal: &mut watch::Receiver<Signal>, condition: impl FnMut(&Signal) -> bool) {
    if signal.wait_for(condition).await.is_err() {
        // The store is gone, and with it whoever could want a registration.
        std::future::pending::<()>().await;
    }
}

/// When to try again, and how loud to be about it.
struct RetryPolicy {
    interval: Duration,
    max_retry: i32,
    /// Retryable failures in a row since the last pause.
    failures: u32,
    conflict: RateLimit,
    slow_retry: RateLimit,
    retryable: RateLimit,
}

#[derive(Debug, PartialEq)]
struct Next {
    pause: Duration,
    level: Level,
    remark: &'static str,
}

impl RetryPolicy {
    fn new(interval: Duration, max_retry: i32) -> Self {
        Self {
            interval,
            max_retry,
            failures: 0,
            conflict: RateLimit::default(),
            slow_retry: RateLimit::default(),
            retryable: RateLimit::default(),
        }
    }

    fn succeeded(&mut self) {
        *self = Self::new(self.interval, self.max_retry);
    }

    fn failed(&mut self, failure: &Failure, now: Instant) -> Next {
        match failure.class {
            FailureClass::Retryable => self.retryable_failure(failure.retry_after, now),
            FailureClass::Conflict => {
                self.failures = 0;
                let remark = "another online node holds this wallet; ";
                let pause = at_least(self.interval, failure.retry_after);
                Next { pause, level: self.conflict.level(now), remark }
            }
            FailureClass::Refused | FailureClass::UnknownNode => {
                self.failures = 0;
                let pause = at_least(self.interval, failure.retry_after);
                Next { pause, level: self.slow_retry.level(now), remark: "" }
            }
        }
    }

    fn retryable_failure(&mut self, retry_after: Option<Duration>, now: Instant) -> Next {
        self.failures += 1;
        let (own_pause, remark) = if u32::try_from(self.max_retry).is_ok_and(|max| self.failures >= max) {
            self.failures = 0;
            (self.interval, "max_retry reached, pausing for one interval; ")
        } else {
            (backoff(self.failures), "")
        };
        Next { pause: at_least(own_pause, retry_after), level: self.retryable.level(now), remark }
    }
}

#[cfg(test)]
mod tests;
