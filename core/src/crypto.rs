//! secp256k1 keys, Ethereum addresses and signatures.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use k256::ecdsa::hazmat::SignPrimitive as _;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use k256::elliptic_curve::ops::MulByGenerator as _;
use k256::{NonZeroScalar, ProjectivePoint};
use sha2::Sha256;
use sha3::{Digest, Keccak256};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Result};

/// A secp256k1 private key: the wallet of a node. Zeroized on drop; `Debug` prints `[redacted]`.
#[derive(Clone)]
pub struct SecretKey {
    scalar: Zeroizing<NonZeroScalar>,
    /// Stored, because computing it takes half as long as a signature.
    public: VerifyingKey,
    /// Stored, because each registration needs it twice.
    address: [u8; 20],
}

impl SecretKey {
    /// This is not a `SigningKey` of k256, because that one computes its public key without the table of the generator's
    /// multiples, which takes twice as long.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let scalar = Zeroizing::new(NonZeroScalar::try_from(bytes).ok()?);
        let public =
            VerifyingKey::from_affine(ProjectivePoint::mul_by_generator(&scalar).to_affine()).ok()?;
        Some(Self { scalar, address: address_of(&public), public })
    }

    /// The key itself, to compare with texts that must not show it.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.scalar.to_bytes().into())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Loads a private key from 64 hex digits, with or without `0x` and surrounding space.
///
/// # Errors
/// [`ErrorCode::InvalidArgument`] when it is not hex, not 32 bytes, zero, or not below the curve order. The
/// message never contains the value.
pub fn load_secp256k1_privhex(hex_str: &str) -> Result<SecretKey> {
    let invalid = |what: String| {
        Error::new(
            ErrorCode::InvalidArgument,
            format!("{what}; expected 32 bytes as 64 hex digits, 0x optional"),
        )
    };
    let digits = hex_str.trim();
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    if digits.is_empty() {
        return Err(invalid("the private key is empty".into()));
    }
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(invalid("the private key is not hex".into()));
    }
    let mut key = Zeroizing::new([0_u8; 32]);
    hex::decode_to_slice(digits, key.as_mut_slice())
        .map_err(|_| invalid(format!("the private key has {} hex digits", digits.len())))?;
    SecretKey::from_bytes(key.as_slice()).ok_or_else(|| {
        invalid("the private key is zero or not below the order of the secp256k1 curve".into())
    })
}

/// The uncompressed public key (`04`, then x and y: 65 bytes) as lowercase hex.
pub fn secp256k1_pubkey_uncompressed_hex(sk: &SecretKey) -> String {
    hex::encode(sk.public.to_encoded_point(false).as_bytes())
}

/// The Ethereum address: the last 20 bytes of the Keccak-256 of the public key.
pub(crate) fn address_bytes(sk: &SecretKey) -> [u8; 20] {
    sk.address
}

/// The Ethereum address, `0x` and 40 lowercase hex digits.
pub fn derive_eth_address(sk: &SecretKey) -> String {
    prefixed_hex(&address_bytes(sk))
}

/// Signs the SHA-256 of `msg` (ECDSA, RFC 6979, low s): r‖s, 64 bytes as lowercase hex without `0x`.
pub fn sign_compact_hex(sk: &SecretKey, msg: &[u8]) -> String {
    let (signature, _) = sign_prehash(sk, &Sha256::digest(msg).into());
    hex::encode(signature.to_bytes())
}

/// Signs the Keccak-256 of `msg`: r‖s‖v with v ∈ {0, 1}, 65 bytes as lowercase hex without `0x`.
pub fn sign_recoverable_keccak_hex(sk: &SecretKey, msg: &[u8]) -> String {
    hex::encode(recoverable(sk, &Keccak256::digest(msg).into(), 0))
}

/// Signs text as a wallet does (EIP-191 `personal_sign`): r‖s‖v with v ∈ {27, 28}, 65 bytes as `0x` and
/// lowercase hex.
pub fn sign_eip191_recoverable_hex(sk: &SecretKey, message: &str) -> String {
    sign_eip191(sk, message.as_bytes())
}

/// As [`sign_eip191_recoverable_hex`], for any bytes.
pub fn sign_eip191(sk: &SecretKey, message: &[u8]) -> String {
    prefixed_hex(&recoverable(sk, &eip191_digest(message), 27))
}

/// What a wallet signs for a message (EIP-191 `personal_sign`).
pub(crate) fn eip191_digest(message: &[u8]) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    hasher.update(format!("\u{19}Ethereum Signed Message:\n{}", message.len()));
    hasher.update(message);
    hasher.finalize().into()
}

