//! A running node.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use posemesh_node_registration::bindings::{Handled, NodeExt as _};
use posemesh_node_registration::error::{ErrorCode, Result};
use posemesh_node_registration::node::Node as CoreNode;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyString;

use crate::config::Config;
use crate::error::{guarded, run, run_detached, utf8};
use crate::http::{self, PendingResponse};
use crate::listeners::{Listener, Listeners};
use crate::metrics::{self, MetricFamily};
use crate::status::StatusCache;
use crate::stream::EventQueue;
use crate::thread;
use crate::timeout::timeout;
use crate::token::{self, TokenCache};
use crate::wait::{self, PendingWait};

/// How long dropping a running node may block its thread. That is enough unless a callback is stuck.
const DROP_TIMEOUT: Duration = Duration::from_millis(100);

/// A node that has started and is not an instance of its Python class yet. Freeing it stops it.
#[pyclass(frozen, module = "posemesh_node._native")]
pub(crate) struct Started(Mutex<Option<CoreNode>>);

/// Starts a node.
#[pyfunction]
pub(crate) fn start(py: Python<'_>, config: &Bound<'_, Config>) -> PyResult<Started> {
    let config = &config.get().0;
    let node = run_detached(py, || CoreNode::start(config))?;
    Ok(Started(Mutex::new(Some(node))))
}

/// As `start`, but on a thread of its own, because a start reads files and may resolve a host name. That thread calls
/// `done` with the started node, or with the exception to raise.
#[pyfunction]
pub(crate) fn start_then(py: Python<'_>, config: Py<Config>, done: Py<PyAny>) -> PyResult<()> {
    let done =
        wait::deliver(done, |py, node| Ok(Bound::new(py, Started(Mutex::new(Some(node))))?.into_any()));
    let start = move || done(guarded(|| CoreNode::start(&config.get().0)));
    py.detach(|| thread::spawn("posemesh-start", start));
    Ok(())
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(node) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            discard(Arc::new(node));
        }
    }
}

/// The base class of `posemesh_node.Node` and `posemesh_node.AsyncNode`. The methods that only read a node are
/// implemented here, so that no Python code runs when a program reads a status.
#[pyclass(frozen, subclass, module = "posemesh_node._native")]
pub(crate) struct Node {
    /// Taken only by `drop`. Shared with the thread that stops it.
    node: Option<Arc<CoreNode>>,
    listeners: Listeners,
    status: StatusCache,
    token: TokenCache,
}

impl Node {
    fn core(&self) -> &Arc<CoreNode> {
        self.node.as_ref().expect("only drop takes it")
    }

    fn status_changes(&self, py: Python<'_>) -> PyResult<u32> {
        run(py, || Ok(self.core().status_changes()?.load(Ordering::Acquire)))
    }

