//! The cost of Node.js and an addon without this library.

use std::sync::Arc;

use napi::Status;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use peer_floors::Worker;

/// Does nothing: no function of an addon is cheaper.
#[napi]
pub fn nothing() {}

/// A thread that does the least work of a registration.
#[napi]
pub struct Floor {
    worker: Worker,
    done: Arc<ThreadsafeFunction<(), (), (), Status, false, true>>,
}

#[napi]
impl Floor {
    /// `done` is called after each registration.
    #[napi(constructor)]
    pub fn new(done: Function<'_, (), ()>) -> napi::Result<Self> {
        let done = done.build_threadsafe_function::<()>().weak::<true>().build()?;
        Ok(Self { worker: Worker::start(), done: Arc::new(done) })
    }

    /// Wakes the thread.
    #[napi]
    pub fn register(&self) {
        let done = Arc::clone(&self.done);
        self.worker.register(move || {
            done.call((), ThreadsafeFunctionCallMode::NonBlocking);
        });
    }
}
