//! Keyword arguments as core options.

use posemesh_node_registration::bindings;
use posemesh_node_registration::config::{Config as CoreConfig, ConfigOption, OPTIONS, OptionKind};
use posemesh_node_registration::error::ErrorCode;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyString};

use crate::error::{run, run_detached, utf8};
use crate::signer::set_signer;

/// The validated options of a node. Its `repr` shows none of them.
#[pyclass(frozen, module = "posemesh_node._native")]
pub(crate) struct Config(pub(crate) CoreConfig);

#[pymethods]
impl Config {
    /// Empties `options`, because the dictionary is a local variable of a frame that a traceback may show, and some of
    /// the options are secrets.
    #[new]
    ///
    /// `signer` is the address of a signer and the function to call with each request.
    #[pyo3(signature = (options, *, from_env = false, signer = None))]
    fn new(
        py: Python<'_>,
        options: &Bound<'_, PyDict>,
        from_env: bool,
        signer: Option<(Bound<'_, PyString>, Py<PyAny>)>,
    ) -> PyResult<Self> {
        let given = options.copy()?;
        options.clear();
        let mut config = CoreConfig::new();
        if from_env {
            // Attached on purpose, because Python code changes the environment only while it is attached.
            run(py, || config.load_env().map(drop))?;
        }
        for (name, value) in &given {
            let name: String = name.extract()?;
            let option = OPTIONS.iter().find(|option| option.name == name).ok_or_else(|| unknown(&name))?;
            if !value.is_none() {
                let value = text(option, &value)?;
                run(py, || config.set(option.name, &value).map(drop))?;
            }
        }
        if let Some((address, sign)) = signer {
            let address = utf8(&address, "the signer's address", ErrorCode::InvalidConfig)?;
            run(py, || set_signer(&mut config, &address, sign))?;
        }
        Ok(Self(config))
    }

    /// Raises the errors that a start raises before it uses the network. Returns the address of the wallet, or `None` for
    /// a robot.
    fn check(&self, py: Python<'_>) -> PyResult<Option<String>> {
        run_detached(py, || bindings::check(&self.0))
    }
}

fn unknown(name: &str) -> PyErr {
    let known: Vec<_> = OPTIONS.iter().map(|option| option.name).chain(["signer"]).collect();
    let suggestion = bindings::suggestion(name, &known);
    PyTypeError::new_err(format!("got an unexpected keyword argument {name:?}; {suggestion}"))
}

/// The text form of a value, as core reads it. No error contains the value, because it may be a secret.
fn text(option: &ConfigOption, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let converted = match option.kind {
        OptionKind::Path => path(value)?,
        // In Python, a bool is an int, but here it is a mistake.
        OptionKind::Integer if value.is_instance_of::<PyBool>() => None,
        OptionKind::Integer => value.cast::<PyInt>().ok().map(|value| value.str()).transpose()?,
        OptionKind::Boolean => {
            return match value.cast::<PyBool>() {
                Ok(value) => Ok(value.is_true().to_string()),
                Err(_) => Err(wrong_type(option, value)),
            };
        }
        OptionKind::List if !value.is_instance_of::<PyString>() => return list(option, value),
        _ => value.cast::<PyString>().ok().cloned(),
    };
    utf8(&converted.ok_or_else(|| wrong_type(option, value))?, option.name, ErrorCode::InvalidConfig)
}

/// The path as `os.fspath` returns it, if it is a `str`.
fn path<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyString>>> {
    if !value.is_instance_of::<PyString>() && !value.hasattr("__fspath__")? {
        return Ok(None);
    }
    let path = value.py().import("os")?.call_method1("fspath", (value,))?;
    Ok(path.cast_into().ok())
}

/// One text, as in the environment. An entry therefore cannot contain a comma.
fn list(option: &ConfigOption, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let entries = value.try_iter().map_err(|_| wrong_type(option, value))?;
    let mut texts: Vec<String> = Vec::new();
    for entry in entries {
        let entry = entry?;
        let text = entry.cast::<PyString>().map_err(|_| wrong_type(option, value))?;
        let text = utf8(text, option.name, ErrorCode::InvalidConfig)?;
        if text.contains(',') {
            return Err(PyValueError::new_err(format!("{}: {text:?} must not contain a comma", option.name)));
        }
        texts.push(text);
    }
    Ok(texts.join(","))
}

fn wrong_type(option: &ConfigOption, value: &Bound<'_, PyAny>) -> PyErr {
    let wanted = match option.kind {
        OptionKind::Path => "str or os.PathLike[str]",
        OptionKind::Integer => "int",
        OptionKind::Boolean => "bool",
        OptionKind::List => "str or a sequence of str",
        _ => "str",
    };
    let got = value.get_type().name().map_or_else(|_| "another type".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{} must be {wanted}, not {got}", option.name))
}

/// The option table: name, environment variable, kind, default, whether it is required, help.
#[pyfunction]
#[expect(clippy::type_complexity, reason = "a row of a table that is read in few places")]
pub(crate) fn options()
-> Vec<(&'static str, &'static str, &'static str, Option<&'static str>, bool, &'static str)> {
    let kind = |option: &ConfigOption| match option.kind {
        OptionKind::Path => "path",
        OptionKind::Integer => "integer",
        OptionKind::Boolean => "boolean",
        OptionKind::List => "list",
        OptionKind::Choice(_) => "choice",
        _ => "text",
    };
    let row = |option: &'static ConfigOption| {
        (option.name, option.env, kind(option), option.default, option.required, option.help)
    };
    OPTIONS.iter().map(row).collect()
}

/// The options whose values must not be shown.
#[pyfunction]
pub(crate) fn secret_options() -> Vec<&'static str> {
    OPTIONS.iter().filter(|option| option.secret).map(|option| option.name).collect()
}
