//! Waits: in a thread that Ctrl-C can interrupt, or with a callback for asyncio.

use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use posemesh_node_registration::bindings;
use posemesh_node_registration::error::Result;
use posemesh_node_registration::node::Wait;
use pyo3::prelude::*;

use crate::callback;
use crate::error::{exception_object, run_detached};
use crate::exit::{is_left_behind, this_thread};
use crate::parker::{Parker, Woken};

pub(crate) fn what(secret: bool) -> Wait {
    if secret { Wait::Secret } else { Wait::Registered }
}

fn poll<T>(wait: Pin<&mut impl Future<Output = Result<T>>>, waker: &Waker) -> Result<Option<T>> {
    match wait.poll(&mut Context::from_waker(waker)) {
        Poll::Ready(result) => result.map(Some),
        Poll::Pending => Ok(None),
    }
}

/// A signal that arrives between a check for signals and the moment in which the thread parks does not wake the thread.
/// It therefore checks again after this time, then after twice as long each time, and finally not any more.
const FIRST_CHECK: Duration = Duration::from_millis(50);
const LAST_CHECK: Duration = Duration::from_millis(3200);

/// Waits for the result of `wait`. If a signal handler raises an exception, such as `KeyboardInterrupt`, the wait ends
/// with it. When the timeout has passed, `on_timeout` supplies the result.
///
/// A long wait polls nothing, and waking the thread needs neither the GIL nor the dispatcher, whatever a callback is doing.
pub(crate) fn interruptible<T: Send>(
    py: Python<'_>,
    wait: impl Future<Output = Result<T>> + Send,
    timeout: Option<Duration>,
    on_timeout: impl Fn() -> Result<T> + Sync,
) -> PyResult<T> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    this_thread(py)?;
    let mut wait = pin!(wait);
    let mut poll = |waker: &Waker| {
        let result = poll(wait.as_mut(), waker);
        if result.is_err() && is_left_behind() {
            park_forever();
        }
        result
    };
    // Most waits are over already, and need no parker.
    if let Some(value) = run_detached(py, || poll(Waker::noop()))? {
        return Ok(value);
    }
    let parker = run_detached(py, Parker::new)?;
    let waker = Waker::from(Arc::clone(&parker));
    let mut next_check = Some(FIRST_CHECK);
    let mut until_a_signal = || -> Result<ControlFlow<T>> {
        loop {
            if let Some(value) = poll(&waker)? {
                return Ok(ControlFlow::Break(value));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return on_timeout().map(ControlFlow::Break);
            }
            let limit = left.into_iter().chain(next_check).min();
            if parker.park(limit)? == Woken::Interrupted {
                return Ok(ControlFlow::Continue(()));
            }
            if let Some(after) = next_check {
                next_check = (after < LAST_CHECK).then(|| after * 2);
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

/// Parks a daemon thread whose wait ends because the interpreter exits. No code would handle an exception, and asking
/// for the GIL may crash at this point. CPython does the same with such threads.
fn park_forever() -> ! {
    loop {
        std::thread::park();
    }
}

/// A wait with a callback. It ends when this is cancelled or freed.
#[pyclass(frozen, module = "posemesh_node._native")]
pub(crate) struct PendingWait(Mutex<Option<bindings::PendingWait>>);

impl PendingWait {
    pub(crate) fn begin(
        py: Python<'_>,
        begin: impl FnOnce() -> Result<bindings::PendingWait> + Send,
    ) -> PyResult<Self> {
        let pending = run_detached(py, begin)?;
        Ok(Self(Mutex::new(Some(pending))))
    }
}

#[pymethods]
impl PendingWait {
    /// Ends the wait. Its callback is not called afterwards, unless it is already running.
    fn cancel(&self) {
        let pending = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(pending);
    }
}

/// A function that calls `done` with the value of a wait, or with its exception.
pub(crate) fn deliver<T: 'static>(
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
