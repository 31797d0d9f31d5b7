//! Access tokens: what DDS gives a registered node that signs in, for the services behind DDS.

mod claims;
mod keeper;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use rand::Rng as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Result};
use crate::event::EventKind;
use crate::secret::Secret;
use crate::state::{Inner, Store, Tell};
use crate::status::State;

pub use claims::claims;
pub(crate) use keeper::run_token_keeper;

/// A longer token is refused.
const MAX_TOKEN: usize = 8192;
/// A token is not handed out in the last tenth of its life, which is at most this long: it has to get to
/// where it is used, and whole seconds of `Date` hide that much of a skew.
const MAX_MARGIN: Duration = Duration::from_secs(10);

/// An access token. Cloning it is cheap.
///
/// The text is zeroized when the last clone is dropped; `Debug` prints `[redacted]` in its place.
#[derive(Clone)]
pub struct AccessToken(Arc<Issued>);

struct Issued {
    value: Secret,
    expires_at: SystemTime,
}

impl AccessToken {
    /// The token itself, for an `Authorization: Bearer` header: 1 to 8192 visible ASCII characters. Take care
    /// where it goes.
    pub fn value(&self) -> &str {
        self.0.value.expose()
    }

    /// What the token says about the node, such as `node_id`, `organization_id`, `node_mode`, `capabilities`,
    /// `assigned_domain_id` or `max_concurrency`: the claims of a JWT (RFC 7519). `None` if it is no JWT.
    ///
    /// They are read without verifying the signature. Use them as hints and never as proof.
    pub fn claims(&self) -> Option<Map<String, Value>> {
        claims(self.value())
    }

    /// When it expires, as DDS said it: by DDS's clock, which may differ from this machine's by
    /// [`clock_skew_ms`](crate::status::Status::clock_skew_ms).
    pub fn expires_at(&self) -> SystemTime {
        self.0.expires_at
    }
}

/// Of the tokens themselves, in constant time.
impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.value == other.0.value
    }
}

impl Eq for AccessToken {}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("value", &self.0.value)
            .field("expires_at", &self.0.expires_at)
            .finish()
    }
}

/// The answer of DDS to a sign-in. A field that is missing is found by [`Grant::check`].
#[derive(Deserialize)]
pub(crate) struct Grant {
    node_id: Option<String>,
    wallet: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    access_token: Option<Secret>,
    access_expires_at: Option<String>,
    /// As older answers have it.
    expires_at: Option<String>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

/// Whom a token must be for.
pub(crate) struct Holder<'a> {
    pub(crate) wallet: &'a str,
    /// The id that the registration credentials name, if they name one.
    pub(crate) node_id: Option<&'a str>,
}

impl Grant {
    /// Takes the token out, or says why it is refused; the reasons never repeat it. `now` is by DDS's clock.
    pub(crate) fn check(self, holder: &Holder<'_>, now: SystemTime) -> std::result::Result<Held, String> {
        let is_another = |field: &Option<String>, ours: &str| {
            field.as_ref().is_some_and(|theirs| !theirs.eq_ignore_ascii_case(ours))
        };
        if is_another(&self.wallet, holder.wallet) {
            return Err(format!("wallet is not {}", holder.wallet));
        }
        if let Some(node_id) = holder.node_id
            && is_another(&self.node_id, node_id)
        {
            return Err(format!("node_id is not {node_id}, which the credentials name"));
        }
        let value = self.access_token.ok_or("access_token is missing")?;
        let length = value.expose().len();
        if !(1..=MAX_TOKEN).contains(&length) {
            return Err(format!("access_token has {length} bytes, not 1 to {MAX_TOKEN}"));
        }
        if !value.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("access_token has something else than visible ASCII".into());
        }
        let expires_at = self.access_expires_at.or(self.expires_at).ok_or("access_expires_at is missing")?;
        let expires_at: DateTime<Utc> =
            expires_at.parse().map_err(|_| "access_expires_at is not an RFC 3339 time")?;
        let expires_at = SystemTime::from(expires_at);
        let lifetime = expires_at.duration_since(now).unwrap_or_default();
        if lifetime.is_zero() {
            return Err("access_expires_at is not in the future".into());
        }
        Ok(Held::new(AccessToken(Arc::new(Issued { value, expires_at })), lifetime))
    }
}

