//! Waiting for something that happens once.
//!
//! A channel of std would do, but a thread that waits in one gets a handle from std that is freed when the
//! thread ends: for the host's main thread that is never, and memory checkers report it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

#[derive(Default)]
struct Shared {
    open: Mutex<bool>,
    opened: Condvar,
}

/// Opens its [`Gate`] when dropped, whatever the reason.
pub(crate) struct Opener(Arc<Shared>);

/// Closed until its [`Opener`] is dropped.
pub(crate) struct Gate(Arc<Shared>);

pub(crate) fn gate() -> (Opener, Gate) {
    let shared = Arc::<Shared>::default();
    (Opener(Arc::clone(&shared)), Gate(shared))
}

impl Drop for Opener {
    fn drop(&mut self) {
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.opened.notify_all();
    }
}

impl Gate {
    /// Waits until the gate is open.
    pub(crate) fn wait(&self) {
        let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.opened.wait_while(open, |open| !*open).unwrap_or_else(PoisonError::into_inner));
    }

    /// As [`Gate::wait`]; false when the deadline comes first.
    pub(crate) fn wait_until(&self, deadline: Instant) -> bool {
        let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.0.opened.wait_timeout_while(open, left, |open| !*open);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
