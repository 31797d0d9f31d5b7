//! Reading of files that a user names in an option.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// Reads a regular file of at most `max` bytes. The error is the rest of a sentence that begins with "which" or with
/// the file's name.
///
/// It never blocks on a named pipe and never reads a device. It follows symbolic links, because Kubernetes mounts
/// secrets as symbolic links.
pub(crate) fn read_regular(path: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    // Checked before it is opened, because opening some devices has side effects, and again afterwards, because the
    // file may have been replaced in between.
    check_regular(&fs::metadata(path).map_err(unreadable)?)?;
    let file = open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    check_regular(&metadata)?;
    let too_large = || format!("is larger than {max} bytes");
    if metadata.len() > max {
        return Err(too_large());
    }
    // Enough for the whole file and for the read that finds its end. A buffer that grows leaves copies behind.
    let capacity = usize::try_from(metadata.len()).map_err(|_| too_large())? + 64;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > max {
        return Err(too_large());
    }
    Ok(bytes)
}

fn check_regular(metadata: &Metadata) -> Result<(), String> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(format!("is {}, not a regular file", kind(metadata)))
}

#[cfg(unix)]
fn kind(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = metadata.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn kind(metadata: &Metadata) -> &'static str {
    if metadata.is_dir() { "a directory" } else { "something else" }
}

/// Does not wait: a named pipe may have replaced the file that was checked.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}
