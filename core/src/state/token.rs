//! The access token of a node: how callers get it, and how sign-ins change it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::store::{Inner, Store};
use super::waiters::Delivery;
use crate::error::{Error, ErrorCode, Result};
use crate::event::EventKind;
use crate::secret::Secret;
use crate::status::State;
use crate::token::AccessToken;
use crate::token::cached::CachedToken;

/// A sign-in that is under way.
pub(crate) struct SignInAttempt {
    /// The registration that it began under.
    pub(crate) registration: u64,
    invalidations: u64,
}

/// What callers that wait for a token do after a failed sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// They keep waiting.
    Wait,
    /// They receive the error.
    Fail,
    /// They keep waiting, because the node registers again first.
    Register,
}

impl Store {
    /// The cached token if it is usable, without a lock. Otherwise waits for one.
    pub(crate) fn access_token(&self, deadline: Option<Instant>) -> Result<AccessToken> {
        match self.usable_token() {
            Some(token) => Ok(token),
            None => self.wait_for(deadline, Inner::ask_for_token, Inner::token_timed_out),
        }
    }

    /// As [`Store::access_token`], for any async runtime and without a timer of its own.
    pub(crate) async fn access_token_async(&self) -> Result<AccessToken> {
        match self.usable_token() {
            Some(token) => Ok(token),
            None => self.wait_for_async(Inner::ask_for_token).await,
        }
    }

    /// As [`Store::access_token`], but calls `done` on the dispatcher's thread. Returns a number to cancel the
    /// wait with.
    pub(crate) fn access_token_then(
        &self,
        done: impl FnOnce(Result<AccessToken>) + Send + 'static,
    ) -> Result<u64> {
        self.wait_for_then(Delivery::Dispatched, Inner::ask_for_token, done)
    }

    /// The cached token, usable or not, without touching its reference count.
    #[inline]
    pub(crate) fn cached_token(&self) -> arc_swap::Guard<Option<Arc<CachedToken>>> {
        self.token.load()
    }

    /// The cached token, if it is usable.
    pub(crate) fn usable_token(&self) -> Option<AccessToken> {
        self.token.load().as_ref().and_then(|cached| cached.if_usable()).cloned()
    }

    /// The cached token and for how long it is usable, if it is.
    pub(crate) fn usable_token_for(&self) -> Option<(AccessToken, Duration)> {
        self.token.load().as_ref().and_then(|cached| cached.if_usable_for())
    }

    /// The error of the last sign-in. `None` after a success.
    pub(crate) fn token_error(&self) -> Option<Error> {
        self.lock().token.last_failure.clone()
    }

    /// The node secret and the access token, to compare with texts that must not show them.
    pub(crate) fn current_secrets(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let copy = |secret: &Secret| Zeroizing::new(secret.expose().as_bytes().to_vec());
        let token = self.token.load().as_ref().map(|cached| copy(cached.secret()));
        self.secret().as_deref().map(copy).into_iter().chain(token).collect()
    }

    /// Drops the cached token, and the one that a sign-in under way will bring.
    pub(crate) fn invalidate_token(&self) -> Result<()> {
        self.invalidate(|inner| {
            inner.token.invalidations += 1;
            true
        })
    }

    /// Drops the cached token if it is this one.
    pub(crate) fn invalidate_token_if(&self, value: &str) -> Result<()> {
        self.invalidate(|inner| {
            let cached = inner.token.cached.as_ref();
            cached.is_some_and(|cached| cached.secret().expose().as_bytes().ct_eq(value.as_bytes()).into())
        })
    }

    fn invalidate(&self, affects_cached: impl FnOnce(&mut Inner) -> bool) -> Result<()> {
        self.update(|inner| {
            inner.check_running()?;
            if affects_cached(inner) && inner.token.cached.is_some() {
                self.put_token(inner, None);
                inner.token.due = true;
                inner.token.refused = true;
            }
            Ok(())
        })
    }

    /// Whether a token is wanted because the last one was invalidated.
    pub(crate) fn token_was_refused(&self) -> bool {
        self.lock().token.refused
    }

