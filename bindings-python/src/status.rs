//! A core status as `posemesh_node.Status`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posemesh_node_registration::error::Error;
use posemesh_node_registration::status::{State, Status};
use pyo3::prelude::*;

use crate::error::exception_object;

/// `last_error` is what the status names only the code of.
pub(crate) fn to_python<'py>(
    py: Python<'py>,
    status: &Status,
    last_error: Option<&Error>,
) -> PyResult<Bound<'py, PyAny>> {
    let last_error = last_error.map(|error| exception_object(py, error)).transpose()?;
    py.import("posemesh_node._status")?.getattr("Status")?.call1((
        state(py, status.state)?,
        status.running,
        status.has_secret,
        status.secret_version,
        status.last_healthcheck.map(since_epoch),
        status.registered_at.map(since_epoch),
        status.attempts,
        status.consecutive_failures,
        last_error,
        status.next_attempt_in().map(|left| left.as_secs_f64()),
    ))
}

pub(crate) fn state<'py>(py: Python<'py>, state: State) -> PyResult<Bound<'py, PyAny>> {
    py.import("posemesh_node._status")?.getattr("State")?.call1((state.name(),))
}

/// PyO3 makes an aware `datetime` in UTC of it.
fn since_epoch(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}
