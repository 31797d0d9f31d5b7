//! What the node's own tasks observe of its state.

use tokio::sync::watch;

use crate::status::State;

/// The part of a node's state that its tasks and waiters react to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Counts re-arms. An attempt that began under an older number must not count any more.
    pub(crate) registration: u64,
    pub(crate) state: State,
    pub(super) has_secret: bool,
    pub(crate) stopped: bool,
    /// An access token is wanted.
    pub(crate) token_due: bool,
    /// Counts the sign-ins whose outcome waiters receive.
    pub(super) token_outcomes: u64,
    /// Counts the tokens that came with a registration.
    pub(crate) registration_tokens: u64,
    /// DDS has probed the node's health since the last time that its probes stopped.
    pub(crate) probed: bool,
    /// DDS has called or probed the node since it was registered.
    pub(crate) called: bool,
    /// DDS may call this process.
    pub(crate) expects_callbacks: bool,
}

impl Observed {
    /// Whether the change from `former` can end a wait. The begin of an attempt cannot, and waking the host's
    /// thread for it would cost a tenth of a registration.
    pub(super) fn ends_waits(self, former: Self) -> bool {
        self.stopped != former.stopped
            || self.state != former.state && self.state == State::Registered
            || self.has_secret != former.has_secret
            || self.token_outcomes != former.token_outcomes
    }
}

/// Waits until the condition holds. Never returns once the store is gone.
pub(crate) async fn until(
    observed: &mut watch::Receiver<Observed>,
    condition: impl FnMut(&Observed) -> bool,
) {
    if observed.wait_for(condition).await.is_err() {
        // Without the store there is no registration to work for.
        std::future::pending::<()>().await;
    }
}