    /// Begins a sign-in. `None` when the node is not registered.
    pub(crate) fn begin_sign_in(&self) -> Option<SignInAttempt> {
        self.update(|inner| {
            let registered = inner.status.state == State::Registered && !inner.stopped;
            registered.then_some(SignInAttempt {
                registration: inner.registration,
                invalidations: inner.token.invalidations,
            })
        })
    }

    /// A sign-in brought a token. Returns false when it does not count because tokens were invalidated meanwhile.
    pub(crate) fn finish_sign_in(&self, attempt: &SignInAttempt, token: CachedToken) -> bool {
        self.update_with_event(|inner| {
            inner.status.sign_in_failures = 0;
            inner.token.last_failure = None;
            inner.token.refused = attempt.invalidations != inner.token.invalidations;
            if inner.stopped || inner.token.refused {
                return (false, None);
            }
            inner.set_node_id(token.node_id());
            (true, Some(self.put_new_token(inner, token)))
        })
    }

    /// A registration brought a token, so no sign-in is due. Returns the event of the new token.
    pub(super) fn put_registration_token(&self, inner: &mut Inner, token: CachedToken) -> Option<EventKind> {
        inner.set_node_id(token.node_id());
        if inner.token.invalidations_at_attempt != inner.token.invalidations {
            return None;
        }
        inner.token.from_registration += 1;
        Some(self.put_new_token(inner, token))
    }

    /// Caches the token of a registration or sign-in that succeeded.
    fn put_new_token(&self, inner: &mut Inner, token: CachedToken) -> EventKind {
        let expires_at = token.expires_at();
        inner.status.sign_in_failures = 0;
        self.put_token(inner, Some(Arc::new(token)));
        inner.token.last_failure = None;
        inner.token.refusal = None;
        inner.token.refused = false;
        inner.token.due = false;
        inner.token.outcomes += 1;
        EventKind::TokenRefreshed { expires_at }
    }

    /// When to refresh the cached token. `None` if there is none.
    pub(crate) fn refresh_in(&self) -> Option<Duration> {
        self.token.load().as_ref().map(|cached| cached.refresh_in())
    }

    /// A sign-in failed.
    pub(crate) fn fail_sign_in(&self, error: &Error, after: AfterFailure) {
        self.update(|inner| {
            inner.status.sign_in_failures = inner.status.sign_in_failures.saturating_add(1);
            inner.token.last_failure = Some(error.clone());
            match after {
                AfterFailure::Wait => {}
                AfterFailure::Fail => {
                    inner.token.refusal = Some(error.clone());
                    inner.token.outcomes += 1;
                }
                // A token of a node that DDS does not know is worthless.
                AfterFailure::Register => self.put_token(inner, None),
            }
        });
    }

    /// The next sign-in is due: callers from now on wait for it instead of receiving the last refusal.
    pub(crate) fn forget_refusal(&self) {
        self.update(|inner| inner.token.refusal = None);
    }
}

impl Inner {
    /// The outcome of a wait for a token, if it is over. Otherwise makes a sign-in due.
    fn ask_for_token(&mut self) -> Option<Result<AccessToken>> {
        if self.stopped {
            return Some(Err(self.stopped_error()));
        }
        if let Some(token) = self.token.cached.as_ref().and_then(|cached| cached.if_usable()).cloned() {
            return Some(Ok(token));
        }
        if let Some(refusal) = &self.token.refusal {
            return Some(Err(refusal.clone()));
        }
        self.token.due = true;
        None
    }

    fn token_timed_out(&self) -> Error {
        let state = self.status.state;
        let (cut_off, last_error) = match state {
            State::Registered => (None, None),
            _ => (self.cut_off(), self.last_error.as_ref()),
        };
        let reason = match (cut_off, last_error, &self.token.last_failure) {
            (Some(error), ..) => format!("; {error}"),
            (None, Some(error), _) => format!("; last attempt to register: {error}"),
            (None, None, Some(error)) => format!("; last sign-in: {error}"),
            (None, None, None) => String::new(),
        };
        Error::new(ErrorCode::Timeout, format!("no access token in time (status {state}){reason}"))
    }
}
