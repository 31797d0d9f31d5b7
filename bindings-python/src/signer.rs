//! A signer of the host's, which signs in place of a private key.

use std::sync::{Mutex, PoisonError};

use posemesh_node_registration::SigningRequest as CoreRequest;
use posemesh_node_registration::config::Config;
use posemesh_node_registration::error::{ErrorCode, Result};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::callback;
use crate::error::utf8;

/// A message to sign. Freeing it without a response fails the attempt.
#[pyclass(frozen, module = "posemesh_node._native")]
pub(crate) struct SigningRequest {
    message: Vec<u8>,
    /// Taken by the first response.
    request: Mutex<Option<CoreRequest>>,
}

#[pymethods]
impl SigningRequest {
    fn message<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.message)
    }

    /// Responds with the signature as hex digits, or with the reason why there is none. May be called in any thread.
    /// Only the first response counts.
    fn respond(
        &self,
        py: Python<'_>,
        signature: Option<&Bound<'_, PyString>>,
        reason: Option<&Bound<'_, PyString>>,
    ) -> PyResult<()> {
        let response = match signature {
            Some(signature) => Ok(utf8(signature, "signature", ErrorCode::InvalidArgument)?),
            None => Err(reason.map_or_else(String::new, |reason| reason.to_string_lossy().into_owned())),
        };
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| {
            if let Some(request) = request {
                request.respond(response);
            }
        });
        Ok(())
    }
}

/// Lets `sign` sign for this address. It is called with each request, on the dispatcher thread.
pub(crate) fn set_signer(config: &mut Config, address: &str, sign: Py<PyAny>) -> Result<()> {
    let forward = move |request: CoreRequest| {
        callback::call(&sign, |py| {
            let message = request.message().to_vec();
            Ok((Py::new(py, SigningRequest { message, request: Mutex::new(Some(request)) })?,))
        });
    };
    config.set_signer(address, forward).map(drop)
}
