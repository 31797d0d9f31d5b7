//! The requests that a node makes.

use hyper::Method;
use serde::{Deserialize, Serialize};

/// A request of the protocol. Every one is a `POST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Endpoint {
    /// `/internal/v1/auth/siwe/request`: a challenge to sign.
    Challenge,
    /// `/internal/v1/nodes/register-wallet`: the registration of a node with a wallet.
    Register,
    /// `/internal/v1/auth/siwe/verify`: an access token for a signed challenge.
    Verify,
    /// `/internal/v1/nodes/register`: the legacy registration of a node with a URL.
    RegisterUrl,
    /// `/internal/v1/robots/register`: the registration of a robot, and its first access token.
    RegisterRobot,
    /// `/internal/v1/auth/robot/verify`: every later access token of a robot.
    VerifyRobot,
    /// `/internal/v1/auth/robot/domain-token`: a robot's token for a domain server.
    DomainToken,
    /// `/internal/v1/auth/robot/p2p-token`: a robot's token for peers in a domain.
    P2pToken,
    /// `/internal/v1/auth/p2p/challenge`: a challenge for a libp2p peer to sign.
    P2pChallenge,
    /// `/internal/v1/auth/p2p/verify`: an access token that is bound to the peer.
    P2pVerify,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 10] = [
        Self::Challenge,
        Self::Register,
        Self::Verify,
        Self::RegisterUrl,
        Self::RegisterRobot,
        Self::VerifyRobot,
        Self::DomainToken,
        Self::P2pToken,
        Self::P2pChallenge,
        Self::P2pVerify,
    ];

    /// The path of this endpoint.
    pub fn path(self) -> &'static str {
        match self {
            Self::Challenge => "/internal/v1/auth/siwe/request",
            Self::Register => "/internal/v1/nodes/register-wallet",
            Self::Verify => "/internal/v1/auth/siwe/verify",
            Self::RegisterUrl => "/internal/v1/nodes/register",
            Self::RegisterRobot => "/internal/v1/robots/register",
            Self::VerifyRobot => "/internal/v1/auth/robot/verify",
            Self::DomainToken => "/internal/v1/auth/robot/domain-token",
            Self::P2pToken => "/internal/v1/auth/robot/p2p-token",
            Self::P2pChallenge => "/internal/v1/auth/p2p/challenge",
            Self::P2pVerify => "/internal/v1/auth/p2p/verify",
        }
    }

    /// The name of this endpoint in the control API and in other languages, such as `register_robot`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::Register => "register",
            Self::Verify => "verify",
            Self::RegisterUrl => "register_url",
            Self::RegisterRobot => "register_robot",
            Self::VerifyRobot => "verify_robot",
            Self::DomainToken => "domain_token",
            Self::P2pToken => "p2p_token",
            Self::P2pChallenge => "p2p_challenge",
            Self::P2pVerify => "p2p_verify",
        }
    }

    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| method == Method::POST && path == endpoint.path())
    }
}
