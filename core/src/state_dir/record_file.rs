//! The record in a state directory: a file that is complete or absent.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::directory::{Directory, RECORD};
use crate::error::Result;
use crate::log::log;
use crate::state::record::{self, Owner, Record, Unusable};
use crate::thread::without_file_size_signal;

/// The next record, while it is being written.
const NEXT_RECORD: &str = "state.new";

/// A longer record is refused. Real ones are much shorter.
pub(super) const MAX_RECORD: usize = 1024 * 1024;

/// What the record file contains.
pub(crate) enum Found {
    Record(Box<Record>),
    Nothing,
    /// The record of another wallet, DDS or node.
    Foreign(Owner),
    Unusable(Unusable),
    Unreadable(io::Error),
}

impl Directory {
    /// Reads the record, if it belongs to this owner.
    pub(crate) fn read(&self, owner: &Owner) -> Found {
        match self.read_any() {
            Ok(None) => Found::Nothing,
            Ok(Some(Ok((found, record)))) if found.is(owner) => Found::Record(Box::new(record)),
            Ok(Some(Ok((found, _)))) => Found::Foreign(found),
            Ok(Some(Err(unusable))) => Found::Unusable(unusable),
            Err(error) => Found::Unreadable(error),
        }
    }

    /// Reads the record, of any owner.
    pub(crate) fn read_any(&self) -> io::Result<Option<std::result::Result<(Owner, Record), Unusable>>> {
        let file = match self.files().open_file(RECORD) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > MAX_RECORD as u64 {
            return Ok(Some(Err(Unusable::Damaged("it is not a state file"))));
        }
        // With capacity for all of it and for the read that finds the end, because a buffer that grows leaves copies of
        // the secret behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 64));
        file.take(metadata.len()).read_to_end(&mut bytes)?;
        Ok(Some(record::decode(&bytes)))
    }

    /// Replaces the record, and returns when it is on the disk. Only the holder of the lock may call it.
    ///
    /// `revision` counts the records of this process. One that is older than the last one is not written.
    pub(crate) fn write(&self, revision: u64, bytes: &[u8]) -> Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if revision < *written {
            return Ok(());
        }
        let next = self.write_next(bytes).map_err(|error| self.failed("write", NEXT_RECORD, &error))?;
        self.files()
            .publish(&next, NEXT_RECORD, RECORD)
            .map_err(|error| self.failed("write", RECORD, &error))?;
        *written = revision;
        Ok(())
    }

    fn write_next(&self, bytes: &[u8]) -> io::Result<File> {
        let mut file = self.files().create_file(NEXT_RECORD)?;
        without_file_size_signal(|| file.write_all(bytes))?;
        file.sync_all()?;
        Ok(file)
    }

    /// Renames a record that cannot be used, and returns its new path. Only the holder of the lock may call it.
    pub(crate) fn set_aside(&self, why: &str) -> Result<PathBuf> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let names = (0_u32..).map(|nth| match nth {
            0 => format!("{RECORD}.{why}-{now}"),
            nth => format!("{RECORD}.{why}-{now}-{nth}"),
        });
        for name in names {
            if !self.files().exists(&name) {
                self.files().rename(RECORD, &name).map_err(|error| self.failed("rename", RECORD, &error))?;
                return Ok(self.path().join(name));
            }
        }
        unreachable!("there is a free name")
    }

    /// Reads the record. Renames one that cannot be used. Only the holder of the lock may call it.
    pub(crate) fn load(&self, owner: &Owner) -> Option<Record> {
        let (kind, why) = match self.read(owner) {
            Found::Record(record) => return Some(*record),
            Found::Nothing => return None,
            Found::Foreign(other) => ("foreign", format!("it belongs to {}", other.describe())),
            Found::Unusable(unusable) => (unusable.kind(), unusable.to_string()),
            Found::Unreadable(error) => ("damaged", error.to_string()),
        };
        let path = self.path().display();
        match self.set_aside(kind) {
            Ok(aside) => log!(
                Warn,
                "state",
                "the record in {path} cannot be used: {why}; it is now {}, and the node starts without it",
                aside.display()
            ),
            Err(error) => log!(
                Warn,
                "state",
                "the record in {path} cannot be used: {why}; the node starts without it ({error})"
            ),
        }
        None
    }
}
