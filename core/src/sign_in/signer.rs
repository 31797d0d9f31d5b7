//! What signs for a wallet: its private key, or a signer of the host's, whose key stays in a KMS, an HSM or a wallet
//! and never enters this process.
//!
//! The host's function runs on the dispatcher's thread, so that it can block without stalling the runtime. It may also
//! pass the request on and respond later. Its signature is checked before it is used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::crypto::{SecretKey, address_bytes, eip191_digest, prefixed_hex, recovered_address, sign_eip191};
use crate::error::{Error, Result};
use crate::event::EventChannel;

/// A message for the host to sign: see [`Config::set_signer`](crate::config::Config::set_signer).
///
/// Dropping it without a response fails the attempt, which is retried like any other.
pub struct SigningRequest {
    address: String,
    message: Vec<u8>,
    digest: [u8; 32],
    response: oneshot::Sender<std::result::Result<String, String>>,
}

impl SigningRequest {
    /// The address that signs, `0x` and 40 lowercase hex digits.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The message, for a signer that hashes it itself (EIP-191, `personal_sign`).
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The digest to sign: the Keccak-256 of the message with its EIP-191 prefix.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether the library still waits for the response. It waits for `request_timeout_secs`, and until the node stops.
    pub fn is_pending(&self) -> bool {
        !self.response.is_closed()
    }

    /// Responds with the signature, r‖s‖v as 65 bytes of hex (`0x` optional) with a low s and v 27 or 28, or with the
    /// reason why there is none. May be called on any thread. A response that comes too late is ignored.
    pub fn respond<E: fmt::Display>(self, signature: std::result::Result<String, E>) {
        let _ = self.response.send(signature.map_err(|error| error.to_string()));
    }
}

impl fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningRequest").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What signs for a wallet.
#[derive(Clone, Debug)]
pub(crate) enum Signer {
    /// The wallet's private key.
    Key(SecretKey),
    /// A function of the host's.
    Host(Arc<HostSigner>),
}

impl Signer {
    /// The address of the wallet.
    pub(crate) fn address(&self) -> [u8; 20] {
        match self {
            Self::Key(key) => address_bytes(key),
            Self::Host(signer) => signer.address,
        }
    }

    /// The address of the wallet, `0x` and 40 lowercase hex digits.
    pub(crate) fn address_text(&self) -> String {
        prefixed_hex(&self.address())
    }

    /// The private key, if it is in this process.
    pub(crate) fn key(&self) -> Option<&SecretKey> {
        match self {
            Self::Key(key) => Some(key),
            Self::Host(_) => None,
        }
    }

    /// Signs a message (EIP-191). A host's signer has until the timeout, and is called in order with the events.
    pub(crate) async fn sign(
        &self,
        message: &str,
        events: &EventChannel,
        timeout: Duration,
    ) -> std::result::Result<String, String> {
        match self {
            Self::Key(key) => Ok(sign_eip191(key, message.as_bytes())),
            Self::Host(signer) => signer.sign(message, events, timeout).await,
        }
    }
}

/// The host's function, and the address for which it signs.
pub(crate) struct HostSigner {
    address: [u8; 20],
    sign: Box<dyn Fn(SigningRequest) + Send + Sync>,
}

