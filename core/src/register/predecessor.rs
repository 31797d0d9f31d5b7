//! The functions of the predecessor, for programs that have their own tokio runtime and their own `reqwest::Client`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use url::Url;

use super::attempt::{Registration, RegistrationAttempt};
use super::attempt_log::level_of_attempt;
use super::registrar::keep_registered;
use super::retry_policy::RetryPolicy;
use crate::clock::DdsClock;
use crate::config::{SiweDomain, SiweFormat};
use crate::credentials::Credentials;
use crate::crypto::{SecretKey, load_secp256k1_privhex};
use crate::dds::Failure;
use crate::event::EventChannel;
use crate::foreign::foreign;
use crate::http_client::HttpClient;
use crate::log::{Level, log};
use crate::metrics::counters::EndpointCounters;
use crate::secret::Secret;
use crate::sign_in::SignIn;
use crate::sign_in::signer::Signer;
use crate::sign_in::wallet::Wallet;
use crate::siwe::Expectation;
use crate::state::default_store::default_store;
use crate::state::lock_guard::LockGuard;

/// Registers once: requests a challenge, checks and signs it, and sends it back.
///
/// The challenge must be for the host of `dds_base_url`. Any other is not signed.
///
/// For an `https` URL, the client needs TLS: turn on a feature such as `rustls` of your own `reqwest`.
pub async fn register_once(
    dds_base_url: &str,
    node_version: &str,
    reg_secret: &str,
    sk: &SecretKey,
    client: &Client,
    capabilities: &[String],
) -> RegistrationAttempt {
    attempt(dds_base_url, node_version, reg_secret, sk, client, capabilities, Level::Info).await
}

/// Registers once. The beginning is logged at this level.
async fn attempt(
    dds_base_url: &str,
    node_version: &str,
    reg_secret: &str,
    sk: &SecretKey,
    client: &Client,
    capabilities: &[String],
    level: Level,
) -> RegistrationAttempt {
    let dds = match Url::parse(dds_base_url) {
        Ok(url) => url,
        Err(error) => {
            return Err(Failure::retryable(format!("the DDS base URL does not parse: {}", foreign(error))))
                .into();
        }
    };
    let credentials = Credentials::new(Secret::new(reg_secret));
    let expected = Expectation { domain: SiweDomain::OfDds, dds: dds.clone(), format: SiweFormat::Posemesh };
    let registration = Registration {
        dds_base_url: &dds,
        node_version,
        sign_in: SignIn::Wallet(Wallet {
            signer: &Signer::Key(sk.clone()),
            events: &EventChannel::default(),
            expected: &expected,
            credentials: &credentials,
            repeats: false,
        }),
        client: &HttpClient::of_host(client),
        capabilities,
        node_url: None,
        max_concurrency: None,
        timeout: None,
        clock: &DdsClock::default(),
        requests: &EndpointCounters::default(),
        other_secrets: &Vec::new,
        level,
    };
    registration.attempt(|_| std::future::ready(())).await.map(|_| ()).into()
}

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

/// Registers the node and keeps it registered, with the process-wide default store. Spawn it on a tokio runtime. It
/// returns only when the private key cannot be used.
///
/// It is parked while registered: no request, no timer. [`set_status`](crate::state::set_status)`("disconnected")`
/// re-arms it at once.
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
    // A loop that has not released the lock after two of its intervals no longer runs.
    let stale_after = interval.saturating_mul(2).clamp(Duration::from_secs(30), Duration::from_secs(600));
    let (cfg, key) = (Arc::new(cfg), Arc::new(key));
    keep_registered(default_store(), policy, |_| {
        let (cfg, key) = (Arc::clone(&cfg), Arc::clone(&key));
        async move {
            let _lock = LockGuard::try_acquire(stale_after).ok().flatten()?;
            Some(
                attempt(
                    &cfg.dds_base_url,
                    &cfg.node_version,
                    &cfg.reg_secret,
                    &key,
                    &cfg.client,
                    &cfg.capabilities,
                    level_of_attempt(default_store()),
                )
                .await
                .into_outcome(),
            )
        }
    })
    .await;
}
