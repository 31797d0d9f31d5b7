//! The events of a node, one by one, for readers that take them at their own pace.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use posemesh_node_registration::event::Event;
use pyo3::prelude::*;

use crate::callback;
use crate::event::{Listeners, to_python};
use crate::wait::interruptible;

/// Events that may wait for the follower at a time.
const CAPACITY: usize = 1024;

/// A bounded buffer between the dispatcher thread and the threads that follow.
#[derive(Default)]
pub(crate) struct Queue {
    buffer: Mutex<Buffer>,
    /// Called when there is something to look at, for asyncio.
    ring: Option<Py<PyAny>>,
}

#[derive(Default)]
struct Buffer {
    events: VecDeque<Event>,
    /// Events for which there was no room.
    lost: u64,
    ended: bool,
    /// Threads that wait.
    wakers: Vec<Waker>,
}

impl Queue {
    pub(crate) fn new(ring: Option<Py<PyAny>>) -> Self {
        Self { buffer: Mutex::default(), ring }
    }

    /// Adds an event, or counts it as dropped in the next one.
    pub(crate) fn push(&self, event: &Event) {
        let mut buffer = self.lock();
        if buffer.ended {
            return;
        }
        if buffer.events.len() == CAPACITY {
            buffer.lost += 1;
            return;
        }
        let mut event = event.clone();
        event.dropped += std::mem::take(&mut buffer.lost);
        buffer.events.push_back(event);
        self.wake(buffer);
    }

    /// No more events will come. Those in the buffer are still handed out.
    pub(crate) fn end(&self) {
        let mut buffer = self.lock();
        buffer.ended = true;
        self.wake(buffer);
    }

    fn wake(&self, mut buffer: MutexGuard<'_, Buffer>) {
        let wakers = std::mem::take(&mut buffer.wakers);
        drop(buffer);
        wakers.into_iter().for_each(Waker::wake);
        if let Some(ring) = &self.ring {
            callback::call(ring, |_| Ok(()));
        }
    }

    fn take(&self) -> Option<Event> {
        self.lock().events.pop_front()
    }

    /// Ready with `None` when there will be no more.
    fn poll_next(&self, context: &Context<'_>) -> Poll<Option<Event>> {
        let mut buffer = self.lock();
        if let Some(event) = buffer.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if buffer.ended {
            return Poll::Ready(None);
        }
        if !buffer.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            buffer.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an `EventStream` reads from. The node forgets it when it is closed or freed.
#[pyclass(frozen, module = "posemesh_node._native")]
pub(crate) struct EventQueue {
    queue: Arc<Queue>,
    listeners: Listeners,
    number: u64,
    deadline: Option<Instant>,
}

impl EventQueue {
    pub(crate) fn new(
        queue: Arc<Queue>,
        listeners: Listeners,
        number: u64,
        timeout: Option<Duration>,
    ) -> Self {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self { queue, listeners, number, deadline }
    }

    fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

#[pymethods]
impl EventQueue {
    /// The next event, which it waits for; `None` when there will be no more, or the time is over.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let left = self.time_left();
        let event = match self.queue.take() {
            None if left != Some(Duration::ZERO) => {
                let next = poll_fn(|context| self.queue.poll_next(context).map(Ok));
                interruptible(py, next, left, || Ok(self.queue.take()))?
            }
            taken => taken,
        };
        event.map(|event| to_python(py, &event)).transpose()
    }

    /// The next event, if it is here.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.queue.take().map(|event| to_python(py, &event)).transpose()
    }

    /// Seconds until the time is over; `None` when there is no limit.
    fn left(&self) -> Option<f64> {
        self.time_left().map(|left| left.as_secs_f64())
    }

    /// Whether no more events will come.
    fn has_ended(&self) -> bool {
        self.queue.lock().ended || self.time_left() == Some(Duration::ZERO)
    }

    /// Stops following. What was not read yet is lost.
    fn close(&self) {
        self.listeners.remove(self.number);
        self.queue.lock().events.clear();
        self.queue.end();
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        self.listeners.remove(self.number);
    }
}
