//! What the log says about attempts: the first one, each new kind of failure, and the success. The attempts between them
//! only repeat, for as long as DDS is away.

use crate::log::Level;
use crate::state::store::Store;

/// The level of the record that the next attempt begins.
pub(super) fn level_of_attempt(store: &Store) -> Level {
    if store.status().consecutive_failures == 0 { Level::Info } else { Level::Debug }
}

/// Continues the record of a success with the number of failures before it.
pub(super) fn after(failures: u32) -> String {
    match failures {
        0 => String::new(),
        1 => ", after 1 failed attempt".to_owned(),
        _ => format!(", after {failures} failed attempts"),
    }
}
