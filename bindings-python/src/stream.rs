//! The events of a node as a stream, which its reader takes from at its own pace.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::event::to_python;
use crate::listeners::{Listener, Listeners};
use crate::queue::Queue;
use crate::wait::interruptible;

/// What `EventStream` and `AsyncEventStream` read from. Closing or freeing it removes it from the node.
#[pyclass(frozen, module = "posemesh_node._native")]
pub(crate) struct EventQueue {
    queue: Arc<Queue>,
    listeners: Listeners,
    number: u64,
    deadline: Option<Instant>,
}

impl EventQueue {
    /// A stream that `listen` has made a listener of the node.
    pub(crate) fn open(
        listeners: Listeners,
        on_change: Option<Py<PyAny>>,
        timeout: Option<Duration>,
        listen: impl FnOnce(Listener) -> PyResult<u64>,
    ) -> PyResult<Self> {
        let queue = Arc::new(Queue::new(on_change));
        let number = listen(Listener::Stream(Arc::clone(&queue)))?;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(Self { queue, listeners, number, deadline })
    }

    fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

#[pymethods]
impl EventQueue {
    /// Waits for the next event. Returns `None` when there will be no more, or when the timeout has passed.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let left = self.time_left();
        let event = match self.queue.pop() {
            None if left != Some(Duration::ZERO) => {
                let next = poll_fn(|context| self.queue.poll_pop(context).map(Ok));
                interruptible(py, next, left, || Ok(self.queue.pop()))?
            }
            event => event,
        };
        event.map(|event| to_python(py, &event)).transpose()
    }

    /// The next event, if there is one already.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.queue.pop().map(|event| to_python(py, &event)).transpose()
    }

    /// Seconds until the timeout passes, or `None` without a timeout.
    fn left(&self) -> Option<f64> {
        self.time_left().map(|left| left.as_secs_f64())
    }

    /// Whether no more events will come.
    fn has_ended(&self) -> bool {
        self.queue.has_ended() || self.time_left() == Some(Duration::ZERO)
    }

    /// Stops receiving events, and discards those that were not read.
    fn close(&self) {
        self.listeners.remove(self.number);
        self.queue.close();
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        self.listeners.remove(self.number);
    }
}
