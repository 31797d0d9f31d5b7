//! The registration credentials, and which texts must not appear in an error.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
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
pub(crate) fn secrets(credentials: &str, key: &SecretKey) -> Vec<Zeroizing<Vec<u8>>> {
    let secret = |text: &[u8]| {
        let secret =
            std::str::from_utf8(text).ok().and_then(split).map_or(text, |(_, secret)| secret.as_bytes());
        Zeroizing::new(secret.to_vec())
    };
    let mut all = vec![secret(credentials.trim().as_bytes())];
    all.extend(decode(credentials).map(|decoded| secret(&decoded)));
    let key = key.to_bytes();
    all.push(Zeroizing::new(hex::encode(*key).into_bytes()));
    all.push(Zeroizing::new(key.to_vec()));
    all
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
