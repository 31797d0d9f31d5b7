//! Instances of the package's frozen dataclasses, created without running Python code.
//!
//! Python code releases the GIL from time to time. If a daemon thread asks for it again while the interpreter exits,
//! CPython before 3.14 unwinds the thread, and the process aborts when that unwinds Rust frames. Therefore everything
//! that a thread of the host calls here is implemented in C, which an `__init__` and an import are not.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

/// A function of the standard library. If a thread of the host may call it, it is implemented in C.
pub(crate) struct Function {
    module: &'static str,
    name: &'static str,
    found: PyOnceLock<Py<PyAny>>,
}

impl Function {
    pub(crate) const fn new(module: &'static str, name: &'static str) -> Self {
        Self { module, name, found: PyOnceLock::new() }
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let found = self
            .found
            .get_or_try_init(py, || Ok::<_, PyErr>(py.import(self.module)?.getattr(self.name)?.unbind()));
        Ok(found?.bind(py))
    }
}

/// A class of the package or of the standard library. If a thread of the host may use it, its module has been imported
/// before.
pub(crate) struct Class {
    module: &'static str,
    name: &'static str,
    found: PyOnceLock<Py<PyType>>,
}

impl Class {
    pub(crate) const fn new(module: &'static str, name: &'static str) -> Self {
        Self { module, name, found: PyOnceLock::new() }
    }

    pub(crate) fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyType>> {
        self.found.import(py, self.module, self.name)
    }

    /// An instance with these attributes, created as `pickle` creates one.
    pub(crate) fn make<'py>(
        &self,
        py: Python<'py>,
        fields: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let class = self.get(py)?;
        let object = class.call_method1("__new__", (class,))?;
        object.getattr("__dict__")?.cast::<PyDict>()?.update(fields.as_mapping())?;
        Ok(object)
    }
}