impl HostSigner {
    /// `address` has `0x` and 40 hex digits; if they are in mixed case, that is the EIP-55 checksum.
    pub(crate) fn new(
        address: &str,
        sign: impl Fn(SigningRequest) + Send + Sync + 'static,
    ) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { address: parse_address(address)?, sign: Box::new(sign) }))
    }

    /// Asks the host for a signature, and checks it. The reasons for a failure contain the host's own words.
    async fn sign(
        self: &Arc<Self>,
        message: &str,
        events: &EventChannel,
        timeout: Duration,
    ) -> std::result::Result<String, String> {
        let (response, responded) = oneshot::channel();
        let digest = eip191_digest(message.as_bytes());
        let request = SigningRequest {
            address: prefixed_hex(&self.address),
            message: message.into(),
            digest,
            response,
        };
        let signer = Arc::clone(self);
        let asked = async {
            let ask = move || {
                // The attempt may be over by the time that the callbacks before this one have returned.
                if request.is_pending() {
                    (signer.sign)(request);
                }
            };
            events.call_in_turn(ask).await;
            responded.await
        };
        let signature = match tokio::time::timeout(timeout, asked).await {
            Ok(Ok(Ok(signature))) => signature,
            Ok(Ok(Err(reason))) => return Err(format!("the signer failed: {reason}")),
            Ok(Err(_)) => return Err("the signer did not respond".into()),
            Err(_) => {
                return Err(format!(
                    "the signer did not respond within {} s (request_timeout_secs)",
                    timeout.as_secs()
                ));
            }
        };
        self.check(&digest, signature.trim())
    }

    /// The signature in its usual form, if it is one by this address.
    fn check(&self, digest: &[u8; 32], signature: &str) -> std::result::Result<String, String> {
        let refused = |why: &str| format!("the signer returned an unusable signature: {why}");
        let digits = signature.strip_prefix("0x").unwrap_or(signature);
        let mut bytes = [0; 65];
        hex::decode_to_slice(digits, &mut bytes)
            .map_err(|_| refused("expected 65 bytes as 130 hex digits, 0x optional"))?;
        let signed_by = recovered_address(digest, &bytes).map_err(refused)?;
        if signed_by != self.address {
            return Err(refused(&format!(
                "it is by 0x{}, not by 0x{}; sign the EIP-191 digest with the key of the signer's address",
                hex::encode(signed_by),
                hex::encode(self.address)
            )));
        }
        Ok(format!("0x{}", hex::encode(bytes)))
    }
}

impl fmt::Debug for HostSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signer for 0x{}", hex::encode(self.address))
    }
}

