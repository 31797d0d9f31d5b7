//! Frozen dataclasses of the package, made without running Python code.
//!
//! Python code gives the GIL away every now and then. A daemon thread that wants it back while the interpreter
//! ends is unwound by CPython before 3.14, and where it is unwound through Rust, the process aborts. So whatever
//! a thread of the host calls here is C all the way. An `__init__` is not, and neither is an import.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

/// A function of the standard library. Where a thread of the host can get here, it is written in C.
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

/// A class of the package, or of the standard library. Where a thread of the host can get here, its module has been
/// imported by then.
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

    /// An instance with these attributes. As `pickle` makes one.
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
