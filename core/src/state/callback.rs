//! What decides whether a callback of DDS confirms a registration.

use crate::config::CallbackPolicy;
use crate::status::State;

/// What became of the request that registers the node, and the registration that it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandIn {
    /// It is being sent, or DDS may have acted on it whatever the response was: DDS may call back.
    Pending(u64),
    /// DDS rejected it, so a callback does not belong to this registration.
    Refused(u64),
}

/// What became of a secret that DDS sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// It is new, and this is its version.
    New(u64),
    /// The node already has it.
    Same,
    /// The callback policy forbids it: this registration has another one.
    Another,
    /// There is no registration that a callback could confirm, for this reason.
    NotWaiting(&'static str),
    /// This process cannot decide it at present, for this reason.
    Unavailable(&'static str),
}

impl Acceptance {
    /// Whether the node keeps the secret, so DDS must not hear of it before the secret is safe.
    pub(crate) fn is_kept(self) -> bool {
        matches!(self, Self::New(_) | Self::Same)
    }
}

/// Why a node that was stopped accepts nothing.
pub(crate) const STOPPED: &str = "the node was stopped";

/// Every reason of [`Acceptance::NotWaiting`].
pub(crate) const NOT_WAITING: [&str; 3] = [NOT_BEGUN, NOT_SENT, REFUSED];

const NOT_BEGUN: &str = "the node is not waiting for a callback: it has not begun to register";
const NOT_SENT: &str = "the node is not waiting for a callback: it has not sent DDS its registration yet";
const REFUSED: &str = "the node is not waiting for a callback: DDS has refused its registration";

/// A registration at the moment of a callback.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) registration: u64,
    pub(super) state: State,
    pub(super) hand_in: Option<HandIn>,
    /// The registration in which the current secret was accepted.
    pub(super) secret_registration: Option<u64>,
}

impl Moment {
    /// Why a secret is refused; `None` if it is accepted. `same`: the node already has it. Without a policy every secret
    /// is accepted, at any time.
    pub(super) fn refusal(self, policy: Option<CallbackPolicy>, same: bool) -> Option<Acceptance> {
        let policy = policy?;
        if let Some(why) = self.awaits_no_callback() {
            return Some(Acceptance::NotWaiting(why));
        }
        let has_one = self.secret_registration == Some(self.registration);
        (policy == CallbackPolicy::PerRegistration && has_one && !same).then_some(Acceptance::Another)
    }

    /// Why a callback would confirm nothing at present. `None` when it would confirm this registration.
    fn awaits_no_callback(self) -> Option<&'static str> {
        match self.state {
            State::Registered => None,
            State::Disconnected => Some(NOT_BEGUN),
            State::Registering => match self.hand_in {
                Some(HandIn::Pending(registration)) if registration == self.registration => None,
                Some(HandIn::Refused(registration)) if registration == self.registration => Some(REFUSED),
                _ => Some(NOT_SENT),
            },
        }
    }
}
