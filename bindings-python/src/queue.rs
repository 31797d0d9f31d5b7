//! A bounded buffer of events, between the dispatcher thread and the threads that read an event stream.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use posemesh_node_registration::event::Event;
use pyo3::prelude::*;

use crate::callback;

/// How many events may wait to be read.
const CAPACITY: usize = 1024;

#[derive(Default)]
pub(crate) struct Queue {
    buffer: Mutex<Buffer>,
    /// Called when the buffer has changed, for asyncio.
    on_change: Option<Py<PyAny>>,
}

#[derive(Default)]
struct Buffer {
    events: VecDeque<Event>,
    /// How many events did not fit since the last one that did.
    dropped: u64,
    ended: bool,
    /// Threads that wait.
    wakers: Vec<Waker>,
}

impl Queue {
    pub(crate) fn new(on_change: Option<Py<PyAny>>) -> Self {
        Self { buffer: Mutex::default(), on_change }
    }

    /// Adds an event. If the buffer is full, drops the event, and the next one reports that.
    pub(crate) fn push(&self, event: &Event) {
        let mut buffer = self.lock();
        if buffer.ended {
            return;
        }
        if buffer.events.len() == CAPACITY {
            buffer.dropped += 1;
            return;
        }
        let mut event = event.clone();
        event.dropped += std::mem::take(&mut buffer.dropped);
        buffer.events.push_back(event);
        self.wake(buffer);
    }

    /// Accepts no more events. Those in the buffer can still be read.
    pub(crate) fn end(&self) {
        let mut buffer = self.lock();
        buffer.ended = true;
        self.wake(buffer);
    }

    /// As [`end`](Self::end), and discards the events in the buffer.
    pub(crate) fn close(&self) {
        self.lock().events.clear();
        self.end();
    }

    fn wake(&self, mut buffer: MutexGuard<'_, Buffer>) {
        let wakers = std::mem::take(&mut buffer.wakers);
        drop(buffer);
        wakers.into_iter().for_each(Waker::wake);
        if let Some(on_change) = &self.on_change {
            callback::call(on_change, |_| Ok(()));
        }
    }

    pub(crate) fn pop(&self) -> Option<Event> {
        self.lock().events.pop_front()
    }

    /// Ready with `None` when there will be no more events.
    pub(crate) fn poll_pop(&self, context: &Context<'_>) -> Poll<Option<Event>> {
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

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
