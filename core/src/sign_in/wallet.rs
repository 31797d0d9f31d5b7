//! Signing in with a wallet: a challenge is fetched, checked and signed, and the signature sent back.

use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use crate::credentials::Credentials;
use crate::dds::{Dds, Failure, FailureClass, NodeRegisterWalletRequest};
use crate::event::EventChannel;
use crate::log::log;
use crate::sign_in::signer::Signer;
use crate::siwe::{self, Expectation, Signed};
use crate::token::cached::CachedToken;
use crate::token::response::Holder;

/// The wallet that signs in, and which challenges it signs.
pub(crate) struct Wallet<'a> {
    pub(crate) signer: &'a Signer,
    /// The host's signer is called in order with these.
    pub(crate) events: &'a EventChannel,
    pub(crate) expected: &'a Expectation,
    /// The registration credentials.
    pub(crate) credentials: &'a Credentials,
    /// Whether another challenge is signed if DDS does not know the nonce of the first one. Only the first attempt does
    /// this, and not each one after it, so that a DDS that refuses every challenge gets no more requests for long.
    pub(crate) repeats: bool,
}

impl Wallet<'_> {
    /// Whether DDS does not know the nonce that was signed, and gets another one. It may have been restarted since the
    /// challenge.
    pub(crate) fn needs_another_challenge<T>(&self, outcome: &Result<T, Failure>) -> bool {
        let unknown = outcome.as_ref().is_err_and(|failure| failure.class == FailureClass::UnknownNonce);
        unknown && self.repeats
    }

    /// Requests a challenge, and signs it if it passes the checks.
    pub(crate) async fn sign_challenge(&self, dds: &Dds<'_>) -> Result<Signed, Failure> {
        let wallet = self.signer.address_text();
        let challenge = dds.challenge(&wallet).await?;
        let mut now = SystemTime::now();
        if let Some(issued_at) = challenge.issued_at() {
            now = dds.clock.reconcile(issued_at, now);
        }
        let message =
            siwe::compose_message(&challenge, self.expected, self.signer.address(), now).map_err(|why| {
                let why = dds.presentable(&why);
                Failure::retryable(format!("refused to sign the challenge of DDS: {why}"))
            })?;
        let signature = self.signer.sign(&message, self.events, dds.timeout.unwrap_or(Duration::MAX)).await;
        let signature = signature.map_err(|why| Failure::retryable(dds.presentable(&why)))?;
        log!(Debug, "sign_in", "challenge checked and signed");
        Ok(Signed { wallet, message, signature })
    }

    /// Sends the signed challenge back with the registration credentials.
    pub(crate) async fn register(
        &self,
        dds: &Dds<'_>,
        signed: Signed,
        version: &str,
        capabilities: &[String],
        max_concurrency: Option<u32>,
    ) -> Result<(), Failure> {
        let request = NodeRegisterWalletRequest {
            message: signed.message,
            signature: signed.signature,
            registration_credentials: self.credentials.expose().to_owned(),
            capabilities: capabilities.to_vec(),
            version: version.to_owned(),
        };
        dds.register(&request, max_concurrency).await
    }

    /// What must not appear in an error.
    pub(super) fn secrets(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let mut secrets = self.credentials.secrets();
        if let Some(key) = self.signer.key() {
            let key = key.to_bytes();
            secrets.push(Zeroizing::new(hex::encode(*key).into_bytes()));
            secrets.push(Zeroizing::new(key.to_vec()));
        }
        secrets
    }

    pub(super) async fn token(&self, dds: &Dds<'_>) -> Result<CachedToken, Failure> {
        let mut signed = self.sign_challenge(dds).await?;
        let mut verified = dds.verify(&signed).await;
        if self.needs_another_challenge(&verified) {
            signed = self.sign_challenge(dds).await?;
            verified = dds.verify(&signed).await;
        }
        let node_id = self.credentials.node_id();
        verified?
            .check(&Holder { wallet: &signed.wallet, node_id }, dds.clock.now())
            .map_err(|why| Failure::retryable(format!("refused the access token of DDS: {why}")))
    }
}
