//! Recoverable secp256k1 signatures.

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use sha3::{Digest, Keccak256};

use crate::wallet::Wallet;

/// The key that made the signature `r‖s‖v`, where `v` is `first_v` or one more.
pub(crate) fn recover(hash: &[u8; 32], signature: &[u8; 65], first_v: u8) -> Result<VerifyingKey, String> {
    let (rs, v) = (&signature[..64], signature[64]);
    let recovery_id = match v.checked_sub(first_v) {
        Some(odd @ (0 | 1)) => RecoveryId::new(odd == 1, false),
        _ => return Err(format!("the signature ends in {v}, not in {first_v} or {}", first_v + 1)),
    };
    let rs = Signature::from_slice(rs).map_err(|_| "r or s of the signature is out of range")?;
    if rs.normalize_s().is_some() {
        return Err("the signature is not in low-s form".into());
    }
    VerifyingKey::recover_from_prehash(hash, &rs, recovery_id)
        .map_err(|_| "no key makes this signature".into())
}

/// The Ethereum address of a key.
pub(crate) fn address(key: &VerifyingKey) -> Wallet {
    let hash = Keccak256::digest(&key.to_encoded_point(false).as_bytes()[1..]);
    let mut address = [0; 20];
    address.copy_from_slice(&hash[12..]);
    Wallet(address)
}
