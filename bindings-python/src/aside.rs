//! Work on a thread of its own.
//!
//! Starting and stopping a node block. A thread that runs an event loop must not, and one that Ctrl-C has to reach
//! must sleep where a signal wakes it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

/// Runs `work` on a new thread of this name. When the system has no thread left, this one does it: that blocks, but
/// a node still starts and stops.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    let work = Arc::new(Mutex::new(Some(work)));
    let for_thread = Arc::clone(&work);
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || run(&for_thread));
    if spawned.is_err() {
        run(&work);
    }
}

fn run(work: &Mutex<Option<impl FnOnce()>>) {
    let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(work) = work {
        work();
    }
}

struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

/// Where the result of such work is put, and what waits for it.
pub(crate) fn outcome<T: Send>() -> (impl FnOnce(T) + Send, impl Future<Output = T> + Send) {
    let slot = Arc::new(Mutex::new(Slot { value: None, waker: None }));
    let filled = Arc::clone(&slot);
    let put = move |value| {
        let waker = {
            let mut slot = filled.lock().unwrap_or_else(PoisonError::into_inner);
            slot.value = Some(value);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    };
    let wait = poll_fn(move |context| {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.waker = Some(context.waker().clone());
        slot.value.take().map_or(Poll::Pending, Poll::Ready)
    });
    (put, wait)
}
