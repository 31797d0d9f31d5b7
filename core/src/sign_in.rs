//! How a node proves its identity to DDS: with the signature of its wallet, or, as a robot, with its registration
//! credentials alone.

pub(crate) mod robot;
pub(crate) mod signer;
pub(crate) mod wallet;

use zeroize::Zeroizing;

use crate::config::Settings;
use crate::dds::{Dds, Failure};
use crate::event::EventChannel;
use crate::siwe::Expectation;
use crate::token::cached::CachedToken;
use robot::Robot;
use wallet::Wallet;

/// How a node signs in.
pub(crate) enum SignIn<'a> {
    Wallet(Wallet<'a>),
    Robot(Robot<'a>),
}

impl<'a> SignIn<'a> {
    /// `is_first`: the last attempt has not failed.
    pub(crate) fn new(
        settings: &'a Settings,
        events: &'a EventChannel,
        expected: &'a Expectation,
        is_first: bool,
    ) -> Self {
        let credentials = &settings.reg_secret;
        match &settings.signer {
            Some(signer) => Self::Wallet(Wallet { signer, events, expected, credentials, repeats: is_first }),
            None => Self::Robot(Robot { credentials }),
        }
    }

    /// Requests an access token.
    pub(crate) async fn token(&self, dds: &Dds<'_>) -> Result<CachedToken, Failure> {
        match self {
            Self::Wallet(wallet) => wallet.token(dds).await,
            Self::Robot(robot) => robot.token(dds).await,
        }
    }

    /// What must not appear in an error.
    pub(crate) fn secrets(&self) -> Vec<Zeroizing<Vec<u8>>> {
        match self {
            Self::Wallet(wallet) => wallet.secrets(),
            Self::Robot(robot) => robot.credentials.secrets(),
        }
    }
}
