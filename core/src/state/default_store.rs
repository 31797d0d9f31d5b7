//! The process-wide default store, and the functions that act on it.

use std::sync::Arc;

use super::registration_state::{RegistrationState, parse_status};
use super::store::{Inner, Store};
use crate::error::Result;
use crate::fork::PerProcess;
use crate::secret::Secret;
use crate::status::State;

static DEFAULT_STORE: PerProcess<Arc<Store>> = PerProcess::new();

/// The store that the functions of this module act on.
pub(crate) fn default_store() -> &'static Arc<Store> {
    DEFAULT_STORE.get()
}

/// Reads the default store's state.
///
/// # Errors
/// None at present; the signature is its predecessor's.
pub fn read_state() -> Result<RegistrationState> {
    let inner = default_store().lock();
    Ok(RegistrationState {
        status: inner.status.state.name().into(),
        last_healthcheck: inner.last_healthcheck,
    })
}

/// Replaces the default store's state.
///
/// # Errors
/// [`ErrorCode::InvalidArgument`](crate::error::ErrorCode::InvalidArgument) when the status is none of the three.
pub fn write_state(st: &RegistrationState) -> Result<()> {
    let state = parse_status(&st.status)?;
    default_store().update(|inner| {
        inner.set_state(state);
        inner.set_healthcheck(st.last_healthcheck);
    });
    Ok(())
}

/// Sets the default store's status. `disconnected` wakes a parked registration loop at once.
///
/// # Errors
/// [`ErrorCode::InvalidArgument`](crate::error::ErrorCode::InvalidArgument) when the status is none of the three.
pub fn set_status(new_status: &str) -> Result<()> {
    let state = parse_status(new_status)?;
    default_store().update(|inner| inner.set_state(state));
    Ok(())
}

impl Inner {
    /// A state that the host decided on. `disconnected` re-arms.
    fn set_state(&mut self, state: State) {
        match state {
            State::Disconnected => self.rearm(),
            State::Registering => self.status.state = State::Registering,
            State::Registered => self.mark_registered(),
        }
    }
}

/// Records that DDS has just probed the node's health.
///
/// # Errors
/// None at present; the signature is its predecessor's.
pub fn touch_healthcheck_now() -> Result<()> {
    default_store().touch_healthcheck();
    Ok(())
}

/// Stores a node secret in the default store.
///
/// # Errors
/// None at present; the signature is its predecessor's.
pub fn write_node_secret(secret: &str) -> Result<()> {
    let store = default_store();
    store.update(|inner| store.put_secret(inner, Secret::new(secret)));
    Ok(())
}

/// Reads the default store's node secret. Returns `None` before DDS has sent one.
///
/// # Errors
/// None at present; the signature is its predecessor's.
pub fn read_node_secret() -> Result<Option<String>> {
    Ok(default_store().secret().as_ref().map(|secret| secret.expose().to_owned()))
}

/// Removes the default store's node secret.
///
/// # Errors
/// None at present; the signature is its predecessor's.
pub fn clear_node_secret() -> Result<()> {
    let store = default_store();
    store.update(|inner| {
        store.secret.store(None);
        inner.status.has_secret = false;
        inner.secret_registration = None;
    });
    Ok(())
}
