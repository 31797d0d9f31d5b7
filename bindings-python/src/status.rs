//! A core status as `posemesh_node.Status`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posemesh_node_registration::error::Error;
use posemesh_node_registration::status::{State, Status};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::dataclass::Class;
use crate::error::exception_object;

static STATUS: Class = Class::new("posemesh_node._status", "Status");
static STATE: Class = Class::new("posemesh_node._status", "State");
static ROLE: Class = Class::new("posemesh_node._status", "Role");
static TIMEDELTA: Class = Class::new("datetime", "timedelta");

/// `last_error` and `persistence_error` are what the status names only the codes of.
pub(crate) fn to_python<'py>(
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
    fields.set_item("role", member(py, &ROLE, status.role.name())?)?;
    fields.set_item("persistence_error", exception(persistence_error)?)?;
    fields.set_item("token_expires_at", status.token_expires_at.map(since_epoch))?;
    fields.set_item("sign_in_failures", status.sign_in_failures)?;
    fields.set_item("clock_skew", timedelta(py, status.clock_skew_ms)?)?;
    fields.set_item("callback_overdue", status.callback_overdue)?;
    STATUS.make(py, &fields)
}

pub(crate) fn state<'py>(py: Python<'py>, state: State) -> PyResult<Bound<'py, PyAny>> {
    member(py, &STATE, state.name())
}

/// The member of an `Enum`, from the dictionary that calling the class would look into.
fn member<'py>(py: Python<'py>, class: &Class, value: &str) -> PyResult<Bound<'py, PyAny>> {
    class.get(py)?.getattr("_value2member_map_")?.get_item(value)
}

/// PyO3 makes an aware `datetime` in UTC of it.
fn since_epoch(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn timedelta(py: Python<'_>, milliseconds: i64) -> PyResult<Bound<'_, PyAny>> {
    let (days, seconds, microseconds) = (0, 0, 0);
    TIMEDELTA.get(py)?.call1((days, seconds, microseconds, milliseconds))
}
