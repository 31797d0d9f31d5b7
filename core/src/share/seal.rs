//! Seals a record for a store that others may read or write: AES-256-GCM, with a key that is derived from what only the
//! node's own processes have.
//!
//! Who reads the store learns the size of the record. Who writes it can put an older record of this node there, which its
//! processes notice, but none that this node has not written.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::config::Settings;
use crate::error::{Error, ErrorCode, Result};
use crate::sign_in::signer::Signer;

const SALT: &[u8] = b"posemesh-node state";

pub(super) struct Seal {
    key: LessSafeKey,
    /// The name of the key in the store. A record that was copied to another key does not open.
    name: String,
}

impl Seal {
    /// A seal for the record under this name. The wallet's key opens it. Where there is none, because the node is a robot
    /// or the host signs, its credentials do.
    pub(super) fn new(settings: &Settings, name: &str) -> Self {
        let key = settings.signer.as_ref().and_then(Signer::key);
        match key {
            Some(key) => Self::from_secret(&*key.to_bytes(), name),
            None => Self::from_secret(settings.reg_secret.expose().trim().as_bytes(), name),
        }
    }

    fn from_secret(secret: &[u8], name: &str) -> Self {
        let derived = Salt::new(HKDF_SHA256, SALT).extract(secret);
        let info = [name.as_bytes()];
        let derived = derived.expand(&info, &AES_256_GCM).expect("the key of a cipher is short enough");
        Self { key: LessSafeKey::new(UnboundKey::from(derived)), name: name.to_owned() }
    }

    /// The nonce, then the sealed record.
    pub(super) fn seal(&self, record: &[u8]) -> Result<Vec<u8>> {
        // Random nonces are safe for four billion records: 400 years of renewals.
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| Error::new(ErrorCode::Internal, "the system has no random numbers"))?;
        let mut text = Zeroizing::new(record.to_vec());
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), self.aad(), &mut text)
            .map_err(|_| Error::new(ErrorCode::Internal, "the state is too long to be sealed"))?;
        Ok([&nonce, &text[..], tag.as_ref()].concat())
    }

    /// The record. `None` if it was not sealed by this node under this name, or was altered.
    pub(super) fn open(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = Zeroizing::new(text.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.key.open_in_place(nonce, self.aad(), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }

    fn aad(&self) -> Aad<&[u8]> {
        Aad::from(self.name.as_bytes())
    }
}

#[cfg(test)]
impl Seal {
    pub(super) fn for_test() -> Self {
        Self::from_secret(b"secret", "name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_opens_with_the_same_secret_under_the_same_name_alone() {
        let seal = |secret: &str, name: &str| Seal::from_secret(secret.as_bytes(), name);
        let sealed = seal("secret", "name").seal(b"the record").expect("sealed");
        assert_eq!(
            seal("secret", "name").open(&sealed).as_deref().map(Vec::as_slice),
            Some(&b"the record"[..])
        );
        assert_eq!(seal("secret", "other").open(&sealed), None);
        assert_eq!(seal("other", "name").open(&sealed), None);
        assert!(!sealed.windows(6).any(|window| window == b"record"));
        assert_ne!(seal("secret", "name").seal(b"the record").expect("sealed"), sealed);
    }

    #[test]
    fn an_altered_record_is_refused() {
        let seal = Seal::for_test();
        let sealed = seal.seal(b"the record").expect("sealed");
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal.open(&altered), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(seal.open(&sealed[..length]), None, "{length} bytes");
        }
    }

    /// Replicas with different versions of this library must understand each other.
    #[test]
    fn a_record_of_an_earlier_version_opens() {
        // Made with the `cryptography` of Python.
        let sealed = "000102030405060708090a0bc58f24d4d19648334bee45a6ef4ed56d01d189e55b967a7b8033";
        let sealed = hex::decode(sealed).expect("hex");
        assert_eq!(Seal::for_test().open(&sealed).as_deref().map(Vec::as_slice), Some(&b"the record"[..]));
    }
}
