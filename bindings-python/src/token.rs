//! A core access token as `posemesh_node.AccessToken`.

use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use posemesh_node_registration::token::{AccessToken, claims};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use serde_json::Value;

use crate::dataclass::Class;

static ACCESS_TOKEN: Class = Class::new("posemesh_node._token", "AccessToken");

/// The claims of a token as JSON text, or `None` if it is not a JWT.
#[pyfunction]
pub(crate) fn token_claims(token: &Bound<'_, PyString>) -> Option<String> {
    // Text with a lone surrogate is not a JWT.
    claims(token.to_str().ok()?).map(|claims| Value::Object(claims).to_string())
}

pub(crate) fn to_python<'py>(py: Python<'py>, token: AccessToken) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("value", token.value())?;
    fields.set_item("expires_at", token.expires_at())?;
    ACCESS_TOKEN.make(py, &fields)
}

/// The Python object of the last token, so that a token is converted only once.
#[derive(Clone, Default)]
pub(crate) struct TokenCache(Arc<Mutex<Option<Converted>>>);

struct Converted {
    token: AccessToken,
    object: Py<PyAny>,
}

impl TokenCache {
    pub(crate) fn to_python<'py>(&self, py: Python<'py>, token: AccessToken) -> PyResult<Bound<'py, PyAny>> {
        if let Some(last) = &*self.lock()
            // As long as `last` holds its token, no other one can have the same address.
            && ptr::eq(last.token.value(), token.value())
        {
            return Ok(last.object.bind(py).clone());
        }
        let object = to_python(py, token.clone())?;
        self.replace(Some(Converted { token, object: object.clone().unbind() }));
        Ok(object)
    }

    pub(crate) fn clear(&self) {
        self.replace(None);
    }

    fn replace(&self, converted: Option<Converted>) {
        let former = std::mem::replace(&mut *self.lock(), converted);
        // Dropping it may run Python code, which must not happen under the lock.
        drop(former);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Converted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
