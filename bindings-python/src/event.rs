//! Core events as the classes of `posemesh_node`, and who listens to them.

use std::sync::{Arc, Mutex, PoisonError};

use posemesh_node_registration::error::Error;
use posemesh_node_registration::event::{Event, EventKind};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::callback;
use crate::error::exception_object;
use crate::status::state;

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
    let events = py.import("posemesh_node._events")?;
    let (at, dropped) = (event.at, event.dropped);
    match &event.kind {
        EventKind::StatusChanged { from, to } => {
            events.getattr("StatusChanged")?.call1((at, dropped, state(py, *from)?, state(py, *to)?))
        }
        EventKind::SecretChanged { version } => {
            events.getattr("SecretChanged")?.call1((at, dropped, *version))
        }
        EventKind::AttemptFailed { code, message, retry_in } => {
            let error = exception_object(py, &Error::new(*code, message.as_str()))?;
            events.getattr("AttemptFailed")?.call1((at, dropped, error, retry_in.as_secs_f64()))
        }
        EventKind::Healthcheck => events.getattr("HealthChecked")?.call1((at, dropped)),
        EventKind::TokenRefreshed { expires_at } => {
            events.getattr("TokenRefreshed")?.call1((at, dropped, *expires_at))
        }
        EventKind::RegistrationLost { reason } => {
            events.getattr("RegistrationLost")?.call1((at, dropped, reason.as_str()))
        }
        other => Err(PyRuntimeError::new_err(format!("an event that Python has no class for: {other:?}"))),
    }
}
