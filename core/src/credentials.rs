//! The registration credentials, and which texts must not appear in an error.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::crypto::SecretKey;
use crate::secret::Secret;

/// Base64, with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the node id and the secret of registration credentials from the console, which are
/// base64(`<node UUID>:<registration secret>`). `None` for any other credentials; those are valid, too.
pub(crate) fn decode_credentials(credentials: &str) -> Option<(String, Secret)> {
    let text = decode(credentials)?;
    let (id, secret) = split(std::str::from_utf8(&text).ok()?)?;
    Some((id.to_ascii_lowercase(), Secret::new(secret)))
}

/// The texts that must never be shown: the credentials, what they are made of, and the private key. The node id in the
/// credentials is not one of them.
pub(crate) fn secrets(credentials: &str, key: Option<&SecretKey>) -> Vec<Zeroizing<Vec<u8>>> {
    let secret = |text: &[u8]| {
        let secret =
            std::str::from_utf8(text).ok().and_then(split).map_or(text, |(_, secret)| secret.as_bytes());
        Zeroizing::new(secret.to_vec())
    };
    let mut all = vec![secret(credentials.trim().as_bytes())];
    all.extend(decode(credentials).map(|decoded| secret(&decoded)));
    if let Some(key) = key {
        let key = key.to_bytes();
        all.push(Zeroizing::new(hex::encode(*key).into_bytes()));
        all.push(Zeroizing::new(key.to_vec()));
    }
    all
}

/// What the name of a robot begins with.
pub(crate) const ROBOT: &str = "robot:";

/// Names a robot before DDS has: by the id in its credentials, or by a hash of credentials that hold none. It takes the
/// place of a wallet's address.
pub(crate) fn robot_name(credentials: &str) -> String {
    if let Some((id, _)) = decode_credentials(credentials) {
        return format!("{ROBOT}{id}");
    }
    let hash = Sha256::new().chain_update("posemesh robot\n").chain_update(credentials.trim()).finalize();
    format!("{ROBOT}{}", hex::encode(&hash[..16]))
}

fn decode(credentials: &str) -> Option<Zeroizing<Vec<u8>>> {
    LENIENT.decode(credentials.trim()).ok().map(Zeroizing::new)
}

fn split(text: &str) -> Option<(&str, &str)> {
    text.split_once(':').filter(|(id, _)| is_uuid(id))
}

/// 8-4-4-4-12 hex digits (RFC 9562).
fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_robot_is_named_by_the_id_in_its_credentials_or_by_their_hash() {
        let credentials = base64::engine::general_purpose::STANDARD
            .encode("C3F1D7C2-0a54-4b52-9b8e-6f0a8a2f7d11:secret of the robot");
        assert_eq!(robot_name(&credentials), "robot:c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11");
        let opaque = robot_name("opaque credentials");
        assert_eq!(opaque, robot_name("opaque credentials\n"));
        assert_ne!(opaque, robot_name("other credentials"));
        assert_eq!(opaque.len(), "robot:".len() + 32);
        assert!(!opaque.contains("opaque"), "{opaque}");
    }
}
