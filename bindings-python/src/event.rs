//! Core events as the event classes of `posemesh_node`.

use posemesh_node_registration::error::Error;
use posemesh_node_registration::event::{Event, EventKind};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::dataclass::Class;
use crate::error::exception_object;
use crate::status::state;

static STATUS_CHANGED: Class = Class::new("posemesh_node._event", "StatusChanged");
static SECRET_CHANGED: Class = Class::new("posemesh_node._event", "SecretChanged");
static ATTEMPT_FAILED: Class = Class::new("posemesh_node._event", "AttemptFailed");
static HEALTH_CHECKED: Class = Class::new("posemesh_node._event", "HealthChecked");
static TOKEN_REFRESHED: Class = Class::new("posemesh_node._event", "TokenRefreshed");
static REGISTRATION_LOST: Class = Class::new("posemesh_node._event", "RegistrationLost");

pub(crate) fn to_python<'py>(py: Python<'py>, event: &Event) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("at", event.at)?;
    fields.set_item("dropped", event.dropped)?;
    let class = match &event.kind {
        EventKind::StatusChanged { previous, state: current } => {
            fields.set_item("previous", state(py, *previous)?)?;
            fields.set_item("state", state(py, *current)?)?;
            &STATUS_CHANGED
        }
        EventKind::SecretChanged { version } => {
            fields.set_item("version", version)?;
            &SECRET_CHANGED
        }
        EventKind::AttemptFailed { code, message, retry_in } => {
            fields.set_item("error", exception_object(py, &Error::new(*code, message.as_str()))?)?;
            fields.set_item("retry_in", retry_in.as_secs_f64())?;
            &ATTEMPT_FAILED
        }
        EventKind::Healthcheck => &HEALTH_CHECKED,
        EventKind::TokenRefreshed { expires_at } => {
            fields.set_item("expires_at", expires_at)?;
            &TOKEN_REFRESHED
        }
        EventKind::RegistrationLost { reason } => {
            fields.set_item("reason", reason)?;
            &REGISTRATION_LOST
        }
        other => {
            return Err(PyRuntimeError::new_err(format!(
                "posemesh_node has no class for this event: {other:?}"
            )));
        }
    };
    class.make(py, &fields)
}
