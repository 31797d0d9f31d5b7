//! A method that does nothing, called from Python: no method of a compiled class is cheaper.

use pyo3::prelude::*;

/// Holds nothing.
#[pyclass(frozen)]
struct Empty;

#[pymethods]
impl Empty {
    #[new]
    fn new() -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "a method has one")]
    fn nothing(&self) {}
}

/// The module.
#[pymodule]
fn floor(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Empty>()
}
