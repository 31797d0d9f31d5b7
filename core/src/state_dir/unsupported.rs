//! Systems that do not have what a state directory needs: the state stays in memory, or in a store.

use std::path::Path;
use std::sync::Arc;

use crate::config::Settings;
use crate::error::{Error, Result};
use crate::state::store::Store;
use crate::status::Role;

const SYSTEM: &str = match std::env::consts::OS.as_bytes() {
    b"macos" => "macOS",
    b"windows" => "Windows",
    _ => "this system",
};

/// Has no values.
pub(crate) enum Leadership {}

impl Leadership {
    pub(crate) fn join(path: &Path, _: &str, _: &Settings, _: &Arc<Store>) -> Result<(Self, Role)> {
        Err(Error::invalid_config(format!(
            "state_dir {}: this option works on Linux only, because it needs the /proc file system and abstract Unix \
             sockets, which {} does not have; use state_url, or leave both out to keep the state in memory",
            path.display(),
            SYSTEM,
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
