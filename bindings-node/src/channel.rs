//! Messages from core's threads to one JavaScript thread.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use napi::bindgen_prelude::{Env, Function, ToNapiValue};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};

/// How many events or log records may wait for a JavaScript thread that is busy.
const CAPACITY: usize = 1024;

/// A weak reference: by itself it does not keep the process alive.
type Tsfn<T> = ThreadsafeFunction<T, (), T, Status, false, true>;

/// Calls a JavaScript function with messages, in order, from any thread and without blocking. After the
/// environment has ended, messages are discarded. Dropping the channel releases the function once it has received
/// every message that was sent.
pub(crate) struct Channel<T: ToNapiValue + Send + 'static> {
    function: RwLock<Tsfn<T>>,
    waiting: Arc<AtomicUsize>,
    dropped: AtomicU64,
}

impl<T: ToNapiValue + Send + 'static> Channel<T> {
    pub(crate) fn new(deliver: &Function<'_, T, ()>) -> Result<Self> {
        let waiting = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&waiting);
        let function =
            deliver.build_threadsafe_function::<T>().weak::<true>().build_callback(move |message| {
                taken.fetch_sub(1, Ordering::Relaxed);
                Ok(message.value)
            })?;
        Ok(Self { function: RwLock::new(function), waiting, dropped: AtomicU64::new(0) })
    }

    /// Sends a message that must not be lost.
    pub(crate) fn send(&self, message: T) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let function = self.function.read().unwrap_or_else(PoisonError::into_inner);
        // Fails only while the environment ends, and then no JavaScript is left to receive the message.
        let _ = function.call(message, ThreadsafeFunctionCallMode::NonBlocking);
    }

    /// Sends a message that may be dropped when JavaScript does not keep up. `message` is called with the number of
    /// messages dropped before it, and may return none.
    pub(crate) fn offer(&self, dropped_by_core: u64, message: impl FnOnce(i64) -> Option<T>) {
        self.dropped.fetch_add(dropped_by_core, Ordering::Relaxed);
        if self.waiting.load(Ordering::Relaxed) >= CAPACITY {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if let Some(message) = message(i64::try_from(dropped).unwrap_or(i64::MAX)) {
            self.send(message);
        }
    }

    /// Sets whether the channel keeps the event loop of its environment alive.
    #[expect(deprecated, reason = "the suggested replacement counts users; this is about an event loop")]
    pub(crate) fn keep_alive(&self, env: &Env, yes: bool) -> Result<()> {
        let mut function = self.function.write().unwrap_or_else(PoisonError::into_inner);
        if yes { function.refer(env) } else { function.unref(env) }
    }
}