fn parse_address(text: &str) -> Result<[u8; 20]> {
    let invalid = |what: &str| Error::invalid_config(format!("the signer's address {what}"));
    let text = text.trim();
    let mut address = [0; 20];
    text.strip_prefix("0x")
        .and_then(|digits| hex::decode_to_slice(digits, &mut address).ok())
        .ok_or_else(|| invalid("is not 0x and 40 hex digits"))?;
    let is_mixed_case = text[2..].contains(|c: char| c.is_ascii_lowercase())
        && text.contains(|c: char| c.is_ascii_uppercase());
    if is_mixed_case && text != ::siwe::eip55(&address) {
        return Err(invalid("has a wrong checksum (EIP-55): a character is mistyped"));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{derive_eth_address, load_secp256k1_privhex, sign_eip191};
    use crate::dispatcher::Dispatcher;

    const KEY: &str = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90";
    const ADDRESS: &str = "0xfdbb6caf01414300c16ea14859fec7736d95355f";

    fn signer(address: &str) -> Result<Arc<HostSigner>> {
        HostSigner::new(address, |_| {})
    }

    /// What becomes of a signature of "hello".
    fn check(signature: &str) -> std::result::Result<String, String> {
        signer(ADDRESS).expect("a good address").check(&eip191_digest(b"hello"), signature)
    }

    #[test]
    fn an_address_has_one_case_or_its_checksum() {
        let checksummed = ::siwe::eip55(&signer(ADDRESS).expect("a good address").address);
        assert_ne!(checksummed, ADDRESS);
        for good in [ADDRESS, &checksummed, &format!("0x{}", ADDRESS[2..].to_uppercase())] {
            assert_eq!(hex::encode(signer(good).expect(good).address), ADDRESS[2..]);
        }
        let mistyped = checksummed.replace('f', "F");
        for (bad, says) in [
            ("", "40 hex digits"),
            (&ADDRESS[2..], "40 hex digits"),
            (&ADDRESS[..41], "40 hex digits"),
            ("0xzdbb6caf01414300c16ea14859fec7736d95355f", "40 hex digits"),
            (&mistyped, "checksum"),
        ] {
            let error = signer(bad).expect_err(bad);
            assert_eq!(error.code(), crate::error::ErrorCode::InvalidConfig);
            assert!(error.message().contains(says), "{bad}: {error}");
        }
    }

    #[tokio::test]
    async fn a_signer_that_does_not_return_has_one_job() {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (calls, called) = std::sync::mpsc::channel();
        let released = std::sync::Mutex::new(released);
        let sign = move |request: SigningRequest| {
            let _ = calls.send(String::from_utf8(request.message().to_vec()));
            let _ = released.lock().expect("one caller").recv();
            request.respond(Err::<String, _>("it returned"));
        };
        let signer = HostSigner::new(ADDRESS, sign).expect("a good address");
        let dispatcher = Arc::new(Dispatcher::default());
        let events = EventChannel::new(Arc::clone(&dispatcher));
        for attempt in 0..5 {
            let timeout = Duration::from_millis(1);
            let reason =
                signer.sign(&format!("attempt {attempt}"), &events, timeout).await.expect_err("late");
            assert!(reason.contains("did not respond within"), "{reason}");
            assert!(Arc::strong_count(&signer) <= 2, "one job holds it");
        }
        drop(release);
        let reason = signer.sign("the last one", &events, Duration::MAX).await.expect_err("it fails");
        assert_eq!(reason, "the signer failed: it returned");
        let messages: Vec<_> = called.try_iter().map(|message| message.expect("UTF-8")).collect();
        assert_eq!(messages.last().map(String::as_str), Some("the last one"));
        assert!(messages.len() <= 2, "{messages:?}");
        dispatcher.close();
    }

    #[test]
    fn a_signature_by_the_address_is_accepted_in_any_case() {
        let key = load_secp256k1_privhex(KEY).expect("a good key");
        assert_eq!(derive_eth_address(&key), ADDRESS);
        let signature = sign_eip191(&key, b"hello");
        assert_eq!(check(&signature), Ok(signature.clone()));
        assert_eq!(check(&signature[2..].to_uppercase()), Ok(signature));
    }

    #[test]
    fn every_other_signature_is_refused() {
        let key = load_secp256k1_privhex(KEY).expect("a good key");
        let other_key = load_secp256k1_privhex(&"1".repeat(64)).expect("a good key");
        let good = sign_eip191(&key, b"hello");
        let mut bytes = hex::decode(&good[2..]).expect("hex");
        // The same signature with s negated and v flipped: valid to ECDSA, and not unique.
        let order =
            hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").expect("hex");
        let mut borrow = 0_i16;
        for at in (0..32).rev() {
            let difference = i16::from(order[at]) - i16::from(bytes[32 + at]) - borrow;
            borrow = i16::from(difference < 0);
            bytes[32 + at] = difference.rem_euclid(256) as u8;
        }
        bytes[64] = 27 + 28 - bytes[64];
        let high_s = hex::encode(&bytes);
        let parity = |v: &str| format!("{}{v}", &good[..130]);
        for (bad, says) in [
            ("", "130 hex digits"),
            (&good[..131], "130 hex digits"),
            ("0xsignature", "130 hex digits"),
            (&parity("00"), "27 or 28"),
            (&parity("1d"), "27 or 28"),
            (&high_s, "low s"),
            (&"0".repeat(130), "27 or 28"),
            (&format!("{}1b", "0".repeat(128)), "not a signature"),
            (&sign_eip191(&other_key, b"hello"), "it is by 0x"),
            (&sign_eip191(&key, b"goodbye"), "it is by 0x"),
        ] {
            let reason = check(bad).expect_err(says);
            assert!(reason.contains(says), "{bad}: {reason}");
        }
    }
}
