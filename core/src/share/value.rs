//! The value in a store: a line that shows who leads, and the sealed record.
//!
//! ```text
//! <epoch>.<revision> <holder>\n<nonce><sealed record>
//! ```
//!
//! The line is not sealed, so that an operator can read it. Nothing but the leader changes it: as long as it stays the
//! same, the leader is silent.

use std::fmt;

use rand::Rng as _;
use rand::rngs::OsRng;

/// Identifies a process among those that share a store: a random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder(u64);

impl Holder {
    pub(super) fn random() -> Self {
        Self(OsRng.r#gen())
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Counts changes of the leader.
    pub(super) epoch: u64,
    /// Counts what the leader has written in this epoch.
    pub(super) revision: u64,
    /// The leader. `None` if it has stopped, and anyone may take over at once.
    pub(super) holder: Option<Holder>,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} ", self.epoch, self.revision)?;
        match self.holder {
            Some(holder) => write!(f, "{holder}"),
            None => f.write_str("-"),
        }
    }
}

impl Header {
    fn parse(line: &str) -> Option<Self> {
        let (counts, holder) = line.split_once(' ')?;
        let (epoch, revision) = counts.split_once('.')?;
        let holder = match holder {
            "-" => None,
            _ => Some(Holder(u64::from_str_radix(holder, 16).ok()?)),
        };
        let header = Self { epoch: epoch.parse().ok()?, revision: revision.parse().ok()?, holder };
        // In one form alone.
        (header.to_string() == line).then_some(header)
    }
}

/// The whole value.
pub(super) fn encode(header: Header, sealed: &[u8]) -> Vec<u8> {
    let mut value = format!("{header}\n").into_bytes();
    value.extend_from_slice(sealed);
    value
}

/// The header and the sealed record. `None` if it is not such a value.
pub(super) fn decode(value: &[u8]) -> Option<(Header, &[u8])> {
    let end = value.iter().take(80).position(|byte| *byte == b'\n')?;
    Some((Header::parse(str::from_utf8(&value[..end]).ok()?)?, &value[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_encoding() {
        for holder in [None, Some(Holder(0)), Some(Holder(u64::MAX)), Some(Holder::random())] {
            let header = Header { epoch: u64::MAX, revision: 0, holder };
            let value = encode(header, b"\nsealed");
            assert_eq!(decode(&value), Some((header, &b"\nsealed"[..])));
        }
        assert_eq!(
            encode(Header { epoch: 1, revision: 2, holder: Some(Holder(3)) }, b"x"),
            b"1.2 0000000000000003\nx"
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "\n",
            "1.2 -",
            "1 -\n",
            "1.2 3\n",
            "+1.2 -\n",
            "1.2  -\n",
            "1.2 000000000000000G\n",
            " 1.2 -\n",
        ] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(decode(&[0xff; 100]), None);
    }
}
