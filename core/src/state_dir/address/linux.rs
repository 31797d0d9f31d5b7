//! Where a leader listens.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use super::files::Files;

/// A short path to a file of the directory, even after the directory was renamed. Not `self`, which is the main thread
/// and may have ended.
pub(super) fn path(files: &Files, name: &str) -> io::Result<PathBuf> {
    Ok(format!("/proc/thread-self/fd/{}/{name}", files.directory().as_raw_fd()).into())
}

/// A name that needs no file, in the form that tokio expects.
pub(super) fn abstract_name(files: &Files) -> Option<PathBuf> {
    let (device, inode) = files.identity();
    Some(format!("\0posemesh-node-state/{device:x}/{inode:x}").into())
}