/// The address that made a signature, r‖s‖v with v ∈ {27, 28}, or why it is not one.
pub(crate) fn recovered_address(
    digest: &[u8; 32],
    signature: &[u8; 65],
) -> std::result::Result<[u8; 20], &'static str> {
    let not_a_signature = "it is not a signature on secp256k1";
    let recovery = match signature[64] {
        27 => RecoveryId::new(false, false),
        28 => RecoveryId::new(true, false),
        _ => return Err("its last byte (v) is not 27 or 28"),
    };
    let signature = Signature::from_slice(&signature[..64]).map_err(|_| not_a_signature)?;
    if signature.normalize_s().is_some() {
        return Err("it does not have a low s (EIP-2)");
    }
    let public = VerifyingKey::recover_from_prehash(digest, &signature, recovery);
    Ok(address_of(&public.map_err(|_| not_a_signature)?))
}

fn address_of(public: &VerifyingKey) -> [u8; 20] {
    let hash = Keccak256::digest(&public.to_encoded_point(false).as_bytes()[1..]);
    *hash.last_chunk().expect("a hash has 32 bytes")
}

/// RFC 3339 in UTC with nanoseconds and a `Z`.
pub fn format_timestamp_nanos(ts: DateTime<Utc>) -> String {
    ts.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// `0x` and lowercase digits. `hex::encode` collects single characters, which takes three times as long.
pub(crate) fn prefixed_hex(bytes: &[u8]) -> String {
    let mut text = vec![b'0'; 2 + 2 * bytes.len()];
    text[1] = b'x';
    hex::encode_to_slice(bytes, &mut text[2..]).expect("two digits for each byte");
    String::from_utf8(text).expect("digits are ASCII")
}

fn recoverable(sk: &SecretKey, digest: &[u8; 32], first_v: u8) -> [u8; 65] {
    let (signature, recovery) = sign_prehash(sk, digest);
    let mut out = [0; 65];
    out[..64].copy_from_slice(&signature.to_bytes());
    out[64] = first_v + recovery.to_byte();
    out
}

fn sign_prehash(sk: &SecretKey, digest: &[u8; 32]) -> (Signature, RecoveryId) {
    let signed = sk.scalar.try_sign_prehashed_rfc6979::<Sha256>(digest.into(), &[]);
    let (signature, recovery) = signed.expect("a 32-byte digest is signable with any valid key");
    (signature, recovery.expect("k256 always returns the recovery id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    const KEY: &str = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90";
    const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

    #[test]
    fn keys_load_with_prefix_space_and_capitals() {
        let address = derive_eth_address(&load_secp256k1_privhex(KEY).expect("a good key"));
        assert_eq!(address, "0xfdbb6caf01414300c16ea14859fec7736d95355f");
        for form in [format!("0x{KEY}"), format!(" {KEY}\n"), KEY.to_uppercase()] {
            assert_eq!(derive_eth_address(&load_secp256k1_privhex(&form).expect("a good key")), address);
        }
    }

    #[test]
    fn the_error_for_a_bad_key_says_why_and_hides_the_key() {
        let one_less = format!("{}0", &ORDER[..63]);
        assert!(load_secp256k1_privhex(&one_less).is_ok());
        let zero = "0".repeat(64);
        let bad = [
            ("", "empty"),
            ("0x", "empty"),
            (&KEY[1..], "63 hex digits"),
            (&format!("{KEY}00"), "66 hex digits"),
            (&format!("g{}", &KEY[1..]), "not hex"),
            (&zero, "zero"),
            (ORDER, "order"),
            (&"f".repeat(64), "order"),
        ];
        for (value, says) in bad {
            let error = load_secp256k1_privhex(value).expect_err(says);
            assert_eq!(error.code(), ErrorCode::InvalidArgument);
            assert!(error.message().contains(says), "{error}");
            assert!(value.is_empty() || value == "0x" || !error.message().contains(value), "{error}");
        }
    }

    #[test]
    fn debug_hides_a_key() {
        let key = load_secp256k1_privhex(KEY).expect("a good key");
        assert_eq!(format!("{key:?}"), "[redacted]");
    }

    #[test]
    fn timestamps_have_nanoseconds_and_z() {
        let at = Utc.timestamp_opt(1_704_164_645, 6_007_008).single().expect("a valid time");
        assert_eq!(format_timestamp_nanos(at), "2024-01-02T03:04:05.006007008Z");
    }
}
