//! A core access token as `posemesh_node.AccessToken`.

use posemesh_node_registration::token::AccessToken;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::dataclass::Class;

static ACCESS_TOKEN: Class = Class::new("posemesh_node._token", "AccessToken");

pub(crate) fn to_python<'py>(py: Python<'py>, token: AccessToken) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("value", token.value())?;
    fields.set_item("expires_at", token.expires_at())?;
    ACCESS_TOKEN.make(py, &fields)
}