/// A token that is held, and how long it may be handed out.
pub(crate) struct Held {
    token: AccessToken,
    /// When it came, by both clocks: the monotonic one stands still while a machine sleeps, and the other one
    /// may be set. The token is good as long as both agree on it.
    received: Instant,
    received_at: SystemTime,
    lifetime: Duration,
}

impl Held {
    fn new(token: AccessToken, lifetime: Duration) -> Self {
        Self { token, received: Instant::now(), received_at: SystemTime::now(), lifetime }
    }

    fn is_good(&self, now: Instant, clock: SystemTime) -> bool {
        let usable = self.lifetime - (self.lifetime / 10).min(MAX_MARGIN);
        // A clock that was set back tells nothing.
        let age = clock.duration_since(self.received_at).unwrap_or_default();
        now.saturating_duration_since(self.received) < usable && age < usable
    }

    fn if_good(&self) -> Option<AccessToken> {
        self.is_good(Instant::now(), SystemTime::now()).then(|| self.token.clone())
    }

    /// Three quarters of its life, give or take, so that nodes that started together do not come together.
    fn refresh_in(&self) -> Duration {
        self.lifetime.mul_f64(rand::thread_rng().gen_range(0.7..=0.8))
    }
}

/// What a [`Store`] knows of tokens.
#[derive(Default)]
pub(crate) struct TokenState {
    /// As [`Store::token`].
    held: Option<Arc<Held>>,
    /// A sign-in is wanted. Nothing is before somebody has asked for the first token.
    pub(crate) due: bool,
    /// The last token was dropped because its user said that it is no good.
    refused: bool,
    /// Counts the ends of sign-ins that waiters are told of.
    pub(crate) outcomes: u64,
    /// Counts invalidations: what a sign-in brings that began under an older number is not trusted.
    invalidations: u64,
    /// That DDS said no, until the next sign-in.
    refusal: Option<Error>,
    last_failure: Option<Error>,
}

/// A sign-in that is under way.
pub(crate) struct Flight {
    /// The registration that it began under.
    registration: u64,
    invalidations: u64,
}

impl Store {
    /// The token that is held, if it is good, without a lock. Else waits for one.
    pub(crate) fn access_token(&self, deadline: Option<std::time::Instant>) -> Result<AccessToken> {
        match self.good_token() {
            Some(token) => Ok(token),
            None => self.wait_for(deadline, Inner::ask_for_token, Inner::token_timed_out),
        }
    }

    /// As [`Store::access_token`], for any async runtime and without a timer of its own.
    pub(crate) async fn access_token_async(&self) -> Result<AccessToken> {
        match self.good_token() {
            Some(token) => Ok(token),
            None => self.wait_for_async(Inner::ask_for_token).await,
        }
    }

    /// As [`Store::access_token`], but calls `done` on the dispatcher's thread. Returns a number to cancel
    /// it with.
    pub(crate) fn access_token_then(
        &self,
        done: impl FnOnce(Result<AccessToken>) + Send + 'static,
    ) -> Result<u64> {
        self.wait_for_then(Tell::Dispatched, Inner::ask_for_token, done)
    }

    /// The node secret and the access token that are held.
    pub(crate) fn held_secrets(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let copy = |secret: &Secret| Zeroizing::new(secret.expose().as_bytes().to_vec());
        let token = self.token.load().as_ref().map(|held| copy(&held.token.0.value));
        self.secret().as_deref().map(copy).into_iter().chain(token).collect()
    }

    /// The token that is held, if it is good.
    pub(crate) fn good_token(&self) -> Option<AccessToken> {
        self.token.load().as_ref().and_then(|held| held.if_good())
    }

    /// What the last sign-in failed with; none after a success.
    pub(crate) fn token_error(&self) -> Option<Error> {
        self.lock().token.last_failure.clone()
    }

    /// Drops the token that is held, and distrusts what a sign-in under way will bring.
    pub(crate) fn invalidate_token(&self) -> Result<()> {
        self.invalidate(|inner| {
            inner.token.invalidations += 1;
            true
        })
    }

