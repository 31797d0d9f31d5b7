//! A latch: something that happens once, and threads that wait for it.
//!
//! A channel of the standard library would do, but a thread that waits in one is given a handle that is freed when
//! the thread ends. The host's main thread never ends, so memory checkers report that handle as a leak.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

#[derive(Default)]
struct Shared {
    open: Mutex<bool>,
    opened: Condvar,
}

/// Opens its [`Latch`] when it is dropped, also by a panic.
pub(crate) struct OpenOnDrop(Arc<Shared>);

/// Closed until its [`OpenOnDrop`] is dropped, and open from then on.
pub(crate) struct Latch(Arc<Shared>);

pub(crate) fn latch() -> (OpenOnDrop, Latch) {
    let shared = Arc::<Shared>::default();
    (OpenOnDrop(Arc::clone(&shared)), Latch(shared))
}

impl Drop for OpenOnDrop {
    fn drop(&mut self) {
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.opened.notify_all();
    }
}

impl Latch {
    /// Waits until the latch is open.
    pub(crate) fn wait(&self) {
        let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.opened.wait_while(open, |open| !*open).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until the latch is open or the deadline has passed. Returns whether it is open.
    pub(crate) fn wait_until(&self, deadline: Instant) -> bool {
        let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.0.opened.wait_timeout_while(open, left, |open| !*open);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
