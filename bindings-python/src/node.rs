//! A running node.

use std::time::Duration;

use posemesh_node_registration::node::Node as CoreNode;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::config::Config;
use crate::error::{run, run_detached};
use crate::event::Listeners;
use crate::status;
use crate::wait::{self, PendingWait};

/// What `posemesh_node.Node` and `posemesh_node.AsyncNode` stand on.
#[pyclass(frozen, module = "posemesh_node._native")]
pub(crate) struct Node {
    /// Given away only by `drop`.
    node: Option<CoreNode>,
    listeners: Listeners,
}

/// Starts a node.
#[pyfunction]
pub(crate) fn start(py: Python<'_>, config: &Bound<'_, Config>) -> PyResult<Node> {
    let config = &config.get().0;
    let node = run_detached(py, || CoreNode::start(config))?;
    Ok(Node { node: Some(node), listeners: Listeners::default() })
}

impl Node {
    fn core(&self) -> &CoreNode {
        self.node.as_ref().expect("only drop takes it")
    }
}

#[pymethods]
impl Node {
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let node = self.core();
        let (now, last_error) = run(py, || Ok((node.status()?, node.last_error()?)))?;
        // The two are not read at once; the status decides whether there is an error.
        let last_error = now.last_error.and(last_error);
        status::to_python(py, &now, last_error.as_ref())
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
        wait::interruptible(py, self.core(), wait::what(secret), wait::timeout(timeout)?)
    }

    /// As `wait`, but calls `done` on the dispatcher thread, with `None` or the exception to raise.
    fn wait_then(&self, py: Python<'_>, secret: bool, done: Py<PyAny>) -> PyResult<PendingWait> {
        wait::then(py, self.core(), wait::what(secret), done)
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
