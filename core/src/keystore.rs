//! Private keys in encrypted files: Web3 Secret Storage, version 3, as geth, foundry and eth-account write it.
//!
//! The password and a salt give a 32-byte key through scrypt (RFC 7914) or PBKDF2 (RFC 8018). Its first half
//! decrypts the private key with AES-128-CTR; its second half authenticates the ciphertext with Keccak-256.

use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::Deserialize;
use sha2::Sha256;
use sha3::{Digest as _, Keccak256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::crypto::{SecretKey, derive_eth_address};

/// Limits on the work that a file can demand. The default parameters of geth (n = 2¹⁸, r = 8, p = 1) take 256 MiB and
/// about a second. The limits allow twice the memory and eight times the work.
const MAX_SCRYPT_MEMORY: u64 = 512 * 1024 * 1024;
const MAX_SCRYPT_WORK: u64 = 2 * 1024 * 1024 * 1024;
const MAX_PBKDF2_ITERATIONS: u32 = 10_000_000;

type Aes128Ctr = ctr::Ctr128BE<aes::Aes128>;

#[derive(Deserialize)]
struct Keystore {
    version: u64,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
    address: Option<String>,
}

#[derive(Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    kdf: String,
    kdfparams: serde_json::Value,
    mac: String,
}

#[derive(Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Deserialize)]
struct ScryptParams {
    n: u64,
    r: u32,
    p: u32,
    dklen: u64,
    salt: String,
}

#[derive(Deserialize)]
struct Pbkdf2Params {
    c: u32,
    prf: String,
    dklen: u64,
    salt: String,
}

/// Decrypts the key in the text of a keystore file. Takes about a second and 256 MiB with usual parameters.
///
/// # Errors
/// What is wrong with the file or the password, as the end of the sentence "the file …". The error quotes nothing of
/// the file except names of algorithms.
pub(crate) fn decrypt(json: &str, password: &str) -> Result<SecretKey, String> {
    let keystore: Keystore = serde_json::from_str(json).map_err(|error| {
        format!(
            "is not a keystore (Web3 Secret Storage JSON, line {} column {})",
            error.line(),
            error.column()
        )
    })?;
    if keystore.version != 3 {
        return Err(format!("is a keystore of version {}; expected version 3", keystore.version));
    }
    let crypto = &keystore.crypto;
    if crypto.cipher != "aes-128-ctr" {
        return Err(format!("uses the cipher {}; expected aes-128-ctr", name(&crypto.cipher)));
    }
    let iv: [u8; 16] = bytes("iv", &crypto.cipherparams.iv)?;
    let mac: [u8; 32] = bytes("mac", &crypto.mac)?;
    let mut key = Zeroizing::new(bytes::<32>("ciphertext", &crypto.ciphertext)?);

    let derived = derive(crypto, password)?;
    let (encryption, authentication) = derived.split_at(16);
    let expected = Keccak256::new().chain_update(authentication).chain_update(key.as_slice()).finalize();
    if !bool::from(expected[..].ct_eq(&mac)) {
        return Err("cannot be decrypted: the password is wrong, or the file is damaged".into());
    }
    Aes128Ctr::new(encryption.into(), &iv.into()).apply_keystream(key.as_mut_slice());
    let key = SecretKey::from_bytes(key.as_slice())
        .ok_or("contains a number that is not a secp256k1 private key: zero, or not below the curve order")?;

    let address = derive_eth_address(&key);
    match keystore.address.as_deref().map(|shown| shown.strip_prefix("0x").unwrap_or(shown)) {
        Some(shown) if !shown.eq_ignore_ascii_case(&address[2..]) => {
            Err(format!("contains another address than that of its key, which is {address}"))
        }
        _ => Ok(key),
    }
}

fn derive(crypto: &Crypto, password: &str) -> Result<Zeroizing<[u8; 32]>, String> {
    let mut derived = Zeroizing::new([0; 32]);
    let params = &crypto.kdfparams;
    let unusable = |_| format!("has incomplete or unusable parameters of {}", name(&crypto.kdf));
    match crypto.kdf.as_str() {
        "scrypt" => {
            let ScryptParams { n, r, p, dklen, salt } =
                ScryptParams::deserialize(params).map_err(unusable)?;
            check_length(dklen)?;
            let memory = n.saturating_mul(128).saturating_mul(r.into());
            if !n.is_power_of_two()
                || n < 2
                || memory > MAX_SCRYPT_MEMORY
                || memory.saturating_mul(p.into()) > MAX_SCRYPT_WORK
            {
                return Err(format!(
                    "requires scrypt with n = {n}, r = {r}, p = {p}; expected a power of two above 1 for n, and at most \
                     {} MiB of memory and {} MiB of work",
                    MAX_SCRYPT_MEMORY >> 20,
                    MAX_SCRYPT_WORK >> 20
                ));
            }
            let log_n = u8::try_from(n.ilog2()).expect("below 64");
            let checked = scrypt::Params::new(log_n, r, p, derived.len()).map_err(|_| {
                format!("requires scrypt with n = {n}, r = {r}, p = {p}, which scrypt does not allow")
            })?;
            scrypt::scrypt(password.as_bytes(), &salt_bytes(&salt)?, &checked, derived.as_mut_slice())
                .expect("32 bytes are an allowed length");
        }
        "pbkdf2" => {
            let Pbkdf2Params { c, prf, dklen, salt } = Pbkdf2Params::deserialize(params).map_err(unusable)?;
            check_length(dklen)?;
            if prf != "hmac-sha256" {
                return Err(format!("uses PBKDF2 with {}; expected hmac-sha256", name(&prf)));
            }
            if c == 0 || c > MAX_PBKDF2_ITERATIONS {
                return Err(format!(
                    "requires {c} iterations of PBKDF2; expected 1 to {MAX_PBKDF2_ITERATIONS}"
                ));
            }
            let salt = salt_bytes(&salt)?;
            pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, c, derived.as_mut_slice());
        }
        other => return Err(format!("uses the key derivation {}; expected scrypt or pbkdf2", name(other))),
    }
    Ok(derived)
}

/// Only the first 32 bytes of a longer key are used, and they do not depend on the length.
fn check_length(dklen: u64) -> Result<(), String> {
    if dklen < 32 { Err(format!("derives a key of {dklen} bytes; expected at least 32")) } else { Ok(()) }
}

fn salt_bytes(salt: &str) -> Result<Vec<u8>, String> {
    hex::decode(salt.strip_prefix("0x").unwrap_or(salt)).map_err(|_| "has a salt that is not hex".into())
}

fn bytes<const N: usize>(field: &str, digits: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), &mut bytes)
        .map_err(|_| format!("has a field {field} that is not {N} bytes of hex"))?;
    Ok(bytes)
}

/// The name of an algorithm from the file, cut and escaped.
fn name(name: &str) -> String {
    format!("{:?}", name.chars().take(32).collect::<String>())
}

#[cfg(test)]
mod tests;
