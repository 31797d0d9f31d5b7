//! One registration: the node signs in, and DDS registers it with its credentials.

use std::fmt;
use std::time::Duration;

use url::Url;
use zeroize::Zeroizing;

use super::url::register_url;
use crate::clock::DdsClock;
use crate::config::NodeUrl;
use crate::dds::{Dds, Failure, FailureClass};
use crate::http_client::HttpClient;
use crate::log::{self, Level};
use crate::metrics::counters::{AttemptOutcome, EndpointCounters};
use crate::sign_in::SignIn;
use crate::sign_in::signer::Signer;
use crate::token::cached::CachedToken;

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
    failure: Option<Failure>,
}

impl RegistrationAttempt {
    /// How it ended.
    pub fn kind(&self) -> RegistrationAttemptKind {
        match self.failure.as_ref().map(|failure| failure.class) {
            None => RegistrationAttemptKind::Registered,
            Some(FailureClass::Conflict) => RegistrationAttemptKind::Conflict,
            Some(FailureClass::Retryable) => RegistrationAttemptKind::RetryableFailure,
            Some(FailureClass::Refused | FailureClass::UnknownNonce | FailureClass::UnknownNode) => {
                RegistrationAttemptKind::SlowRetryFailure
            }
        }
    }

    #[cfg(feature = "predecessor")]
    pub(super) fn into_outcome(self) -> Outcome {
        self.failure.map_or(Ok(None), Err)
    }

    /// What went wrong, with DDS's own words. `None` after a success.
    pub fn error_text(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| failure.text.as_str())
    }
}

impl From<Result<(), Failure>> for RegistrationAttempt {
    fn from(result: Result<(), Failure>) -> Self {
        Self { failure: result.err() }
    }
}

/// Everything one attempt needs.
pub(super) struct Registration<'a> {
    pub(super) dds_base_url: &'a Url,
    pub(super) node_version: &'a str,
    pub(super) sign_in: SignIn<'a>,
    pub(super) client: &'a HttpClient,
    pub(super) capabilities: &'a [String],
    /// For the legacy registration, which a wallet makes if the node has its key.
    pub(super) node_url: Option<&'a NodeUrl>,
    pub(super) max_concurrency: Option<u32>,
    pub(super) timeout: Option<Duration>,
    pub(super) clock: &'a DdsClock,
    pub(super) requests: &'a EndpointCounters,
    /// What else must not appear in an error: the secrets that the node has received.
    pub(super) other_secrets: &'a (dyn Fn() -> Vec<Zeroizing<Vec<u8>>> + Sync),
    /// The level at which the beginning of the attempt is logged.
    pub(super) level: Level,
}

/// What happens to the request that registers the node.
pub(super) enum HandIn {
    /// It is about to be sent.
    Begins,
    /// DDS rejected it.
    Refused,
}

/// The token that a registration brought, if it brought one: that of a robot does.
pub(super) type Outcome = Result<Option<CachedToken>, Failure>;

/// How an attempt is counted.
pub(super) fn outcome_of(outcome: &Outcome) -> AttemptOutcome {
    match outcome {
        Ok(_) => AttemptOutcome::Success,
        Err(failure) => failure.class.into(),
    }
}

impl Registration<'_> {
    /// Calls `on_hand_in` before the request that registers the node is sent, which happens only when that has finished,
    /// and when DDS rejects it. In between DDS may call back. It still may after a response that neither accepts nor
    /// rejects the request.
    pub(super) async fn attempt<F: Future<Output = ()>>(&self, on_hand_in: impl Fn(HandIn) -> F) -> Outcome {
        let secrets = || {
            let mut secrets = self.sign_in.secrets();
            secrets.extend((self.other_secrets)());
            secrets
        };
        let dds = Dds {
            base_url: self.dds_base_url,
            client: self.client,
            timeout: self.timeout,
            secrets: &secrets,
            clock: self.clock,
            requests: self.requests,
        };
        let outcome = match &self.sign_in {
            SignIn::Wallet(wallet) => {
                if self.capabilities.is_empty() {
                    return Err(Failure::refused(
                        "DDS registers no node without capabilities; name at least one".into(),
                    ));
                }
                self.log(format_args!("wallet {}", wallet.signer.address_text()));
                let registered = if let (Some(url), Signer::Key(key)) = (self.node_url, wallet.signer) {
                    on_hand_in(HandIn::Begins).await;
                    let credentials = wallet.credentials;
                    register_url(&dds, url, key, credentials, self.node_version, self.capabilities).await
                } else {
                    let (version, capabilities) = (self.node_version, self.capabilities);
                    let register =
                        |signed| wallet.register(&dds, signed, version, capabilities, self.max_concurrency);
                    let signed = wallet.sign_challenge(&dds).await?;
                    on_hand_in(HandIn::Begins).await;
                    let registered = register(signed).await;
                    if wallet.needs_another_challenge(&registered) {
                        on_hand_in(HandIn::Refused).await;
                        let signed = wallet.sign_challenge(&dds).await?;
                        on_hand_in(HandIn::Begins).await;
                        register(signed).await
                    } else {
                        registered
                    }
                };
                registered.map(|()| None)
            }
            SignIn::Robot(robot) => {
                self.log(format_args!("a robot"));
                on_hand_in(HandIn::Begins).await;
                robot.register(&dds, self.node_version, self.capabilities).await.map(Some)
            }
        };
        if outcome.as_ref().is_err_and(|failure| failure.class != FailureClass::Retryable) {
            on_hand_in(HandIn::Refused).await;
        }
        outcome
    }

    fn log(&self, identity: fmt::Arguments<'_>) {
        log::write(
            self.level,
            "posemesh_node::register",
            format_args!(
                "Registering node with DDS at {} ({identity}, version {}, capabilities {})",
                self.dds_base_url.as_str().trim_end_matches('/'),
                self.node_version,
                self.capabilities.join(", ")
            ),
        );
    }
}
