//! UUIDs (RFC 9562).

use std::fmt;
use std::str::FromStr;

use sha3::{Digest, Keccak256};

/// Shown as 8-4-4-4-12 lowercase hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Uuid([u8; 16]);

impl Uuid {
    /// Always the same UUID for the same bytes. It has version 8, which is for custom layouts.
    pub(crate) fn derived_from(bytes: &[u8]) -> Self {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&Keccak256::digest(bytes)[..16]);
        uuid[6] = uuid[6] & 0x0F | 0x80;
        uuid[8] = uuid[8] & 0x3F | 0x80;
        Self(uuid)
    }
}

impl FromStr for Uuid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut uuid = [0; 16];
        let groups = text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
        if groups && hex::decode_to_slice(text.replace('-', ""), &mut uuid).is_ok() {
            Ok(Self(uuid))
        } else {
            Err(format!("{text:?} is not a UUID"))
        }
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = hex::encode(self.0);
        let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
        write!(f, "{a}-{b}-{c}-{d}-{e}")
    }
}
