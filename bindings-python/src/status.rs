//! A core status as `posemesh_node.Status`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posemesh_node_registration::error::Error;
use posemesh_node_registration::status::{Role, State, Status};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::dataclass::Class;
use crate::error::exception_object;

static STATUS: Class = Class::new("posemesh_node._status", "Status");
static STATE: Class = Class::new("posemesh_node._status", "State");
static ROLE: Class = Class::new("posemesh_node._status", "Role");
static TIMEDELTA: Class = Class::new("datetime", "timedelta");

/// The Python object of the last status, with the number of changes before it was read.
#[derive(Default)]
pub(crate) struct StatusCache(Mutex<Option<(u32, Py<PyAny>)>>);

impl StatusCache {
    /// The object, if nothing has changed since it was stored.
    pub(crate) fn get<'py>(&self, py: Python<'py>, changes: u32) -> Option<Bound<'py, PyAny>> {
        let cached = self.lock();
        cached.as_ref().filter(|(before, _)| *before == changes).map(|(_, object)| object.bind(py).clone())
    }

    /// Converts a status that was read after that many changes, and stores it if it stays valid until the next one.
    pub(crate) fn put<'py>(
        &self,
        py: Python<'py>,
        changes: u32,
        status: &Status,
        last_error: Option<&Error>,
        persistence_error: Option<&Error>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // The errors are read after the status, which decides whether there is one.
        let last_error = status.last_error.and(last_error);
        let persistence_error = status.persistence_error.and(persistence_error);
        let object = to_python(py, status, last_error, persistence_error)?;
        // An exception collects tracebacks, and a remaining time runs down.
        let stays_valid = status.last_error.is_none()
            && status.persistence_error.is_none()
            && status.next_attempt_in().is_none();
        let cached = stays_valid.then(|| (changes, object.clone().unbind()));
        let former = std::mem::replace(&mut *self.lock(), cached);
        // Dropping it may run code of the host, which must not happen under the lock.
        drop(former);
        Ok(object)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(u32, Py<PyAny>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `last_error` and `persistence_error` are the errors whose codes the status contains.
fn to_python<'py>(
    py: Python<'py>,
    status: &Status,
    last_error: Option<&Error>,
    persistence_error: Option<&Error>,
) -> PyResult<Bound<'py, PyAny>> {
    let exception = |error: Option<&Error>| error.map(|error| exception_object(py, error)).transpose();
    let fields = PyDict::new(py);
    fields.set_item("state", state(py, status.state)?)?;
    fields.set_item("running", status.running)?;
    fields.set_item("has_secret", status.has_secret)?;
    fields.set_item("secret_version", status.secret_version)?;
    fields.set_item("last_healthcheck", status.last_healthcheck.map(since_epoch))?;
    fields.set_item("registered_at", status.registered_at.map(since_epoch))?;
    fields.set_item("attempts", status.attempts)?;
    fields.set_item("consecutive_failures", status.consecutive_failures)?;
    fields.set_item("last_error", exception(last_error)?)?;
    fields.set_item("next_attempt_in", status.next_attempt_in().map(|left| left.as_secs_f64()))?;
    fields.set_item("role", role(py, status.role)?)?;
    fields.set_item("persistence_error", exception(persistence_error)?)?;
    fields.set_item("token_expires_at", status.token_expires_at.map(since_epoch))?;
    fields.set_item("sign_in_failures", status.sign_in_failures)?;
    fields.set_item("clock_skew", timedelta(py, status.clock_skew_ms)?)?;
    fields.set_item("callback_overdue", status.callback_overdue)?;
    fields.set_item("node_id", status.node_id.map(|id| id.to_string()))?;
    STATUS.make(py, &fields)
}

pub(crate) fn state<'py>(py: Python<'py>, state: State) -> PyResult<Bound<'py, PyAny>> {
    member(py, &STATE, state.name())
}

pub(crate) fn role<'py>(py: Python<'py>, role: Role) -> PyResult<Bound<'py, PyAny>> {
    member(py, &ROLE, role.name())
}

/// The member of an `Enum`, from the dictionary that calling the class would look it up in.
fn member<'py>(py: Python<'py>, class: &Class, value: &str) -> PyResult<Bound<'py, PyAny>> {
    class.get(py)?.getattr("_value2member_map_")?.get_item(value)
}

/// PyO3 converts it to an aware `datetime` in UTC.
pub(crate) fn since_epoch(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(crate) fn timedelta(py: Python<'_>, milliseconds: i64) -> PyResult<Bound<'_, PyAny>> {
    let (days, seconds, microseconds) = (0, 0, 0);
    TIMEDELTA.get(py)?.call1((days, seconds, microseconds, milliseconds))
}
