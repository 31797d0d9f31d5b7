//! Ethereum addresses.

use std::fmt;
use std::str::FromStr;

/// The address of a wallet. Displayed with its EIP-55 checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Wallet(pub(crate) [u8; 20]);

impl FromStr for Wallet {
    type Err = String;

    /// Accepts lowercase and EIP-55. Any other mix of upper and lower case is a wrong checksum.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 20];
        text.strip_prefix("0x")
            .filter(|digits| hex::decode_to_slice(digits, &mut bytes).is_ok())
            .ok_or_else(|| format!("{text:?} is not an Ethereum address"))?;
        if is_lowercase(text) || text == siwe::eip55(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(format!("{text:?} has a wrong EIP-55 checksum"))
        }
    }
}

impl fmt::Display for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&siwe::eip55(&self.0))
    }
}

pub(crate) fn is_lowercase(text: &str) -> bool {
    !text.bytes().any(|byte| byte.is_ascii_uppercase())
}
