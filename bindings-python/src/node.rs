//! A running node.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posemesh_node_registration::error::{ErrorCode, Result};
use posemesh_node_registration::node::Node as CoreNode;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyString;

use crate::aside;
use crate::config::Config;
use crate::error::{guarded, run, run_detached, utf8};
use crate::event::{Listener, Listeners};
use crate::status;
use crate::stream::{EventQueue, Queue};
use crate::timeout::timeout;
use crate::token;
use crate::wait::{self, PendingWait};

/// How long the drop of a node that runs holds up its thread. It is enough, unless a callback is stuck.
const DROP_PATIENCE: Duration = Duration::from_millis(100);

/// A node that has started, on its way to the class that its program sees. Freed before that, it stops.
#[pyclass(frozen, module = "posemesh_node._native")]
pub(crate) struct Started(Mutex<Option<CoreNode>>);

/// Starts a node.
#[pyfunction]
pub(crate) fn start(py: Python<'_>, config: &Bound<'_, Config>) -> PyResult<Started> {
    let config = &config.get().0;
    let node = run_detached(py, || CoreNode::start(config))?;
    Ok(Started(Mutex::new(Some(node))))
}

/// As `start`, but on a thread of its own: it reads files and may look up a host name. That thread calls `done` with
/// what was started or with the exception to raise.
#[pyfunction]
pub(crate) fn start_then(py: Python<'_>, config: Py<Config>, done: Py<PyAny>) -> PyResult<()> {
    let done = wait::tell(done, |py, node| Ok(Bound::new(py, Started(Mutex::new(Some(node))))?.into_any()));
    py.detach(|| aside::spawn("posemesh-start", move || done(guarded(|| CoreNode::start(&config.get().0)))));
    Ok(())
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(node) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            discard(Arc::new(node));
        }
    }
}

/// The base of `posemesh_node.Node` and `posemesh_node.AsyncNode`: what only reads is theirs as it is, so that no
/// Python code stands between a program and its status.
#[pyclass(frozen, subclass, module = "posemesh_node._native")]
pub(crate) struct Node {
    /// Given away only by `drop`. Shared with the thread that stops it.
    node: Option<Arc<CoreNode>>,
    listeners: Listeners,
    /// The last status that was shown, if it lasts: the count of changes before it, and how it was shown.
    shown: Mutex<Option<(u32, Py<PyAny>)>>,
}

impl Node {
    fn core(&self) -> &Arc<CoreNode> {
        self.node.as_ref().expect("only drop takes it")
    }

    fn lock_shown(&self) -> MutexGuard<'_, Option<(u32, Py<PyAny>)>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the node, and then calls `done`: at once, or on a thread that waits for the end.
    ///
    /// When this returns, the node has been asked to stop, whatever becomes of the caller.
    fn stop_then(&self, timeout: Duration, done: impl FnOnce(Result<()>) + Send + 'static) -> Result<()> {
        match self.core().stop(Duration::ZERO) {
            Err(error) if error.code() == ErrorCode::Timeout && !timeout.is_zero() => {
                let (node, listeners) = (Arc::clone(self.core()), self.listeners.clone());
                aside::spawn("posemesh-stop", move || {
                    let stopped = guarded(|| node.stop(timeout));
                    drop(node);
                    listeners.end_streams();
                    done(stopped);
                });
                Ok(())
            }
            Err(error) if error.code() != ErrorCode::Timeout => Err(error),
            stopped => {
                self.listeners.end_streams();
                done(stopped);
                Ok(())
            }
        }
    }

    /// Has a listener hear every event from now on, until it is removed or the node stops.
    fn listen(&self, py: Python<'_>, listener: Listener) -> PyResult<u64> {
        let (node, listeners) = (self.core(), self.listeners.clone());
        let number = listeners.add(listener);
        // Each time, because the core knows whether there is still something to hear.
        let listening = run_detached(py, || node.set_event_callback(move |event| listeners.tell(event)));
        if let Err(error) = listening {
            self.listeners.remove(number);
            return Err(error);
        }
        Ok(number)
    }

