//! A core access token as `posemesh_node.AccessToken`.

use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posemesh_node_registration::token::{AccessToken, claims};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use serde_json::Value;

use crate::dataclass::Class;

static ACCESS_TOKEN: Class = Class::new("posemesh_node._token", "AccessToken");

/// The claims of a token as JSON text, or `None` if it is not a JWT.
#[pyfunction]
pub(crate) fn token_claims(token: &Bound<'_, PyString>) -> Option<String> {
    // Text with a lone surrogate is not a JWT.
    claims(token.to_str().ok()?).map(|claims| Value::Object(claims).to_string())
}

pub(crate) fn to_python<'py>(py: Python<'py>, token: AccessToken) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("value", token.value())?;
    fields.set_item("expires_at", token.expires_at())?;
    ACCESS_TOKEN.make(py, &fields)
}

/// How long the last check of a token holds. A token is not handed out in the last tenth of its life, so this does not
/// matter to the service that receives it.
const RECHECK_AFTER: Duration = Duration::from_millis(10);

/// The Python object of the last token, so that a token is converted once and not checked for each call.
#[derive(Clone, Default)]
pub(crate) struct TokenCache(Arc<Mutex<Option<Cached>>>);

struct Cached {
    token: AccessToken,
    object: Py<PyAny>,
    /// How often the status had changed before the token was read. It changes when the token is replaced or discarded.
    changes: u32,
    checked_at: Option<Duration>,
}

impl TokenCache {
    /// The object, if the status has not changed and the token was checked a moment ago.
    pub(crate) fn get<'py>(&self, py: Python<'py>, changes: u32) -> Option<Bound<'py, PyAny>> {
        let cached = self.lock();
        let cached = cached.as_ref().filter(|cached| cached.changes == changes)?;
        // A clock that was set back fails this check, too.
        let age = coarse_time()?.checked_sub(cached.checked_at?)?;
        (age < RECHECK_AFTER).then(|| cached.object.bind(py).clone())
    }

    /// The object for a usable token that was read after that many changes.
    pub(crate) fn put<'py>(
        &self,
        py: Python<'py>,
        changes: u32,
        token: AccessToken,
    ) -> PyResult<Bound<'py, PyAny>> {
        let checked_at = coarse_time();
        if let Some(cached) = &mut *self.lock()
            // As long as the cache holds its token, no other one can have the same address.
            && ptr::eq(cached.token.value(), token.value())
        {
            (cached.changes, cached.checked_at) = (changes, checked_at);
            return Ok(cached.object.bind(py).clone());
        }
        let object = to_python(py, token.clone())?;
        self.replace(Some(Cached { token, object: object.clone().unbind(), changes, checked_at }));
        Ok(object)
    }

    pub(crate) fn clear(&self) {
        self.replace(None);
    }

    fn replace(&self, cached: Option<Cached>) {
        let former = std::mem::replace(&mut *self.lock(), cached);
        // Dropping it may run Python code, which must not happen under the lock.
        drop(former);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Cached>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time since 1970, accurate to a few milliseconds. Unlike a monotonic clock, it also advances while the machine
/// is suspended.
#[cfg(target_os = "linux")]
fn coarse_time() -> Option<Duration> {
    rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse).try_into().ok()
}

/// Other systems have no such clock, so each call checks the token.
#[cfg(not(target_os = "linux"))]
fn coarse_time() -> Option<Duration> {
    None
}
