//! One registration: a challenge is fetched, signed and sent back with the registration credentials.

use std::time::Duration;

use reqwest::Client;
use url::Url;
use zeroize::Zeroizing;

use crate::clock::DdsClock;
use crate::config::{SiweDomain, SiweFormat};
use crate::credentials;
use crate::crypto::{self, SecretKey};
use crate::dds::{Dds, Failure, FailureClass, NodeRegisterWalletRequest};
use crate::foreign::foreign;
use crate::http_client::HttpClient;
use crate::log::log;
use crate::sign_in::Wallet;
use crate::siwe::Expectation;

/// How a registration attempt ended, as the retry policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationAttemptKind {
    /// DDS has registered the node.
    Registered,
    /// Another online node holds the wallet.
    Conflict,
    /// DDS cannot be reached or gave no usable response: worth another try soon.
    RetryableFailure,
    /// DDS rejected the registration: worth another try later.
    SlowRetryFailure,
}

/// How a registration attempt ended.
#[derive(Debug, Clone)]
pub struct RegistrationAttempt {
    pub(super) failure: Option<Failure>,
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

/// Registers once: requests a challenge, checks and signs it, and sends it back.
///
/// The challenge must be for the host of `dds_base_url`. Any other is not signed.
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
        other_secrets: &Vec::new,
    };
    registration.attempt(|_| {}).await.into()
}

/// Everything one attempt needs.
pub(super) struct Registration<'a> {
    pub(super) dds_base_url: &'a Url,
    pub(super) node_version: &'a str,
    pub(super) reg_secret: &'a str,
    pub(super) key: &'a SecretKey,
    pub(super) client: &'a HttpClient,
    pub(super) capabilities: &'a [String],
    pub(super) max_concurrency: Option<u32>,
    pub(super) timeout: Option<Duration>,
    pub(super) expected: &'a Expectation,
    pub(super) clock: &'a DdsClock,
    /// What else must not appear in an error: the secrets that the node has received.
    pub(super) other_secrets: &'a (dyn Fn() -> Vec<Zeroizing<Vec<u8>>> + Sync),
}

/// What happens to a signed challenge.
pub(super) enum HandIn {
    /// It is about to be sent.
    Begins,
    /// DDS rejected it.
    Refused,
}

impl Registration<'_> {
    /// Calls `on_hand_in` before the signed challenge is sent, and when DDS rejects it. In between DDS may call
    /// back. It still may after a response that neither accepts nor rejects the challenge.
    pub(super) async fn attempt(&self, on_hand_in: impl Fn(HandIn)) -> Result<(), Failure> {
        if self.capabilities.is_empty() {
            return Err(Failure::refused(
                "DDS registers no node without capabilities; name at least one".into(),
            ));
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
            secrets.extend((self.other_secrets)());
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
        let response = dds.register(&request, self.max_concurrency).await;
        if response.as_ref().is_err_and(|failure| failure.class != FailureClass::Retryable) {
            on_hand_in(HandIn::Refused);
        }
        response
    }
}
