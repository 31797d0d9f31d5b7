//! Waiting: in a thread that Ctrl-C must be able to wake, or by callback for asyncio.

use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use posemesh_node_registration::error::Result;
use posemesh_node_registration::node::{self, Wait};
use pyo3::prelude::*;

use crate::bell::{Bell, Slept};
use crate::callback;
use crate::error::{exception_object, run_detached};
use crate::exit::{is_left_behind, this_thread};

pub(crate) fn what(secret: bool) -> Wait {
    if secret { Wait::Secret } else { Wait::Registered }
}

/// What there is without waiting.
pub(crate) fn at_once<T: Send>(
    py: Python<'_>,
    wait: impl Future<Output = Result<T>> + Send,
) -> PyResult<Option<T>> {
    run_detached(py, || poll(pin!(wait), Waker::noop()))
}

fn poll<T>(wait: Pin<&mut impl Future<Output = Result<T>>>, waker: &Waker) -> Result<Option<T>> {
    match wait.poll(&mut Context::from_waker(waker)) {
        Poll::Ready(result) => result.map(Some),
        Poll::Pending => Ok(None),
    }
}

/// Waits for what `wait` brings, and ends with the exception of a signal handler: `KeyboardInterrupt`. When
/// the time is over, `at_last` tells how it ends.
///
/// Nothing is polled, and neither the GIL nor the dispatcher is needed to wake the thread, whatever a callback is
/// doing.
pub(crate) fn interruptible<T: Send>(
    py: Python<'_>,
    wait: impl Future<Output = Result<T>> + Send,
    timeout: Option<Duration>,
    at_last: impl Fn() -> Result<T> + Sync,
) -> PyResult<T> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    this_thread(py)?;
    let mut wait = pin!(wait);
    let mut poll = |waker: &Waker| {
        let result = poll(wait.as_mut(), waker);
        if result.is_err() && is_left_behind() {
            park_for_ever();
        }
        result
    };
    // Most often it has come true already: that takes no bell.
    if let Some(value) = run_detached(py, || poll(Waker::noop()))? {
        return Ok(value);
    }
    let bell = run_detached(py, Bell::new)?;
    let waker = Waker::from(Arc::clone(&bell));
    let mut until_a_signal = || -> Result<ControlFlow<T>> {
        loop {
            if let Some(value) = poll(&waker)? {
                return Ok(ControlFlow::Break(value));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return at_last().map(ControlFlow::Break);
            }
            if bell.sleep(left)? == Slept::Interrupted {
                return Ok(ControlFlow::Continue(()));
            }
        }
    };
    loop {
        match run_detached(py, &mut until_a_signal)? {
            ControlFlow::Break(value) => return Ok(value),
            ControlFlow::Continue(()) => py.check_signals()?,
        }
    }
}

/// What a daemon thread gets for a wait that the end of the interpreter ends. An exception would be printed
/// for nothing, and asking for the GIL may crash by now. CPython itself does the same to such threads.
fn park_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// A wait that calls back. It ends when this is cancelled or freed.
#[pyclass(frozen, module = "posemesh_node._native")]
pub(crate) struct PendingWait(Mutex<Option<node::PendingWait>>);

impl PendingWait {
    pub(crate) fn begin(
        py: Python<'_>,
        begin: impl FnOnce() -> Result<node::PendingWait> + Send,
    ) -> PyResult<Self> {
        let pending = run_detached(py, begin)?;
        Ok(Self(Mutex::new(Some(pending))))
    }
}

#[pymethods]
impl PendingWait {
    /// Ends the wait. Its callback is not called any more, unless that has begun.
    fn cancel(&self) {
        let pending = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(pending);
    }
}

/// What calls `done` with the value that a wait brings, or with the exception, on the dispatcher thread.
pub(crate) fn tell<T: 'static>(
    done: Py<PyAny>,
    to_python: for<'py> fn(Python<'py>, T) -> PyResult<Bound<'py, PyAny>>,
) -> impl FnOnce(Result<T>) + Send + 'static {
    move |result| {
        callback::call(&done, |py| {
            let outcome = match result {
                Ok(value) => to_python(py, value)?,
                Err(error) => exception_object(py, &error)?,
            };
            Ok((outcome.unbind(),))
        });
    }
}
