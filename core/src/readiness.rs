//! Whether a node is ready, and why it is not.

use std::time::Duration;

use crate::error::{Error, ErrorCode};
use crate::state::store::Store;
use crate::status::{State, Status};

/// Whether a node is ready: running and registered and, if that was asked for, with a secret.
///
/// A node that is not ready may still be healthy: it is alive as long as it runs, whatever DDS does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness(Result<&'static str, Error>);

impl Readiness {
    pub(crate) fn of(store: &Store, needs_secret: bool) -> Self {
        let status = store.status();
        if !status.running {
            return Self(Err(store.stopped_error()));
        }
        if status.state != State::Registered {
            return Self(Err(match store.cut_off() {
                Some(error) => Error::new(ErrorCode::Unavailable, format!("not registered; {error}")),
                None => not_registered(&status, store.last_error()),
            }));
        }
        Self(match (needs_secret, status.has_secret) {
            (false, _) => Ok("registered"),
            (true, true) => Ok("registered, and the node has a secret"),
            (true, false) => Err(no_secret(&status, store.is_unreachable())),
        })
    }

    /// Whether the node is ready.
    pub fn is_ready(&self) -> bool {
        self.0.is_ok()
    }

    /// What a ready node has, or why the node is not ready, for people. It may repeat what DDS has answered.
    pub fn reason(&self) -> &str {
        match &self.0 {
            Ok(reason) => reason,
            Err(error) => error.message(),
        }
    }

    /// Why the node is not ready: [`ErrorCode::Stopped`] or, if a bug ended it, [`ErrorCode::Panic`];
    /// [`ErrorCode::Rejected`] while DDS refuses to register it; [`ErrorCode::Unavailable`] while it is not registered
    /// for another reason; [`ErrorCode::NotFound`] if only the secret is missing. `None` for a ready node.
    pub fn error(&self) -> Option<&Error> {
        self.0.as_ref().err()
    }

    /// As [`reason`](Self::reason), for a stranger: without the words of DDS.
    pub(crate) fn summary(&self) -> &'static str {
        match self.0.as_ref().map_err(Error::code) {
            Ok(reason) => reason,
            Err(ErrorCode::NotFound) => "registered, but DDS has not called back with the node secret",
            Err(ErrorCode::Rejected) => "not registered, because DDS refuses the registration; see the log",
            Err(ErrorCode::Unavailable) => "not registered yet; see the log",
            Err(_) => "the node has ended; see the log",
        }
    }
}

fn not_registered(status: &Status, last_error: Option<Error>) -> Error {
    let next = match status.next_attempt_in() {
        Some(left) => format!("the next one is due in {} s", round_up(left)),
        None if status.state == State::Registering => "one is under way".to_owned(),
        None => "one is about to begin".to_owned(),
    };
    let Some(error) = last_error else {
        return Error::new(ErrorCode::Unavailable, format!("not registered; no attempt has failed, {next}"));
    };
    let code = if error.code() == ErrorCode::Rejected { ErrorCode::Rejected } else { ErrorCode::Unavailable };
    let failures = status.consecutive_failures;
    Error::new(
        code,
        format!(
            "not registered; attempts that have failed in a row: {failures}, {next}; last attempt: {error}"
        ),
    )
}

fn no_secret(status: &Status, unreachable: bool) -> Error {
    let why = if unreachable {
        "and none can arrive, because DDS cannot call this node; if DDS knows the node's URL, set callback_bind, or pass its \
         requests on to this node from your own web server"
    } else if status.callback_overdue {
        "and DDS has not called for over a minute; it calls only a node whose URL it knows and can reach: check the URL \
         in the console, and the way from there to this node"
    } else {
        "until DDS calls back"
    };
    Error::new(ErrorCode::NotFound, format!("registered, but the node has no secret, {why}"))
}

