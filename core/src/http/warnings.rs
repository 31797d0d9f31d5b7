//! Warnings that any peer can cause. Each kind is logged at most once in a while, however many requests are refused.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::backoff::RateLimit;
use crate::log::{self, Level};

/// The kinds that have been written. Each is a constant of the library, so their number is bounded.
#[derive(Default)]
pub(super) struct Warnings(Mutex<BTreeMap<&'static str, RateLimit>>);

impl Warnings {
    /// Writes a warning with the number of those suppressed before it, or a debug record if one of the same kind was
    /// written a short time ago.
    pub(super) fn write(&self, kind: &'static str, message: fmt::Arguments<'_>) {
        const TARGET: &str = "posemesh_node::http";
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, left_out) = kinds.entry(kind).or_default().next(Instant::now());
        drop(kinds);
        if level == Level::Debug || left_out == 0 {
            log::write(level, TARGET, message);
        } else {
            log::write(
                level,
                TARGET,
                format_args!("{message} (left out since the last such warning: {left_out})"),
            );
        }
    }
}
