//! The functions and streams that receive the events of a node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posemesh_node_registration::event::Event;
use pyo3::prelude::*;

use crate::callback;
use crate::event::to_python;
use crate::queue::Queue;

/// The listeners of one node.
#[derive(Clone, Default)]
pub(crate) struct Listeners(Arc<Mutex<Numbered>>);

#[derive(Default)]
struct Numbered {
    last: u64,
    listeners: Vec<(u64, Listener)>,
}

#[derive(Clone)]
pub(crate) enum Listener {
    /// `call` is called on the dispatcher thread. `function` is the function that the host added.
    Function {
        function: Arc<Py<PyAny>>,
        call: Arc<Py<PyAny>>,
    },
    Stream(Arc<Queue>),
}

impl Listeners {
    /// Adds a listener and returns the number to remove it with.
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
        // Dropping it may run Python code, which must not happen under the lock.
        drop(numbered);
        drop(removed);
    }

    /// Removes a function; if it was added more than once, the last one. Returns false if it is not a listener.
    pub(crate) fn remove_function(&self, wanted: &Bound<'_, PyAny>) -> PyResult<bool> {
        for (number, listener) in self.all().into_iter().rev() {
            // The comparison may run Python code, which must not happen under the lock.
            if let Listener::Function { function, .. } = listener
                && function.bind(wanted.py()).eq(wanted)?
            {
                self.remove(number);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends the streams, because no more events will come.
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

    /// Delivers an event to every listener, on the dispatcher thread. An exception in one does not affect the others.
    pub(crate) fn notify(&self, event: &Event) {
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
