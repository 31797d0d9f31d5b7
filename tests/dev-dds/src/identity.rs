//! Who a node is: the owner of a wallet, or a robot.

use std::fmt;
use std::str::FromStr;

use crate::uuid::Uuid;
use crate::wallet::Wallet;

/// Shown as the wallet's address with its EIP-55 checksum, or as the robot's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Identity {
    Wallet(Wallet),
    Robot(Uuid),
}

impl Identity {
    pub(crate) fn wallet(self) -> Option<Wallet> {
        match self {
            Self::Wallet(wallet) => Some(wallet),
            Self::Robot(_) => None,
        }
    }
}

impl FromStr for Identity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(robot) = text.parse() {
            return Ok(Self::Robot(robot));
        }
        text.parse().map(Self::Wallet)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wallet(wallet) => wallet.fmt(f),
            Self::Robot(robot) => robot.fmt(f),
        }
    }
}
