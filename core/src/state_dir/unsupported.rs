//! Systems on which this library has no reliable locks: the state stays in memory.

use std::path::Path;
use std::sync::Arc;

use crate::config::Settings;
use crate::error::{Error, Result};
use crate::state::store::Store;
use crate::status::Role;

/// Has no values.
pub(crate) enum Leadership {}

impl Leadership {
    pub(crate) fn join(path: &Path, _: &str, _: &Settings, _: &Arc<Store>) -> Result<(Self, Role)> {
        Err(Error::invalid_config(format!(
            "state_dir {}: this option works on Linux only; leave it out here",
            path.display()
        )))
    }

    pub(crate) fn announce(&mut self) {
        match *self {}
    }

    pub(crate) async fn follow(&mut self) {
        match *self {}
    }

    pub(crate) async fn lead(&mut self) {
        match *self {}
    }

    pub(crate) async fn close(self) {
        match self {}
    }
}
