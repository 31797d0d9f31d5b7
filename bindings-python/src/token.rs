//! A core access token as `posemesh_node.AccessToken`.

use posemesh_node_registration::token::{AccessToken, claims};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use serde_json::Value;

use crate::dataclass::Class;

static ACCESS_TOKEN: Class = Class::new("posemesh_node._token", "AccessToken");

/// The claims of a token as JSON text; `None` if it is no JWT.
#[pyfunction]
pub(crate) fn token_claims(token: &Bound<'_, PyString>) -> Option<String> {
    // Text with a lone surrogate is no JWT.
    claims(token.to_str().ok()?).map(|claims| Value::Object(claims).to_string())
}

pub(crate) fn to_python<'py>(py: Python<'py>, token: AccessToken) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("value", token.value())?;
    fields.set_item("expires_at", token.expires_at())?;
    ACCESS_TOKEN.make(py, &fields)
}
