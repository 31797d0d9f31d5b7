//! Signing in with the node's wallet: a challenge is fetched, checked and signed. What is done with the
//! signature, registering or getting a token, is the caller's business.

use std::time::SystemTime;

use crate::crypto::{self, SecretKey};
use crate::dds::{Dds, Failure};
use crate::log::log;
use crate::siwe::{self, Expectation};

/// Who signs in.
pub(crate) struct Wallet<'a> {
    pub(crate) key: &'a SecretKey,
    pub(crate) expected: &'a Expectation,
}

/// A challenge of DDS, signed. Good for one request.
pub(crate) struct Signed {
    /// The address, `0x` and 40 lowercase hex digits.
    pub(crate) wallet: String,
    pub(crate) message: String,
    pub(crate) signature: String,
}

impl Wallet<'_> {
    /// Asks for a fresh challenge and signs it, if it is one that this node agrees to sign.
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
