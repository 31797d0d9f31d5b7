//! Core events as the classes of `posemesh_node`, and who listens to them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posemesh_node_registration::error::Error;
use posemesh_node_registration::event::{Event, EventKind};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::callback;
use crate::dataclass::Class;
use crate::error::exception_object;
use crate::status::state;
use crate::stream::Queue;

static STATUS_CHANGED: Class = Class::new("posemesh_node._events", "StatusChanged");
static SECRET_CHANGED: Class = Class::new("posemesh_node._events", "SecretChanged");
static ATTEMPT_FAILED: Class = Class::new("posemesh_node._events", "AttemptFailed");
static HEALTH_CHECKED: Class = Class::new("posemesh_node._events", "HealthChecked");
static TOKEN_REFRESHED: Class = Class::new("posemesh_node._events", "TokenRefreshed");
static REGISTRATION_LOST: Class = Class::new("posemesh_node._events", "RegistrationLost");

/// Who hears the events of one node.
#[derive(Clone, Default)]
pub(crate) struct Listeners(Arc<Mutex<Numbered>>);

#[derive(Default)]
struct Numbered {
    last: u64,
    listeners: Vec<(u64, Listener)>,
}

#[derive(Clone)]
pub(crate) enum Listener {
    /// `call` is called, on the dispatcher thread. `function` is what the host knows it by.
    Function {
        function: Arc<Py<PyAny>>,
        call: Arc<Py<PyAny>>,
    },
    Stream(Arc<Queue>),
}

impl Listeners {
    /// Returns a number to remove it with.
    pub(crate) fn add(&self, listener: Listener) -> u64 {
        let mut numbered = self.lock();
        numbered.last += 1;
        let number = numbered.last;
        numbered.listeners.push((number, listener));
        number
    }

    pub(crate) fn remove(&self, number: u64) {
        let mut numbered = self.lock();
        let at = numbered.listeners.iter().position(|(other, _)| *other == number);
        let removed = at.map(|at| numbered.listeners.remove(at));
        // Python code may run in this drop: not under the lock.
        drop(numbered);
        drop(removed);
    }

    /// Removes a function, the one that was added last if it was added more than once. False when it is not here.
    pub(crate) fn remove_function(&self, wanted: &Bound<'_, PyAny>) -> PyResult<bool> {
        for (number, listener) in self.all().into_iter().rev() {
            // Python code may run in this comparison: not under the lock.
            if let Listener::Function { function, .. } = listener
                && function.bind(wanted.py()).eq(wanted)?
            {
                self.remove(number);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends the streams: no more events will come.
    pub(crate) fn end_streams(&self) {
        for (_, listener) in self.all() {
            if let Listener::Stream(queue) = listener {
                queue.end();
            }
        }
    }

    pub(crate) fn clear(&self) {
        let removed = std::mem::take(&mut self.lock().listeners);
        drop(removed);
    }

    /// Tells all of them, on the dispatcher thread. One that raises does not keep it from the others.
    pub(crate) fn tell(&self, event: &Event) {
        for (_, listener) in self.all() {
            match listener {
                Listener::Function { call, .. } => {
                    callback::call(&call, |py| Ok((to_python(py, event)?.unbind(),)));
                }
                Listener::Stream(queue) => queue.push(event),
            }
        }
    }

    fn all(&self) -> Vec<(u64, Listener)> {
        self.lock().listeners.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Numbered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn to_python<'py>(py: Python<'py>, event: &Event) -> PyResult<Bound<'py, PyAny>> {
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
