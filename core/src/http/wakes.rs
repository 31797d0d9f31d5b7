//! Wake-ups that a connection does without. hyper wakes its connection whenever the handler has taken a piece of the
//! body, even the last one, and to be polled again for nothing takes a tenth of a callback.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// What becomes of a wake-up by this thread.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Pass,
    Hold,
    /// At least one was held back.
    Held,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Pass) };
}

/// Passes wake-ups on to a task.
#[derive(Default)]
struct Relay(Mutex<Option<Waker>>);

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if MODE.get() != Mode::Pass {
            return MODE.set(Mode::Held);
        }
        let task = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// Runs a future whose wake-ups can be held back with [`hold`].
pub(super) async fn relayed<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let relay = Arc::new(Relay::default());
    let waker = Waker::from(Arc::clone(&relay));
    poll_fn(|context| {
        *relay.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await
}

/// Calls a function. Returns also whether it has tried to wake a relayed future: if that is to be polled again, the
/// caller wakes it. Wake-ups by other threads are not affected.
pub(super) fn hold<R>(call: impl FnOnce() -> R) -> (R, bool) {
    /// Passes them again, even if the function panics.
    struct Pass;
    impl Drop for Pass {
        fn drop(&mut self) {
            MODE.set(Mode::Pass);
        }
    }
    MODE.set(Mode::Hold);
    let _pass = Pass;
    let result = call();
    (result, MODE.get() == Mode::Held)
}
