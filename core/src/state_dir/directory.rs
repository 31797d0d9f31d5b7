//! A state directory: who may use it, and access to its files.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::files::{Files, Identity};
use crate::error::{Error, ErrorCode, Result};
use crate::fork::{Generation, PerProcess};

/// The file with the record.
pub(super) const RECORD: &str = "state";

/// Which process holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// This one.
    Ours,
    /// Another one.
    Theirs,
}

pub(crate) struct Directory {
    /// The revision of the last record written. An older one must not replace it.
    pub(super) written: Mutex<u64>,
    generation: Generation,
    /// Taken only by `drop`.
    open: Option<Open>,
}

struct Open {
    files: Files,
    /// Released after the lock.
    _claim: Claim,
}

impl Directory {
    /// Opens the directory. Creates it if only the last part of its path is missing.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let files = Files::open(path)?;
        let claim = Claim::new(files.identity(), files.path())?;
        let opened = Self {
            written: Mutex::default(),
            generation: Generation::current(),
            open: Some(Open { files, _claim: claim }),
        };
        opened.check_file(RECORD)?;
        Ok(opened)
    }

    /// For messages: where it was at the start.
    pub(crate) fn path(&self) -> &Path {
        self.files().path()
    }

    pub(super) fn files(&self) -> &Files {
        &self.open.as_ref().expect("only drop takes it").files
    }

    fn shown(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    pub(super) fn failed(&self, what: &str, name: &str, error: &io::Error) -> Error {
        Error::new(ErrorCode::Io, format!("state_dir: cannot {what} {}: {error}", self.shown(name)))
            .with_os_error(error)
    }

    /// Refuses an existing file that other users could have read or written.
    fn check_file(&self, name: &str) -> Result<()> {
        let checked = self.files().check(name).map_err(|error| self.failed("examine", name, &error))?;
        checked.map_err(|why| Error::invalid_config(format!("state_dir: {} {why}", self.shown(name))))
    }

    /// Takes the lock if it is free. A second call of the holder changes nothing.
    pub(crate) fn try_lock(&self) -> Result<Lock> {
        match self.files().try_lock() {
            Ok(true) => Ok(Lock::Ours),
            Ok(false) => Ok(Lock::Theirs),
            Err(error) => Err(Error::invalid_config(format!(
                "state_dir {}: locks do not work there ({error}); name a directory on a disk of this machine",
                self.path().display()
            ))),
        }
    }

    pub(crate) fn unlock(&self) {
        self.files().unlock();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.generation.is_foreign() {
            // The lock belongs to the parent, and the file descriptor may refer to another file here.
            std::mem::forget(self.open.take());
        } else {
            self.unlock();
        }
    }
}

/// The directories that this process uses.
static IN_USE: PerProcess<Mutex<BTreeSet<Identity>>> = PerProcess::new();

/// Marks a directory as in use by this process.
struct Claim(Identity);

impl Claim {
    fn new(directory: Identity, path: &Path) -> Result<Self> {
        let mut claimed = IN_USE.get().lock().unwrap_or_else(PoisonError::into_inner);
        if !claimed.insert(directory) {
            return Err(Error::new(
                ErrorCode::AlreadyRunning,
                format!(
                    "state_dir {} is already in use in this process; give each node a directory of its own",
                    path.display()
                ),
            ));
        }
        Ok(Self(directory))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        IN_USE.get().lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}