/// In whole seconds, so that a pause that has not passed is never 0.
fn round_up(pause: Duration) -> u64 {
    pause.as_secs() + u64::from(pause.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::secret::Secret;
    use crate::state::wait::Wait;
    use crate::status::Role;

    fn running() -> Store {
        let store = Store::default();
        store.set_running(true);
        store
    }

    fn register(store: &Store) {
        let registration = store.begin_attempt().expect("not registered");
        assert!(store.finish_attempt(registration, None));
    }

    #[track_caller]
    fn assert_not_ready(store: &Store, needs_secret: bool, code: ErrorCode, reason: &str) {
        let readiness = Readiness::of(store, needs_secret);
        assert!(!readiness.is_ready());
        assert_eq!(readiness.error().map(Error::code), Some(code));
        assert_eq!(readiness.reason(), reason);
    }

    #[test]
    fn a_node_is_ready_when_it_is_registered() {
        let store = running();
        let none_failed = "not registered; no attempt has failed, one is";
        assert_not_ready(&store, false, ErrorCode::Unavailable, &format!("{none_failed} about to begin"));
        let registration = store.begin_attempt().expect("not registered");
        assert_not_ready(&store, false, ErrorCode::Unavailable, &format!("{none_failed} under way"));
        assert!(store.finish_attempt(registration, None));
        let ready = Readiness::of(&store, false);
        assert!(ready.is_ready() && ready.error().is_none());
        assert_eq!((ready.reason(), ready.summary()), ("registered", "registered"));
    }

    #[test]
    fn a_failed_attempt_is_named_and_not_shown_to_strangers() {
        for (code, answer, summary) in [
            (
                ErrorCode::Rejected,
                ErrorCode::Rejected,
                "not registered, because DDS refuses the registration; see the log",
            ),
            (ErrorCode::Unavailable, ErrorCode::Unavailable, "not registered yet; see the log"),
            // Of this process, such as a port that is taken.
            (ErrorCode::Bind, ErrorCode::Unavailable, "not registered yet; see the log"),
        ] {
            let store = running();
            let registration = store.begin_attempt().expect("not registered");
            let error = Error::new(code, "the words of DDS");
            assert!(store.fail_attempt(registration, &error, Duration::from_millis(119_900)));
            let reason = "not registered; attempts that have failed in a row: 1, the next one is due in 120 s; last \
                          attempt: the words of DDS";
            assert_not_ready(&store, false, answer, reason);
            assert_eq!(Readiness::of(&store, false).summary(), summary);
        }
    }

    #[test]
    fn a_follower_names_what_keeps_it_from_the_leader() {
        let store = running();
        let error = Error::new(ErrorCode::Io, "the store cannot be reached");
        assert!(store.set_persistence_error(Some(error)));
        // A leader with a full disk registers.
        assert!(Readiness::of(&store, false).reason().ends_with("one is about to begin"));
        store.set_role(Role::Follower);
        let reason = "not registered; the store cannot be reached";
        assert_not_ready(&store, false, ErrorCode::Unavailable, reason);
        let waited = store.wait(Wait::Registered, Some(Instant::now())).expect_err("not registered");
        assert!(waited.message().ends_with("; the store cannot be reached"), "{waited}");
        assert_eq!(Readiness::of(&store, false).summary(), "not registered yet; see the log");
    }

    #[test]
    fn a_node_may_need_its_secret_too() {
        let store = running();
        register(&store);
        assert!(Readiness::of(&store, false).is_ready());
        assert_not_ready(
            &store,
            true,
            ErrorCode::NotFound,
            "registered, but the node has no secret, until DDS calls back",
        );
        assert!(store.set_callback_overdue());
        assert!(Readiness::of(&store, true).reason().contains("check the URL in the console"));
        store.accept_secret(None, Secret::new("s"));
        assert_eq!(Readiness::of(&store, true).reason(), "registered, and the node has a secret");

        let unreachable = Store::default();
        unreachable.set_running(false);
        register(&unreachable);
        assert!(Readiness::of(&unreachable, true).reason().contains("set callback_bind"));
    }

    #[test]
    fn a_stopped_node_is_not_ready() {
        let store = Arc::new(running());
        register(&store);
        store.stop(None);
        assert_not_ready(&store, false, ErrorCode::Stopped, "the node was stopped; start a new one");
        assert_eq!(Readiness::of(&store, true).summary(), "the node has ended; see the log");
    }
}
