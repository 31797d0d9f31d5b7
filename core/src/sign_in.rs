//! Signing in with the node's wallet: a challenge is fetched, checked and signed. The caller uses the signature to
//! register or to obtain a token.

use std::time::SystemTime;

use crate::crypto::{self, SecretKey};
use crate::dds::{Dds, Failure};
use crate::log::log;
use crate::siwe::{self, Expectation, Signed};

/// The wallet that signs in, and which challenges it signs.
pub(crate) struct Wallet<'a> {
    pub(crate) key: &'a SecretKey,
    pub(crate) expected: &'a Expectation,
}

impl Wallet<'_> {
    /// Requests a challenge, and signs it if it passes the checks.
    pub(crate) async fn sign_challenge(&self, dds: &Dds<'_>) -> Result<Signed, Failure> {
        let wallet = crypto::derive_eth_address(self.key);
        let challenge = dds.challenge(&wallet).await?;
        let address = crypto::address_bytes(self.key);
        let mut now = SystemTime::now();
        if let Some(issued_at) = challenge.issued_at() {
            now = dds.clock.reconcile(issued_at, now);
        }
        let message = siwe::compose_message(&challenge, self.expected, address, now).map_err(|why| {
            let why = dds.presentable(&why);
            Failure::retryable(format!("refused to sign the challenge of DDS: {why}"))
        })?;
        let signature = crypto::sign_eip191_recoverable_hex(self.key, &message);
        log!(Debug, "sign_in", "challenge checked and signed");
        Ok(Signed { wallet, message, signature })
    }
}
