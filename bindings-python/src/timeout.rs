//! The rule for timeouts, the same for threads and asyncio.

use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

/// A longer timeout is no timeout. Clocks and event loops overflow only far beyond it.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A timeout in seconds: a number that is not negative. `None` and infinity mean no timeout.
pub(crate) fn timeout(value: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    if value.is_none() {
        return Ok(None);
    }
    let seconds = number(value)?;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!(
            "timeout must be 0 or more seconds, or None, not {seconds}"
        )));
    }
    Ok(Duration::try_from_secs_f64(seconds).ok().filter(|timeout| *timeout <= CENTURY))
}

fn number(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let py = value.py();
    let wrong_type = || {
        let name =
            value.get_type().name().map_or_else(|_| "another type".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("timeout must be a number of seconds, or None, not {name}"))
    };
    // In Python, a bool is an int, but here it is a mistake.
    if value.is_instance_of::<PyBool>() {
        return Err(wrong_type());
    }
    match value.extract::<f64>() {
        Err(error) if error.is_instance_of::<PyTypeError>(py) => Err(wrong_type()),
        // An int that is out of range for a float.
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
            Ok(if value.lt(0)? { f64::NEG_INFINITY } else { f64::INFINITY })
        }
        other => other,
    }
}

/// The timeout as a number of seconds that every clock can represent, or None for no timeout.
#[pyfunction]
pub(crate) fn timeout_seconds(timeout: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    Ok(self::timeout(timeout)?.map(|timeout| timeout.as_secs_f64()))
}
