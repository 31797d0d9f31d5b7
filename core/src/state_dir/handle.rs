//! [`StateDir`]: the functions of [`crate::state`], for a state that outlives the process.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;

use super::directory::{Directory, Lock};
use crate::error::{Error, ErrorCode, Result};
use crate::fork::Generation;
use crate::secret::Secret;
use crate::state::record::{self, Owner, Record, Unusable};
use crate::state::registration_state::{RegistrationState, parse_status};
use crate::status::State;

/// A state in a directory, for programs that run the registrar themselves: the functions of this module, with the same
/// names, for a state that outlives the process and is shared between processes.
///
/// Each call reads or replaces the record in the directory. When a write returns, it has reached the disk. All methods
/// may be called from any thread, and block until the disk is done. A [`Node`](crate::node::Node) does not need this
/// type: it has the option `state_dir`, and a directory of its own.
///
/// ```
/// # fn main() -> posemesh_node_registration::error::Result<()> {
/// # let place = std::env::temp_dir().join(format!("posemesh-doc-{}", std::process::id()));
/// use posemesh_node_registration::state::{STATUS_REGISTERED, StateDir};
///
/// let state = StateDir::open(&place)?;
/// state.set_status(STATUS_REGISTERED)?;
/// state.write_node_secret("from DDS")?;
/// drop(state);
///
/// // Later, in another process:
/// let state = StateDir::open(&place)?;
/// assert_eq!(state.read_node_secret()?.as_deref(), Some("from DDS"));
/// assert_eq!(state.read_state()?.status, STATUS_REGISTERED);
/// # drop(state);
/// # std::fs::remove_dir_all(place).expect("ours");
/// # Ok(())
/// # }
/// ```
///
/// After a `fork`, every method fails with [`ErrorCode::Forked`] in the child, which may open the directory itself.
pub struct StateDir {
    directory: Directory,
    generation: Generation,
    /// Whether a [`StateDirLock`] exists. Locked while the record is read and replaced.
    locked: Mutex<bool>,
}

/// Allows one process at a time to be the registrar. Released on drop, and by the kernel however the process ends. It
/// never becomes stale.
#[must_use]
pub struct StateDirLock<'a> {
    state_dir: &'a StateDir,
}

impl fmt::Debug for StateDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateDir").field("path", &self.directory.path()).finish_non_exhaustive()
    }
}

impl fmt::Debug for StateDirLock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateDirLock").field("path", &self.state_dir.directory.path()).finish_non_exhaustive()
    }
}

