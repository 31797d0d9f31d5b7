//! The one rule for timeouts, of threads and of asyncio.

use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

/// A limit beyond this is none. Clocks and event loops overflow long after it.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Seconds as Python gives them: a number that is not negative. `None` is no limit, as is infinity.
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
            value.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("timeout must be a number of seconds, or None, not {name}"))
    };
    // True is an int to Python, but not to the author of the call.
    if value.is_instance_of::<PyBool>() {
        return Err(wrong_type());
    }
    match value.extract::<f64>() {
        Err(error) if error.is_instance_of::<PyTypeError>(py) => Err(wrong_type()),
        // An int that no float can hold.
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
            Ok(if value.lt(0)? { f64::NEG_INFINITY } else { f64::INFINITY })
        }
        other => other,
    }
}

/// The timeout as a number of seconds that every clock can hold, or None for no limit.
#[pyfunction]
pub(crate) fn timeout_seconds(timeout: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    Ok(self::timeout(timeout)?.map(|timeout| timeout.as_secs_f64()))
}
