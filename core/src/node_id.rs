//! The id of a node: a UUID (RFC 9562).

use std::fmt;
use std::str::FromStr;

/// The id that DDS knows a node by. It is shown as a UUID in lowercase: 8-4-4-4-12 hex digits.
///
/// It is never the nil UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u128);

/// The text is not a UUID, or it is the nil UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidNodeId;

impl NodeId {
    /// The 16 bytes of the UUID. `None` for the nil UUID.
    pub const fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        match u128::from_be_bytes(bytes) {
            0 => None,
            id => Some(Self(id)),
        }
    }

    /// The 16 bytes of the UUID.
    pub const fn as_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The upper and the lower half, both 0 for `None`.
    pub(crate) fn to_words(id: Option<Self>) -> [u64; 2] {
        let id = id.map_or(0, |Self(id)| id);
        [(id >> 64) as u64, id as u64]
    }

    #[inline]
    pub(crate) fn from_words([upper, lower]: [u64; 2]) -> Option<Self> {
        match u128::from(upper) << 64 | u128::from(lower) {
            0 => None,
            id => Some(Self(id)),
        }
    }
}

impl FromStr for NodeId {
    type Err = InvalidNodeId;

    fn from_str(text: &str) -> Result<Self, InvalidNodeId> {
        const LENGTHS: [usize; 5] = [8, 4, 4, 4, 12];
        let mut bytes = [0; 16];
        let digits: String = text.split('-').collect();
        if !text.split('-').map(str::len).eq(LENGTHS) || hex::decode_to_slice(digits, &mut bytes).is_err() {
            return Err(InvalidNodeId);
        }
        Self::from_bytes(bytes).ok_or(InvalidNodeId)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
        write!(f, "{a}-{b}-{c}-{d}-{e}")
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for InvalidNodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a UUID (8-4-4-4-12 hex digits), or the nil UUID")
    }
}

impl std::error::Error for InvalidNodeId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_parsed_and_shown_in_lowercase() {
        let id: NodeId = "C3F1D7C2-0a54-4b52-9b8e-6f0a8a2f7d11".parse().expect("a UUID");
        assert_eq!(id.to_string(), "c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11");
        assert_eq!(NodeId::from_bytes(id.as_bytes()), Some(id));
        assert_eq!(NodeId::from_words(NodeId::to_words(Some(id))), Some(id));
        assert_eq!(NodeId::from_words(NodeId::to_words(None)), None);
    }

    #[test]
    fn other_texts_and_the_nil_uuid_are_refused() {
        for text in [
            "",
            "c3f1d7c20a544b529b8e6f0a8a2f7d11",
            "c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d1",
            "c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d111",
            "c3f1d7c2-0a54-4b52-9b8e6-f0a8a2f7d11",
            "g3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11",
            "é3f1d7c-0a54-4b52-9b8e-6f0a8a2f7d11",
            " c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11",
            "00000000-0000-0000-0000-000000000000",
        ] {
            assert_eq!(text.parse::<NodeId>(), Err(InvalidNodeId), "{text}");
        }
    }
}
