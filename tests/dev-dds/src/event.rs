//! What a server tells as it goes along.

use std::fmt;

use crate::endpoint::Endpoint;

/// Something that happened. Shown as one line; never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A wallet asked for a challenge and got one.
    ChallengeIssued {
        /// The wallet, with its EIP-55 checksum.
        wallet: String,
    },
    /// A node registered.
    Registered {
        /// The wallet, with its EIP-55 checksum.
        wallet: String,
        /// The node's id.
        node_id: String,
    },
    /// A node got an access token.
    TokenIssued {
        /// The wallet, with its EIP-55 checksum.
        wallet: String,
    },
    /// A request was refused.
    Refused {
        /// What was asked for.
        endpoint: Endpoint,
        /// The status answered.
        status: u16,
        /// The reason answered.
        why: String,
    },
    /// A request met with a fault that a test had asked for.
    FaultPlayed {
        /// What was asked for.
        endpoint: Endpoint,
        /// The fault's name.
        fault: &'static str,
    },
    /// The node's callback server got a secret.
    CalledBack {
        /// What the node answered.
        status: u16,
        /// How long the secret was, in bytes.
        secret_len: usize,
    },
    /// The node's health was probed.
    HealthProbed {
        /// What the node answered.
        status: u16,
    },
    /// A callback or a health probe got no answer.
    NodeUnreachable {
        /// The I/O error.
        why: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChallengeIssued { wallet } => write!(f, "challenge for {wallet}"),
            Self::Registered { wallet, node_id } => {
                write!(f, "registered {wallet} as node {node_id}")
            }
            Self::TokenIssued { wallet } => write!(f, "access token for {wallet}"),
            Self::Refused { endpoint, status, why } => {
                write!(f, "refused {} with {status}: {why}", endpoint.path())
            }
            Self::FaultPlayed { endpoint, fault } => {
                write!(f, "fault at {}: {fault}", endpoint.path())
            }
            Self::CalledBack { status, secret_len } => {
                write!(f, "called back with a secret of {secret_len} bytes: the node answered {status}")
            }
            Self::HealthProbed { status } => {
                write!(f, "probed the node's health: it answered {status}")
            }
            Self::NodeUnreachable { why } => write!(f, "the node is out of reach: {why}"),
        }
    }
}
