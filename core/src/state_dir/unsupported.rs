//! Where this library knows no locks that it could rely on: state stays in memory.

use std::path::Path;
use std::sync::Arc;

use crate::config::Settings;
use crate::error::{Error, Result};
use crate::state::Store;
use crate::status::Role;

/// Never made.
pub(crate) enum Shared {}

impl Shared {
    pub(crate) fn join(path: &Path, _: &str, _: &Settings, _: &Arc<Store>) -> Result<(Self, Role)> {
        Err(Error::invalid_config(format!(
            "state_dir {}: state is kept on Linux only; leave the option out here",
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
