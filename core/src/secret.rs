//! Text that must stay secret: it is erased from memory when dropped, and `Debug` does not print it.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret text, such as the node secret that DDS sends.
///
/// It is zeroized on drop, `Debug` prints `[redacted]`, and comparison takes constant time for texts of one length.
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    /// Takes ownership of the text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Be careful where you send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        // Eight bytes at a time: a callback compares two secrets, and byte by byte takes a fortieth of it.
        let (words, rest) = self.0.as_bytes().as_chunks::<8>();
        let (other_words, other_rest) = other.0.as_bytes().as_chunks::<8>();
        let same_rest = words.len().ct_eq(&other_words.len()) & rest.ct_eq(other_rest);
        let pairs = words.iter().zip(other_words);
        let number = |word: &[u8; 8]| u64::from_ne_bytes(*word);
        pairs.fold(same_rest, |same, (one, other)| same & number(one).ct_eq(&number(other))).into()
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_no_secret() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
        assert_eq!(Secret::new("a"), Secret::new("a"));
    }

    #[test]
    fn every_byte_counts_in_a_comparison() {
        let text = "0123456789abcdefghijklm";
        for length in 0..=text.len() {
            let secret = Secret::new(&text[..length]);
            assert_eq!(secret, Secret::new(&text[..length]));
            assert_ne!(secret, Secret::new(format!("{}x", &text[..length])));
            for at in 0..length {
                let changed = format!("{}x{}", &text[..at], &text[at + 1..length]);
                assert_ne!(secret, Secret::new(changed), "{length} {at}");
            }
        }
    }
}
