//! What happens on a server.

use std::fmt;

use crate::endpoint::Endpoint;

/// Something that happened. Displayed as one line. It contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A challenge was issued.
    ChallengeIssued {
        /// The wallet, with its EIP-55 checksum.
        wallet: String,
    },
    /// A node with a wallet registered.
    Registered {
        /// The wallet, with its EIP-55 checksum.
        wallet: String,
        /// The node's id.
        node_id: String,
    },
    /// A robot registered.
    RobotRegistered {
        /// The robot's id.
        robot_id: String,
    },
    /// A token was issued.
    TokenIssued {
        /// The wallet, with its EIP-55 checksum, or the robot's id.
        node: String,
    },
    /// A request was refused.
    Refused {
        /// The endpoint.
        endpoint: Endpoint,
        /// The status of the answer.
        status: u16,
        /// The body of the answer.
        why: String,
    },
    /// An injected fault was applied to a request.
    FaultPlayed {
        /// The endpoint.
        endpoint: Endpoint,
        /// The fault's name.
        fault: &'static str,
    },
    /// The secret was sent to the node's callback server.
    CalledBack {
        /// The status of the node's answer.
        status: u16,
        /// The length of the secret in bytes.
        secret_len: usize,
    },
    /// The node's health was probed.
    HealthProbed {
        /// The status of the node's answer.
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
            Self::RobotRegistered { robot_id } => write!(f, "registered robot {robot_id}"),
            Self::TokenIssued { node } => write!(f, "access token for {node}"),
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
            Self::NodeUnreachable { why } => write!(f, "cannot reach the node: {why}"),
        }
    }
}
