//! Requests of DDS that have reached a web server of the host, and the responses.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use posemesh_node_registration::axum::body::{Bytes, HttpBody as _};
use posemesh_node_registration::axum::http::header::USER_AGENT;
use posemesh_node_registration::axum::http::{HeaderName, HeaderValue, Request};
use posemesh_node_registration::bindings::{self, Response};
use posemesh_node_registration::error::{Error, ErrorCode};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::dataclass::Class;
use crate::error::exception;

static HTTP_RESPONSE: Class = Class::new("posemesh_node._http", "HttpResponse");

/// Text of HTTP, as web servers pass it.
#[derive(FromPyObject)]
pub(crate) enum Text {
    Str(PyBackedStr),
    Bytes(PyBackedBytes),
    /// Bytes that are not UTF-8 are lone surrogates in the `str` of aiohttp.
    Surrogates(#[pyo3(from_py_with = replace_surrogates)] String),
}

fn replace_surrogates(text: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(text.cast::<PyString>()?.to_string_lossy().into_owned())
}

impl Text {
    /// The bytes that were received. Python decodes them as ISO 8859-1, where it decodes them at all; what is not ASCII
    /// makes no difference here.
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Str(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
            Self::Surrogates(text) => text.as_bytes(),
        }
    }
}

/// Whether DDS sends requests to this path, which has no query and is relative to the prefix of the routes. Every other
/// request is the host's, as is every other `/health`.
#[pyfunction]
pub(crate) fn is_ours(path: Text, user_agent: Option<Text>) -> bool {
    let path = path.as_bytes();
    // In a decoded path, these begin neither a query nor a fragment.
    if path.iter().any(|byte| matches!(byte, b'?' | b'#')) {
        return false;
    }
    let mut request = Request::builder().uri(path);
    if let Some(user_agent) = user_agent {
        request = request.header(USER_AGENT, user_agent.as_bytes());
    }
    let request = request.body(Bytes::new());
    request.is_ok_and(|request| bindings::respond_without_node(&request, "").is_some())
}

/// The response to a request while there is no node. `None` if it is not for this library.
#[pyfunction]
pub(crate) fn respond_without_node<'py>(
    py: Python<'py>,
    method: &str,
    path: Text,
    headers: &Bound<'py, PyAny>,
    why: String,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let request = request(method, &path, headers, &[])?;
    request
        .and_then(|request| bindings::respond_without_node(&request, why))
        .map(|response| to_python(py, response))
        .transpose()
}

/// A request to handle. `None` if it is not for this library, because its path cannot be that of a request.
///
/// Headers are a mapping or pairs. Those that HTTP does not allow are left out, and so is what the map cannot
/// hold: more than some 24,000.
pub(crate) fn request(
    method: &str,
    path: &Text,
    headers: &Bound<'_, PyAny>,
    body: &[u8],
) -> PyResult<Option<Request<Bytes>>> {
    let body = Bytes::copy_from_slice(body);
    let request = Request::builder().method(method).uri(path.as_bytes()).body(body);
    let Ok(mut request) = request else { return Ok(None) };
    let pairs = if headers.hasattr("items")? { &headers.call_method0("items")? } else { headers };
    for pair in pairs.try_iter()? {
        let [name, value]: [Text; 2] = pair?.extract().map_err(|_| {
            PyTypeError::new_err(
                "headers must be a mapping, or pairs of a name and a value, each str or bytes",
            )
        })?;
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            let _ = request.headers_mut().try_append(name, value);
        }
    }
    Ok(Some(request))
}

/// A `posemesh_node.HttpResponse`.
pub(crate) fn to_python(py: Python<'_>, response: Response) -> PyResult<Bound<'_, PyAny>> {
    let (head, mut body) = response.into_parts();
    let pairs =
        head.headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
    let fields = PyDict::new(py);
    fields.set_item("status", head.status.as_u16())?;
    fields.set_item("headers", PyTuple::new(py, pairs.collect::<Vec<_>>())?)?;
    // The whole body is one frame, and there at once.
    let frame = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
    let body = match frame {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    };
    fields.set_item("body", PyBytes::new(py, &body))?;
    HTTP_RESPONSE.make(py, &fields)
}

/// As `to_python`, for a request that may not be for this library.
pub(crate) fn optional_to_python(py: Python<'_>, response: Option<Response>) -> PyResult<Bound<'_, PyAny>> {
    response.map_or_else(|| Ok(py.None().into_bound(py)), |response| to_python(py, response))
}

pub(crate) fn timed_out() -> Error {
    Error::new(ErrorCode::Timeout, "the request of DDS was not handled in time; DDS will repeat it")
}

/// A request that is being handled. The wait for its response ends when this is cancelled or freed.
#[pyclass(frozen, module = "posemesh_node._native")]
pub(crate) struct PendingResponse(Mutex<Option<bindings::PendingHandle>>);

impl PendingResponse {
    pub(crate) fn new(pending: bindings::PendingHandle) -> Self {
        Self(Mutex::new(Some(pending)))
    }
}

#[pymethods]
impl PendingResponse {
    /// Ends the wait. Its callback is not called afterwards, unless it is already running.
    fn cancel(&self, py: Python<'_>) {
        let pending = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Another thread may hold a lock of core's while it waits for the GIL.
        py.detach(|| drop(pending));
    }

    /// Ends the wait with the error for a timeout.
    fn time_out(&self, py: Python<'_>) -> PyResult<()> {
        self.cancel(py);
        Err(exception(py, &timed_out()))
    }
}
