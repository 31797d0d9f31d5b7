//! Work on a thread of its own.
//!
//! Starting and stopping a node block. A thread that runs an event loop must not block, and a thread that Ctrl-C must
//! be able to interrupt has to sleep where a signal wakes it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

/// Runs `work` on a new thread with this name. If the system cannot create a thread, runs it here: that blocks, but
/// the node still starts or stops.
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

/// A function that delivers the result of such work, and a future that waits for it.
pub(crate) fn oneshot<T: Send>() -> (impl FnOnce(T) + Send, impl Future<Output = T> + Send) {
    let slot = Arc::new(Mutex::new(Slot { value: None, waker: None }));
    let for_sender = Arc::clone(&slot);
    let send = move |value| {
        let waker = {
            let mut slot = for_sender.lock().unwrap_or_else(PoisonError::into_inner);
            slot.value = Some(value);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    };
    let receive = poll_fn(move |context| {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.waker = Some(context.waker().clone());
        slot.value.take().map_or(Poll::Pending, Poll::Ready)
    });
    (send, receive)
}