    /// Drops the token that is held if it is this one.
    pub(crate) fn invalidate_token_if(&self, value: &str) -> Result<()> {
        self.invalidate(|inner| {
            let held = inner.token.held.as_ref();
            held.is_some_and(|held| held.token.value().as_bytes().ct_eq(value.as_bytes()).into())
        })
    }

    fn invalidate(&self, affects_held: impl FnOnce(&mut Inner) -> bool) -> Result<()> {
        self.update(|inner| {
            if inner.stopped {
                return Err(inner.stopped_error());
            }
            if affects_held(inner) && inner.token.held.is_some() {
                self.put_token(inner, None);
                inner.token.due = true;
                inner.token.refused = true;
            }
            Ok(())
        })
    }

    /// Holds another token, or none.
    pub(crate) fn put_token(&self, inner: &mut Inner, held: Option<Arc<Held>>) {
        inner.status.token_expires_at = held.as_ref().and_then(|held| {
            let since_1970 = held.token.expires_at().duration_since(SystemTime::UNIX_EPOCH);
            since_1970.ok().map(|time| time.as_secs())
        });
        inner.token.held.clone_from(&held);
        self.token.store(held);
    }

    /// Whether a token is wanted because the last one was refused.
    fn token_was_refused(&self) -> bool {
        self.lock().token.refused
    }

    /// A sign-in begins; `None` when the node is not registered.
    fn begin_sign_in(&self) -> Option<Flight> {
        self.update(|inner| {
            let registered = inner.status.state == State::Registered && !inner.stopped;
            registered.then_some(Flight {
                registration: inner.registration,
                invalidations: inner.token.invalidations,
            })
        })
    }

    /// A sign-in brought a token. False when it does not count: the token was invalidated before it was here.
    fn finish_sign_in(&self, flight: &Flight, held: Held) -> bool {
        self.update_and_tell(|inner| {
            inner.status.sign_in_failures = 0;
            inner.token.last_failure = None;
            inner.token.refused = flight.invalidations != inner.token.invalidations;
            if inner.stopped || inner.token.refused {
                return (false, None);
            }
            let expires_at = held.token.expires_at();
            self.put_token(inner, Some(Arc::new(held)));
            inner.token.due = false;
            inner.token.outcomes += 1;
            (true, Some(EventKind::TokenRefreshed { expires_at }))
        })
    }

    /// A sign-in failed.
    fn fail_sign_in(&self, error: &Error, meaning: Meaning) {
        self.update(|inner| {
            inner.status.sign_in_failures = inner.status.sign_in_failures.saturating_add(1);
            inner.token.last_failure = Some(error.clone());
            match meaning {
                Meaning::Passing => {}
                Meaning::Refused => {
                    inner.token.refusal = Some(error.clone());
                    inner.token.outcomes += 1;
                }
                // What DDS issued to a node that it does not know is worth nothing.
                Meaning::UnknownNode => self.put_token(inner, None),
            }
        });
    }

    /// The next sign-in is due: who asks from now on waits for it.
    fn forget_refusal(&self) {
        self.update(|inner| inner.token.refusal = None);
    }
}

/// What a failed sign-in means for those who wait.
#[derive(Clone, Copy, PartialEq)]
enum Meaning {
    /// They wait on.
    Passing,
    /// They are told.
    Refused,
    /// They wait on, for a new registration first.
    UnknownNode,
}

impl Inner {
    /// How a wait for a token ends at present; if it does not, a sign-in is due.
    fn ask_for_token(&mut self) -> Option<Result<AccessToken>> {
        if self.stopped {
            return Some(Err(self.stopped_error()));
        }
        if let Some(token) = self.token.held.as_ref().and_then(|held| held.if_good()) {
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
        let (what, reason) = match &self.last_error {
            Some(error) if state != State::Registered => ("attempt to register", Some(error)),
            _ => ("sign-in", self.token.last_failure.as_ref()),
        };
        let reason = reason.map_or_else(String::new, |error| format!("; last {what}: {error}"));
        Error::new(ErrorCode::Timeout, format!("no access token in time (status {state}){reason}"))
    }
}

#[cfg(test)]
mod tests;
