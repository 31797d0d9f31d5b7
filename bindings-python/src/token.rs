//! A core access token as `posemesh_node.AccessToken`.

use posemesh_node_registration::token::AccessToken;
use pyo3::prelude::*;

pub(crate) fn to_python<'py>(py: Python<'py>, token: AccessToken) -> PyResult<Bound<'py, PyAny>> {
    let class = py.import("posemesh_node._token")?.getattr("AccessToken")?;
    class.call1((token.value(), token.expires_at()))
}