    fn held_token<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let node = self.core();
        // Attached, because core reads both without a lock.
        let changes = self.status_changes(py)?;
        if let Some(token) = self.token.get(py, changes) {
            return Ok(Some(token));
        }
        let token = run(py, || node.try_access_token())?;
        token.map(|token| self.token.put(py, changes, token)).transpose()
    }

    /// Stops the node, then calls `done`: at once, or on a thread that waits until the node has stopped.
    ///
    /// When this returns, the node is stopping, whatever happens to the caller.
    fn stop_then(&self, timeout: Duration, done: impl FnOnce(Result<()>) + Send + 'static) -> Result<()> {
        match self.core().stop(Duration::ZERO) {
            Err(error) if error.code() == ErrorCode::Timeout && !timeout.is_zero() => {
                let (node, listeners) = (Arc::clone(self.core()), self.listeners.clone());
                thread::spawn("posemesh-stop", move || {
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

    /// Delivers every event from now on to a listener, until it is removed or the node stops.
    fn listen(&self, py: Python<'_>, listener: Listener) -> PyResult<u64> {
        let (node, listeners) = (self.core(), self.listeners.clone());
        let number = listeners.add(listener);
        // Each time, because core returns an error once there will be no more events.
        let listening = run_detached(py, || node.set_event_callback(move |event| listeners.notify(event)));
        if let Err(error) = listening {
            self.listeners.remove(number);
            return Err(error);
        }
        Ok(number)
    }
}

#[pymethods]
impl Node {
    /// Takes over a started node.
    #[new]
    fn new(started: &Bound<'_, Started>) -> PyResult<Self> {
        let node = started.get().0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let node = node.ok_or_else(|| PyValueError::new_err("another object has taken over this node"))?;
        Ok(Self {
            node: Some(Arc::new(node)),
            listeners: Listeners::default(),
            status: StatusCache::default(),
            token: TokenCache::default(),
        })
    }

    /// What the node is doing. Reads memory and never blocks. Also works after a stop.
    ///
    /// As long as nothing changes, each call returns the same object, unless it contains an error or a time that runs
    /// down.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (node, changes) = (self.core(), self.status_changes(py)?);
        match self.status.get(py, changes) {
            Some(status) => Ok(status),
            None => {
                let (status, last_error, persistence_error) =
                    run(py, || Ok((node.status()?, node.last_error()?, node.persistence_error()?)))?;
                self.status.put(py, changes, &status, last_error.as_ref(), persistence_error.as_ref())
            }
        }
    }

    /// False after a stop, and in a forked child.
    #[pyo3(name = "_is_running")]
    fn is_running(&self) -> bool {
        self.core().status().is_ok_and(|status| status.running)
    }

    /// The secret that DDS has sent, or None if it has not sent one. Also works after a stop.
    fn read_secret(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let node = self.core();
        run(py, || node.with_secret(|secret| secret.map(|secret| secret.expose().to_owned())))
    }

    /// Whether the node is ready, and why not.
    #[pyo3(name = "_ready")]
    fn ready(&self, py: Python<'_>, secret: bool) -> PyResult<(bool, String)> {
        let readiness = run(py, || self.core().ready(secret))?;
        Ok((readiness.is_ready(), readiness.reason().to_owned()))
    }

    /// What the node has done and is doing. Reads memory and never blocks. After a stop, these are the last values.
    ///
    /// The counters of a process count what it has done itself, so the sum over the processes that share a node counts
    /// everything once.
    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let metrics = run(py, || self.core().metrics())?;
        metrics::to_python(py, metrics)
    }

    /// The metrics as a list, for the adapters to monitoring systems.
    #[pyo3(name = "_metric_families")]
    fn metric_families(&self, py: Python<'_>) -> PyResult<Vec<MetricFamily>> {
        Ok(metrics::families(&run(py, || self.core().metrics())?))
    }

    /// The metrics as text for Prometheus: version 0.0.4 of its text format, with the content type
    /// `METRICS_CONTENT_TYPE`. It can be appended to the text of other metrics. Reads memory and never blocks. Also works
    /// after a stop.
    fn metrics_text(&self, py: Python<'_>) -> PyResult<String> {
        run(py, || self.core().metrics_text())
    }

    /// The address of the callback server, as `host:port`. None if there is no callback server.
    #[getter]
    fn callback_address(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let address = run(py, || self.core().callback_address())?;
        Ok(address.map(|address| address.to_string()))
    }

    /// The address of this process's admin server, as `host:port`. None without `admin_bind`.
    #[getter]
    fn admin_address(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let address = run(py, || self.core().admin_address())?;
        Ok(address.map(|address| address.to_string()))
    }

    /// The node's Ethereum address: `0x` and 40 lowercase hex digits. A robot has none: NotFoundError.
    #[getter]
    fn wallet_address(&self, py: Python<'_>) -> PyResult<&str> {
        run(py, || self.core().wallet_address())
    }

    /// Sign bytes with the node's key as a wallet does (EIP-191 `personal_sign`).
    ///
    /// Returns `0x` and 130 hex digits. Raises NotFoundError if the key is not in this process: a robot has none, and
    /// with a signer only the signer can sign.
    fn sign(&self, py: Python<'_>, message: PyBackedBytes) -> PyResult<String> {
        run(py, || self.core().sign(&message))
    }

    /// Register again.
    ///
    /// When this returns, the state is `disconnected` and the node has begun to register, so `wait_registered` waits
    /// for the new registration. After ten calls in a row, the node registers at most once a second: calls in between
    /// count as one, and the last one is never lost.
    fn rearm(&self, py: Python<'_>) -> PyResult<()> {
        let node = self.core();
        run_detached(py, || node.rearm())
    }

    /// Waits for a registration, or for a secret.
    #[pyo3(name = "_wait")]
    fn wait(&self, py: Python<'_>, secret: bool, timeout: &Bound<'_, PyAny>) -> PyResult<()> {
        let (node, what, timeout) = (self.core(), wait::what(secret), self::timeout(timeout)?);
        let wait = run_detached(py, || Ok(node.wait_for(what)))?;
        // On timeout, core returns a result that arrived in that instant, or the error.
        wait::interruptible(py, wait, timeout, || node.wait(what, Some(Duration::ZERO)))
    }

    /// As `wait`, but calls `done` on the dispatcher thread, with `None` or the exception to raise.
    #[pyo3(name = "_wait_then")]
    fn wait_then(&self, py: Python<'_>, secret: bool, done: Py<PyAny>) -> PyResult<PendingWait> {
        let (node, what) = (self.core(), wait::what(secret));
        let done = wait::deliver(done, |py, ()| Ok(py.None().into_bound(py)));
        PendingWait::begin(py, || node.wait_then(what, done))
    }

    /// Return an access token for the services behind DDS. Without a timeout, wait as long as it takes.
    ///
    /// The first call signs in, once the node is registered. From then on the node holds a token and refreshes it in
    /// the background, so later calls do not wait. Concurrent calls share one sign-in.
    ///
    /// Raises NodeTimeoutError, RejectedError if DDS refuses the sign-in, or StoppedError if the node stops meanwhile.
    /// Ctrl-C ends the wait.
    #[pyo3(signature = (timeout = None))]
    fn access_token<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let timeout = timeout.map_or(Ok(None), self::timeout)?;
        if let Some(token) = self.held_token(py)? {
            return Ok(token);
        }
        let (node, changes) = (self.core(), self.status_changes(py)?);
        let wait = run_detached(py, || Ok(node.wait_access_token()))?;
        let token = wait::interruptible(py, wait, timeout, || node.access_token(Some(Duration::ZERO)))?;
        self.token.put(py, changes, token)
    }

    /// The access token that the node holds, or `None`. Neither signs in nor waits, but the timeout must be valid.
    #[pyo3(name = "_held_access_token")]
    fn held_access_token<'py>(
        &self,
        py: Python<'py>,
        timeout: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self::timeout(timeout)?;
        self.held_token(py)
    }

    /// As `access_token`, but calls `done` on the dispatcher thread, with the token or the exception to raise.
    #[pyo3(name = "_access_token_then")]
    fn access_token_then(&self, py: Python<'_>, done: Py<PyAny>) -> PyResult<PendingWait> {
        let node = self.core();
        let done = wait::deliver(done, token::to_python);
        PendingWait::begin(py, || node.access_token_then(done))
    }

    /// Discards the access token. With a `value`, only if that is the token.
    #[pyo3(name = "_invalidate_token")]
    fn invalidate_token(&self, py: Python<'_>, value: Option<&Bound<'_, PyString>>) -> PyResult<()> {
        let node = self.core();
        let value = value.map(|value| utf8(value, "token", ErrorCode::InvalidArgument)).transpose()?;
        run_detached(py, || match value {
            Some(value) => node.invalidate_token_if(&value),
            None => node.invalidate_token(),
        })
    }

    /// From now on DDS may call the node through the host's web server, so a wait for a secret waits.
    #[pyo3(name = "_expect_callbacks")]
    fn expect_callbacks(&self, py: Python<'_>) -> PyResult<()> {
        let node = self.core();
        run_detached(py, || node.expect_callbacks())
    }

    /// Handles a request of DDS. Returns `None` if it is not for this library.
    #[pyo3(name = "_handle_request")]
    fn handle_request<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        path: http::Text,
        headers: &Bound<'py, PyAny>,
        body: PyBackedBytes,
        timeout: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (node, timeout) = (self.core(), self::timeout(timeout)?);
        let Some(request) = http::request(method, &path, headers, &body)? else { return Ok(None) };
        // Raises in a forked child, where core would respond with 503.
        self.expect_callbacks(py)?;
        let handling = node.handle(request);
        let response =
            wait::interruptible(py, async { Ok(handling.await) }, timeout, || Err(http::timed_out()))?;
        response.map(|response| http::to_python(py, response)).transpose()
    }

    /// As `handle_request`, but if the response is not there at once, returns a `PendingResponse` and calls `done` on the
    /// dispatcher thread.
    #[pyo3(name = "_handle_request_then")]
    fn handle_request_then<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        path: http::Text,
        headers: &Bound<'py, PyAny>,
        body: PyBackedBytes,
        done: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let node = self.core();
        let Some(request) = http::request(method, &path, headers, &body)? else {
            return Ok(py.None().into_bound(py));
        };
        let deliver = wait::deliver(done, http::optional_to_python);
        match run_detached(py, || node.handle_or_then(request, move |response| deliver(Ok(response))))? {
            Handled::Now(response) => http::optional_to_python(py, response),
            Handled::Later(pending) => Ok(Bound::new(py, PendingResponse::new(pending))?.into_any()),
        }
    }

    /// Calls `call` with every event, on the dispatcher thread, until `listener` is removed or the node stops.
    #[pyo3(name = "_add_listener")]
    fn add_listener(&self, py: Python<'_>, listener: Py<PyAny>, call: Py<PyAny>) -> PyResult<()> {
        let (function, call) = (Arc::new(listener), Arc::new(call));
        self.listen(py, Listener::Function { function, call }).map(drop)
    }

    /// Returns false if it is not a listener.
    #[pyo3(name = "_remove_listener")]
    fn remove_listener(&self, listener: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.listeners.remove_function(listener)
    }

    /// A stream of the events from now on. `on_change` is called, in any thread, when there is something to read.
    #[pyo3(name = "_follow")]
    fn follow(
        &self,
        py: Python<'_>,
        timeout: &Bound<'_, PyAny>,
        on_change: Option<Py<PyAny>>,
    ) -> PyResult<EventQueue> {
        let timeout = self::timeout(timeout)?;
        EventQueue::open(self.listeners.clone(), on_change, timeout, |listener| self.listen(py, listener))
    }

    #[pyo3(name = "_stop")]
    fn stop(&self, py: Python<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<()> {
        let (node, timeout) = (self.core(), self::timeout(timeout)?.unwrap_or(Duration::MAX));
        let (done, stopped) = thread::oneshot();
        run_detached(py, || self.stop_then(timeout, done))?;
        // The thread that stops the node applies the timeout.
        wait::interruptible(py, stopped, None, || node.stop(Duration::ZERO))?;
        self.token.clear();
        // Listeners may refer to the node, which is a cycle that the garbage collector cannot see.
        self.listeners.clear();
        Ok(())
    }

    /// As `stop`, but calls `done` with `None` or the exception to raise, in any thread.
    #[pyo3(name = "_stop_then")]
    fn stop_then_call(&self, py: Python<'_>, timeout: &Bound<'_, PyAny>, done: Py<PyAny>) -> PyResult<()> {
        let timeout = self::timeout(timeout)?.unwrap_or(Duration::MAX);
        let done = wait::deliver(done, |py, ()| Ok(py.None().into_bound(py)));
        let (listeners, token) = (self.listeners.clone(), self.token.clone());
        run_detached(py, || {
            self.stop_then(timeout, move |stopped| {
                if stopped.is_ok() {
                    token.clear();
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

/// Stops and drops a node that is no longer used.
fn discard(node: Arc<CoreNode>) {
    let end = || match node.stop(DROP_TIMEOUT) {
        // A callback is stuck. Dropping core's node waits for it, which must not block the program.
        Err(error) if error.code() == ErrorCode::Timeout => {
            thread::spawn("posemesh-stop", move || drop(node))
        }
        _ => drop(node),
    };
    // This waits for the dispatcher thread, which may be waiting for the GIL.
    Python::try_attach(|py| py.detach(end));
}
