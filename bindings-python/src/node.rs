//! A running node.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posemesh_node_registration::node::Node as CoreNode;
use posemesh_node_registration::status::Status;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::config::Config;
use crate::error::{run, run_detached};
use crate::event::Listeners;
use crate::status;
use crate::token;
use crate::wait::{self, PendingWait};

/// What `posemesh_node.Node` and `posemesh_node.AsyncNode` stand on.
#[pyclass(frozen, module = "posemesh_node._native")]
pub(crate) struct Node {
    /// Given away only by `drop`.
    node: Option<CoreNode>,
    listeners: Listeners,
    /// The last status that was shown, and how it was shown.
    shown: Mutex<Option<(Status, Py<PyAny>)>>,
}

/// Starts a node.
#[pyfunction]
pub(crate) fn start(py: Python<'_>, config: &Bound<'_, Config>) -> PyResult<Node> {
    let config = &config.get().0;
    let node = run_detached(py, || CoreNode::start(config))?;
    Ok(Node { node: Some(node), listeners: Listeners::default(), shown: Mutex::default() })
}

impl Node {
    fn core(&self) -> &CoreNode {
        self.node.as_ref().expect("only drop takes it")
    }

    fn lock_shown(&self) -> MutexGuard<'_, Option<(Status, Py<PyAny>)>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was shown last, as long as it is still so: a program that looks a million times a second gets one
    /// immutable object. Not where it is not immutable: exceptions collect tracebacks, and a time left runs.
    fn shown_as<'py>(&self, py: Python<'py>, now: &Status) -> Option<Bound<'py, PyAny>> {
        let lasting =
            now.last_error.is_none() && now.persistence_error.is_none() && now.next_attempt_in().is_none();
        let shown = self.lock_shown();
        let (_, object) = shown.as_ref().filter(|(status, _)| lasting && status == now)?;
        Some(object.bind(py).clone())
    }
}

#[pymethods]
impl Node {
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let node = self.core();
        let now = run(py, || node.status())?;
        if let Some(shown) = self.shown_as(py, &now) {
            return Ok(shown);
        }
        let (last_error, persistence_error) =
            run(py, || Ok((node.last_error()?, node.persistence_error()?)))?;
        // They are not read at once; the status decides whether there is an error.
        let last_error = now.last_error.and(last_error);
        let persistence_error = now.persistence_error.and(persistence_error);
        let status = status::to_python(py, &now, last_error.as_ref(), persistence_error.as_ref())?;
        // Its drop may run code of the host's: not under the lock.
        let former = self.lock_shown().replace((now, status.clone().unbind()));
        drop(former);
        Ok(status)
    }

    /// False after a stop, and in a forked child.
    fn is_running(&self) -> bool {
        self.core().status().is_ok_and(|status| status.running)
    }

    fn read_secret(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let node = self.core();
        run(py, || node.with_secret(|secret| secret.map(|secret| secret.expose().to_owned())))
    }

    fn callback_address(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let address = run(py, || self.core().callback_address())?;
        Ok(address.map(|address| address.to_string()))
    }

    fn wallet_address(&self, py: Python<'_>) -> PyResult<&str> {
        run(py, || self.core().wallet_address())
    }

    fn sign(&self, py: Python<'_>, message: PyBackedBytes) -> PyResult<String> {
        run(py, || self.core().sign(&message))
    }

    fn rearm(&self, py: Python<'_>) -> PyResult<()> {
        let node = self.core();
        run_detached(py, || node.rearm())
    }

    /// Waits for a registration, or for a secret.
    fn wait(&self, py: Python<'_>, secret: bool, timeout: Option<f64>) -> PyResult<()> {
        let (node, what, timeout) = (self.core(), wait::what(secret), wait::timeout(timeout)?);
        let wait = run_detached(py, || node.wait_async(what))?;
        // At last it may come true in that instant, or the core words the error.
        wait::interruptible(py, wait, timeout, || node.wait(what, Some(Duration::ZERO)))
    }

    /// As `wait`, but calls `done` on the dispatcher thread, with `None` or the exception to raise.
    fn wait_then(&self, py: Python<'_>, secret: bool, done: Py<PyAny>) -> PyResult<PendingWait> {
        let (node, what) = (self.core(), wait::what(secret));
        let done = wait::tell(done, |py, ()| Ok(py.None().into_bound(py)));
        PendingWait::begin(py, || node.wait_then(what, done))
    }

    /// Waits for an access token.
    fn access_token<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        let (node, timeout) = (self.core(), wait::timeout(timeout)?);
        let wait = run_detached(py, || node.access_token_async())?;
        let token = wait::interruptible(py, wait, timeout, || node.access_token(Some(Duration::ZERO)))?;
        token::to_python(py, token)
    }

    /// The access token that is at hand; `None` when there is something to wait for.
    fn access_token_at_hand<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let node = self.core();
        let wait = run_detached(py, || node.access_token_async())?;
        wait::at_once(py, wait)?.map(|token| token::to_python(py, token)).transpose()
    }

    /// As `access_token`, but calls `done` on the dispatcher thread, with the token or the exception to raise.
    fn access_token_then(&self, py: Python<'_>, done: Py<PyAny>) -> PyResult<PendingWait> {
        let node = self.core();
        let done = wait::tell(done, token::to_python);
        PendingWait::begin(py, || node.access_token_then(done))
    }

    /// Drops the access token; with a `value` only if it is this one.
    fn invalidate_token(&self, py: Python<'_>, value: Option<&str>) -> PyResult<()> {
        let node = self.core();
        run_detached(py, || match value {
            Some(value) => node.invalidate_token_if(value),
            None => node.invalidate_token(),
        })
    }

    /// Tells `listener` every event, on the dispatcher thread, until it is removed or the node stops.
    fn add_listener(&self, py: Python<'_>, listener: Py<PyAny>) -> PyResult<u64> {
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

    fn remove_listener(&self, number: u64) {
        self.listeners.remove(number);
    }

    fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let node = self.core();
        let timeout = wait::timeout(Some(timeout))?.unwrap_or(Duration::MAX);
        run_detached(py, || node.stop(timeout))?;
        // They may refer to the node: a circle that the garbage collector cannot see.
        self.listeners.clear();
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let node = self.node.take();
        // It waits for the dispatcher thread, which may wait for the GIL.
        Python::try_attach(|py| py.detach(|| drop(node)));
    }
}
