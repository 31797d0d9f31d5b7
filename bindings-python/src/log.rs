//! The library's log records, sent to `logging`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use posemesh_node_registration::bindings::learn_log_interest;
use posemesh_node_registration::log::{Level, Record, set_callback};
use pyo3::prelude::*;

use crate::callback;
use crate::error::run_detached;

/// Sends records to `callback(level, logger, created, dropped, message)`, which returns whether the logger kept the
/// record. The levels are those of `logging`.
#[pyfunction]
pub(crate) fn set_log_callback(py: Python<'_>, callback: Py<PyAny>) -> PyResult<()> {
    let discarded = Discarded::default();
    let forward = move |record: &Record| {
        if discarded.includes(record) {
            return;
        }
        let (level, logger) = (python_level(record.level), record.target.replace("::", "."));
        let created = record.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let arguments = (level, logger, created, record.dropped, record.message.clone());
        let asked_at = SystemTime::now();
        let kept = callback::ask(&callback, |_| Ok(arguments), |kept| kept.extract::<bool>());
        // None after an exception in the logger or in a handler.
        let Some(kept) = kept else { return };
        if !kept {
            discarded.add(record, asked_at);
        }
        learn_log_interest(record.level, kept);
    };
    run_detached(py, || {
        set_callback(Level::Debug, forward);
        Ok(())
    })
}

/// What the loggers have discarded lately. A logger has no use for records of the same level that were written before
/// then, either, so Python is asked once for all that have waited, and not once for each.
#[derive(Default)]
struct Discarded(Mutex<HashMap<(Level, &'static str), Moment>>);

#[derive(Clone, Copy)]
struct Moment {
    at: SystemTime,
    since: Instant,
}

impl Discarded {
    /// Not longer, because the clock may be set back.
    const HOLDS_FOR: Duration = Duration::from_secs(1);

    fn add(&self, record: &Record, at: SystemTime) {
        let moment = Moment { at, since: Instant::now() };
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moments.insert((record.level, record.target), moment);
    }

    fn includes(&self, record: &Record) -> bool {
        let moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = moments.get(&(record.level, record.target));
        moment.is_some_and(|moment| record.at <= moment.at && moment.since.elapsed() < Self::HOLDS_FOR)
    }
}

const fn python_level(level: Level) -> i64 {
    match level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug => 10,
    }
}