    /// Shows the status as it is after so many changes, or more.
    fn show<'py>(&self, py: Python<'py>, changes: u32) -> PyResult<Bound<'py, PyAny>> {
        let node = self.core();
        let (now, last_error, persistence_error) =
            run(py, || Ok((node.status()?, node.last_error()?, node.persistence_error()?)))?;
        // They are not read at once; the status decides whether there is an error.
        let last_error = now.last_error.and(last_error);
        let persistence_error = now.persistence_error.and(persistence_error);
        let status = status::to_python(py, &now, last_error.as_ref(), persistence_error.as_ref())?;
        // Exceptions collect tracebacks, and a time left runs.
        let lasts =
            now.last_error.is_none() && now.persistence_error.is_none() && now.next_attempt_in().is_none();
        let shown = lasts.then(|| (changes, status.clone().unbind()));
        // Its drop may run code of the host's: not under the lock.
        let former = std::mem::replace(&mut *self.lock_shown(), shown);
        drop(former);
        Ok(status)
    }
}

#[pymethods]
impl Node {
    /// Takes over what was started.
    #[new]
    fn new(started: &Bound<'_, Started>) -> PyResult<Self> {
        let node = started.get().0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let node = node.ok_or_else(|| PyValueError::new_err("this start has its node already"))?;
        Ok(Self { node: Some(Arc::new(node)), listeners: Listeners::default(), shown: Mutex::default() })
    }