impl StateDir {
    /// Opens a directory. Creates it, for this user alone, if only the last part of its path is missing.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfig`] when other users could read it, when it belongs to another user, or when it is on a
    /// network file system; [`ErrorCode::AlreadyRunning`] when this process uses it already; [`ErrorCode::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self {
            directory: Directory::open(path.as_ref())?,
            generation: Generation::current(),
            locked: Mutex::new(false),
        })
    }

    /// Takes the lock if it is free. Returns `None` if another registrar holds it, in this process or another one.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfig`] where locks do not work, [`ErrorCode::Io`].
    pub fn try_lock(&self) -> Result<Option<StateDirLock<'_>>> {
        self.check_generation()?;
        let mut locked = self.locked();
        if *locked || self.directory.try_lock()? == Lock::Theirs {
            return Ok(None);
        }
        *locked = true;
        Ok(Some(StateDirLock { state_dir: self }))
    }

    /// Reads the state.
    ///
    /// # Errors
    /// [`ErrorCode::Io`], also when the record is damaged or of a newer version. The next write renames such a record.
    pub fn read_state(&self) -> Result<RegistrationState> {
        let record = self.read()?;
        Ok(RegistrationState {
            status: record.state.name().into(),
            last_healthcheck: record.last_healthcheck,
        })
    }

    /// Replaces the state.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidArgument`] when the status is none of the three; [`ErrorCode::AlreadyRunning`] when
    /// another process holds the lock; [`ErrorCode::Io`].
    pub fn write_state(&self, st: &RegistrationState) -> Result<()> {
        let state = parse_status(&st.status)?;
        self.change(|record| {
            record.set_state(state);
            record.last_healthcheck = st.last_healthcheck;
        })
    }

    /// Sets the status.
    ///
    /// # Errors
    /// As [`write_state`](StateDir::write_state).
    pub fn set_status(&self, new_status: &str) -> Result<()> {
        let state = parse_status(new_status)?;
        self.change(|record| record.set_state(state))
    }

    /// Records that DDS has just probed the node's health.
    ///
    /// # Errors
    /// [`ErrorCode::AlreadyRunning`] when another process holds the lock; [`ErrorCode::Io`].
    pub fn touch_healthcheck_now(&self) -> Result<()> {
        self.change(|record| record.last_healthcheck = Some(Utc::now()))
    }

    /// Stores a node secret.
    ///
    /// # Errors
    /// As [`touch_healthcheck_now`](StateDir::touch_healthcheck_now).
    pub fn write_node_secret(&self, secret: &str) -> Result<()> {
        self.change(|record| {
            record.secret = Some(Arc::new(Secret::new(secret)));
            record.secret_version += 1;
        })
    }

    /// Reads the node secret. Returns `None` if there is none.
    ///
    /// # Errors
    /// As [`read_state`](StateDir::read_state).
    pub fn read_node_secret(&self) -> Result<Option<String>> {
        Ok(self.read()?.secret.map(|secret| secret.expose().to_owned()))
    }

    /// Removes the node secret.
    ///
    /// # Errors
    /// As [`touch_healthcheck_now`](StateDir::touch_healthcheck_now).
    pub fn clear_node_secret(&self) -> Result<()> {
        self.change(|record| record.secret = None)
    }

    fn check_generation(&self) -> Result<()> {
        if self.generation.is_foreign() { Err(Error::forked()) } else { Ok(()) }
    }

    fn locked(&self) -> MutexGuard<'_, bool> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<Record> {
        self.check_generation()?;
        match self.directory.read_any() {
            Ok(None) => Ok(Record::default()),
            Ok(Some(Ok((_, record)))) => Ok(record),
            Ok(Some(Err(unusable))) => Err(self.unusable(&unusable)),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Record)) -> Result<()> {
        self.check_generation()?;
        let locked = self.locked();
        if !*locked && self.directory.try_lock()? == Lock::Theirs {
            return Err(Error::new(
                ErrorCode::AlreadyRunning,
                format!(
                    "another process is the registrar of state_dir {}, and only the registrar may write",
                    self.directory.path().display()
                ),
            ));
        }
        let result = self.replace(change);
        if !*locked {
            self.directory.unlock();
        }
        result
    }

    fn replace(&self, change: impl FnOnce(&mut Record)) -> Result<()> {
        let (owner, mut record) = match self.directory.read_any() {
            Ok(None) => <(Owner, Record)>::default(),
            Ok(Some(Ok(found))) => found,
            Ok(Some(Err(unusable))) => {
                self.directory.set_aside(unusable.kind())?;
                Default::default()
            }
            Err(error) => return Err(self.failed(&error)),
        };
        change(&mut record);
        self.directory.write(0, &record::encode(&owner, &record))
    }

    fn unusable(&self, unusable: &Unusable) -> Error {
        self.failed(&io::Error::other(unusable.to_string()))
    }

    fn failed(&self, error: &io::Error) -> Error {
        let path = self.directory.path().display();
        Error::new(ErrorCode::Io, format!("state_dir {path}: the record cannot be used: {error}"))
    }
}

impl Record {
    fn set_state(&mut self, state: State) {
        self.state = state;
        match state {
            State::Disconnected => self.registration += 1,
            State::Registering => {}
            State::Registered => self.registered_at = u64::try_from(Utc::now().timestamp()).ok(),
        }
    }
}

impl Drop for StateDirLock<'_> {
    fn drop(&mut self) {
        if self.state_dir.generation.is_foreign() {
            return;
        }
        let mut locked = self.state_dir.locked();
        self.state_dir.directory.unlock();
        *locked = false;
    }
}
