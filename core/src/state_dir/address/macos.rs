//! Where a leader listens.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::files::Files;

/// The longest path of a socket, in bytes. With the zero at its end it fills `sun_path`.
const MAX_PATH: usize = 103;

/// The path to a file of the directory, even after the directory was renamed.
pub(super) fn path(files: &Files, name: &str) -> io::Result<PathBuf> {
    let directory = rustix::fs::getpath(files.directory())?;
    let path = PathBuf::from(OsString::from_vec(directory.into_bytes())).join(name);
    let length = path.as_os_str().len();
    if length > MAX_PATH {
        return Err(io::Error::new(
            io::ErrorKind::InvalidFilename,
            format!(
                "the path of its socket {} has {length} bytes, and macOS allows {MAX_PATH}",
                path.display()
            ),
        ));
    }
    Ok(path)
}

/// This system has no names that need no file.
pub(super) fn abstract_name(_: &Files) -> Option<PathBuf> {
    None
}
