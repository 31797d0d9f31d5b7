//! The way from core's threads to one JavaScript thread.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use napi::bindgen_prelude::{Env, Function, ToNapiValue};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Result, Status};

/// Events or log records that may wait for a JavaScript thread that is busy.
const CAPACITY: usize = 1024;

/// A weak one: by itself it never keeps the process alive.
type Tsfn<T> = ThreadsafeFunction<T, (), T, Status, false, true>;

/// Calls a JavaScript function with messages, in order, from any thread and without ever blocking. Once the
/// environment is gone, messages are discarded. Dropping it lets go of the function after what was sent.
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

    /// For what must arrive.
    pub(crate) fn send(&self, message: T) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let function = self.function.read().unwrap_or_else(PoisonError::into_inner);
        // Refused only when the environment is ending: nobody is left to be told.
        let _ = function.call(message, ThreadsafeFunctionCallMode::NonBlocking);
    }

    /// For what may be lost when JavaScript does not keep up; `message` gets the number lost before it,
    /// and may turn out to be none.
    pub(crate) fn offer(&self, lost_on_the_way: u64, message: impl FnOnce(i64) -> Option<T>) {
        self.dropped.fetch_add(lost_on_the_way, Ordering::Relaxed);
        if self.waiting.load(Ordering::Relaxed) >= CAPACITY {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if let Some(message) = message(i64::try_from(dropped).unwrap_or(i64::MAX)) {
            self.send(message);
        }
    }

    /// Whether the channel keeps the event loop of its environment alive.
    #[expect(deprecated, reason = "the advice to clone instead fits counting users, not an event loop")]
    pub(crate) fn keep_alive(&self, env: &Env, yes: bool) -> Result<()> {
        let mut function = self.function.write().unwrap_or_else(PoisonError::into_inner);
        if yes { function.refer(env) } else { function.unref(env) }
    }
}