    /// What the node is doing. Reads memory and never blocks; also after a stop.
    ///
    /// As long as nothing changes, each call returns the same object; but not while there is an error in it, or a time
    /// that runs.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let changes = run(py, || Ok(self.core().status_changes()?.load(Ordering::Acquire)))?;
        let shown = self.lock_shown();
        if let Some((_, status)) = shown.as_ref().filter(|(before, _)| *before == changes) {
            return Ok(status.bind(py).clone());
        }
        drop(shown);
        self.show(py, changes)
    }

    /// False after a stop, and in a forked child.
    #[pyo3(name = "_is_running")]
    fn is_running(&self) -> bool {
        self.core().status().is_ok_and(|status| status.running)
    }

    /// The secret that DDS has sent, or None so far. Also after a stop.
    fn read_secret(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let node = self.core();
        run(py, || node.with_secret(|secret| secret.map(|secret| secret.expose().to_owned())))
    }

    /// Where the callback server listens, as `host:port`; None without one.
    #[getter]
    fn callback_address(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let address = run(py, || self.core().callback_address())?;
        Ok(address.map(|address| address.to_string()))
    }

    /// The node's Ethereum address, `0x` and 40 lowercase hex digits.
    #[getter]
    fn wallet_address(&self, py: Python<'_>) -> PyResult<&str> {
        run(py, || self.core().wallet_address())
    }

    /// Sign bytes with the node's key as a wallet does (EIP-191 `personal_sign`).
    ///
    /// Returns `0x` and 130 hex digits.
    fn sign(&self, py: Python<'_>, message: PyBackedBytes) -> PyResult<String> {
        run(py, || self.core().sign(&message))
    }

    /// Register again.
    ///
    /// When this returns, the state is `disconnected` and the node is on its way: `wait_registered` then
    /// waits for the new registration. After ten calls in a row the node registers at most once a second:
    /// calls in between count as one, and the last one is never lost.
    fn rearm(&self, py: Python<'_>) -> PyResult<()> {
        let node = self.core();
        run_detached(py, || node.rearm())
    }

    /// Waits for a registration, or for a secret.
    #[pyo3(name = "_wait")]
    fn wait(&self, py: Python<'_>, secret: bool, timeout: &Bound<'_, PyAny>) -> PyResult<()> {
        let (node, what, timeout) = (self.core(), wait::what(secret), self::timeout(timeout)?);
        let wait = run_detached(py, || node.wait_async(what))?;
        // At last it may come true in that instant, or the core words the error.
        wait::interruptible(py, wait, timeout, || node.wait(what, Some(Duration::ZERO)))
    }

    /// As `wait`, but calls `done` on the dispatcher thread, with `None` or the exception to raise.
    #[pyo3(name = "_wait_then")]
    fn wait_then(&self, py: Python<'_>, secret: bool, done: Py<PyAny>) -> PyResult<PendingWait> {
        let (node, what) = (self.core(), wait::what(secret));
        let done = wait::tell(done, |py, ()| Ok(py.None().into_bound(py)));
        PendingWait::begin(py, || node.wait_then(what, done))
    }

    /// Waits for an access token.
    #[pyo3(name = "_access_token")]
    fn access_token<'py>(&self, py: Python<'py>, timeout: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (node, timeout) = (self.core(), self::timeout(timeout)?);
        let wait = run_detached(py, || node.access_token_async())?;
        let token = wait::interruptible(py, wait, timeout, || node.access_token(Some(Duration::ZERO)))?;
        token::to_python(py, token)
    }

    /// The access token that is at hand; `None` when there is something to wait for.
    #[pyo3(name = "_access_token_at_hand")]
    fn access_token_at_hand<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let node = self.core();
        let wait = run_detached(py, || node.access_token_async())?;
        wait::at_once(py, wait)?.map(|token| token::to_python(py, token)).transpose()
    }

    /// As `access_token`, but calls `done` on the dispatcher thread, with the token or the exception to raise.
    #[pyo3(name = "_access_token_then")]
    fn access_token_then(&self, py: Python<'_>, done: Py<PyAny>) -> PyResult<PendingWait> {
        let node = self.core();
        let done = wait::tell(done, token::to_python);
        PendingWait::begin(py, || node.access_token_then(done))
    }

    /// Drops the access token; with a `value` only if it is this one.
    #[pyo3(name = "_invalidate_token")]
    fn invalidate_token(&self, py: Python<'_>, value: Option<&Bound<'_, PyString>>) -> PyResult<()> {
        let node = self.core();
        let value = value.map(|value| utf8(value, "token", ErrorCode::InvalidArgument)).transpose()?;
        run_detached(py, || match value {
            Some(value) => node.invalidate_token_if(&value),
            None => node.invalidate_token(),
        })
    }

    /// Calls `call` with every event, on the dispatcher thread, until `listener` is removed or the node stops.
    #[pyo3(name = "_add_listener")]
    fn add_listener(&self, py: Python<'_>, listener: Py<PyAny>, call: Py<PyAny>) -> PyResult<()> {
        let (function, call) = (Arc::new(listener), Arc::new(call));
        self.listen(py, Listener::Function { function, call }).map(drop)
    }

    /// False when it does not listen.
    #[pyo3(name = "_remove_listener")]
    fn remove_listener(&self, listener: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.listeners.remove_function(listener)
    }

    /// The events from now on. `ring` is called when there is something to look at, in any thread.
    #[pyo3(name = "_follow")]
    fn follow(
        &self,
        py: Python<'_>,
        timeout: &Bound<'_, PyAny>,
        ring: Option<Py<PyAny>>,
    ) -> PyResult<EventQueue> {
        let (queue, timeout) = (Arc::new(Queue::new(ring)), self::timeout(timeout)?);
        let number = self.listen(py, Listener::Stream(Arc::clone(&queue)))?;
        Ok(EventQueue::new(queue, self.listeners.clone(), number, timeout))
    }

    #[pyo3(name = "_stop")]
    fn stop(&self, py: Python<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<()> {
        let (node, timeout) = (self.core(), self::timeout(timeout)?.unwrap_or(Duration::MAX));
        let (put, stopped) = aside::outcome();
        run_detached(py, || self.stop_then(timeout, put))?;
        // That thread keeps the time.
        wait::interruptible(py, stopped, None, || node.stop(Duration::ZERO))?;
        // They may refer to the node: a circle that the garbage collector cannot see.
        self.listeners.clear();
        Ok(())
    }

    /// As `stop`, but calls `done` with `None` or the exception to raise, in any thread.
    #[pyo3(name = "_stop_then")]
    fn stop_then_call(&self, py: Python<'_>, timeout: &Bound<'_, PyAny>, done: Py<PyAny>) -> PyResult<()> {
        let timeout = self::timeout(timeout)?.unwrap_or(Duration::MAX);
        let (done, listeners) =
            (wait::tell(done, |py, ()| Ok(py.None().into_bound(py))), self.listeners.clone());
        run_detached(py, || {
            self.stop_then(timeout, move |stopped| {
                if stopped.is_ok() {
                    listeners.clear();
                }
                done(stopped);
            })
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            discard(node);
        }
    }
}

/// Ends a node that has no users left.
fn discard(node: Arc<CoreNode>) {
    let end = || match node.stop(DROP_PATIENCE) {
        // A callback is stuck. The drop of the core's node waits for it, but the program does not.
        Err(error) if error.code() == ErrorCode::Timeout => aside::spawn("posemesh-stop", move || drop(node)),
        _ => drop(node),
    };
    // It waits for the dispatcher thread, which may wait for the GIL.
    Python::try_attach(|py| py.detach(end));
}
