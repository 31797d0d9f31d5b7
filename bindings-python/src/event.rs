//! Core events as the classes of `posemesh_node`, and who listens to them.

use std::sync::{Arc, Mutex, PoisonError};

use posemesh_node_registration::error::Error;
use posemesh_node_registration::event::{Event, EventKind};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::callback;
use crate::dataclass::Class;
use crate::error::exception_object;
use crate::status::state;

static STATUS_CHANGED: Class = Class::new("posemesh_node._events", "StatusChanged");
static SECRET_CHANGED: Class = Class::new("posemesh_node._events", "SecretChanged");
static ATTEMPT_FAILED: Class = Class::new("posemesh_node._events", "AttemptFailed");
static HEALTH_CHECKED: Class = Class::new("posemesh_node._events", "HealthChecked");
static TOKEN_REFRESHED: Class = Class::new("posemesh_node._events", "TokenRefreshed");
static REGISTRATION_LOST: Class = Class::new("posemesh_node._events", "RegistrationLost");

/// The Python functions that hear the events of one node.
#[derive(Clone, Default)]
pub(crate) struct Listeners(Arc<Mutex<Numbered>>);

#[derive(Default)]
struct Numbered {
    last: u64,
    listeners: Vec<(u64, Arc<Py<PyAny>>)>,
}

impl Listeners {
    /// Returns a number to remove it with.
    pub(crate) fn add(&self, listener: Py<PyAny>) -> u64 {
        let mut numbered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbered.last += 1;
        let number = numbered.last;
        numbered.listeners.push((number, Arc::new(listener)));
        number
    }

    pub(crate) fn remove(&self, number: u64) {
        let mut numbered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = numbered.listeners.iter().position(|(other, _)| *other == number);
        let removed = at.map(|at| numbered.listeners.remove(at));
        // Python code may run in this drop: not under the lock.
        drop(numbered);
        drop(removed);
    }

    pub(crate) fn clear(&self) {
        let removed = {
            let mut numbered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut numbered.listeners)
        };
        drop(removed);
    }

    /// Tells all of them, on the dispatcher thread. One that raises does not keep it from the others.
    pub(crate) fn tell(&self, event: &Event) {
        let listeners: Vec<_> = {
            let numbered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            numbered.listeners.iter().map(|(_, listener)| Arc::clone(listener)).collect()
        };
        for listener in listeners {
            callback::call(&listener, |py| Ok((to_python(py, event)?.unbind(),)));
        }
    }
}

fn to_python<'py>(py: Python<'py>, event: &Event) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("at", event.at)?;
    fields.set_item("dropped", event.dropped)?;
    let class = match &event.kind {
        EventKind::StatusChanged { from, to } => {
            fields.set_item("previous", state(py, *from)?)?;
            fields.set_item("state", state(py, *to)?)?;
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
            let message = format!("an event that Python has no class for: {other:?}");
            return Err(PyRuntimeError::new_err(message));
        }
    };
    class.make(py, &fields)
}
