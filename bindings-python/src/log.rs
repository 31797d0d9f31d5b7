//! The library's log records, sent to `logging`.

use std::time::UNIX_EPOCH;

use posemesh_node_registration::log::{Level, Record, set_callback};
use pyo3::prelude::*;

use crate::callback;
use crate::error::run_detached;

/// Sends every record to `callback(level, logger, created, dropped, message)`. The levels are those of `logging`.
#[pyfunction]
pub(crate) fn set_log_callback(py: Python<'_>, callback: Py<PyAny>) -> PyResult<()> {
    let forward = move |record: &Record| {
        callback::call(&callback, |_| {
            let created = record.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let logger = record.target.replace("::", ".");
            Ok((python_level(record.level), logger, created, record.dropped, record.message.clone()))
        });
    };
    run_detached(py, || {
        set_callback(Level::Debug, forward);
        Ok(())
    })
}

const fn python_level(level: Level) -> i64 {
    match level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug => 10,
    }
}
