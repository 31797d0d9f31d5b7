//! Who may use a file: its owner alone, by its mode.

use std::io;

use rustix::fs::Mode;
use rustix::io::Errno;

/// What to do when the directory can be neither opened nor created, after the system's own words.
pub(super) fn remedy(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS) => {
            let me = rustix::process::geteuid().as_raw();
            format!(
                "; this process runs as user {me}, who must own the directory with mode 700, or be able to create it"
            )
        }
        Some(Errno::ROFS) => "; name a directory on a disk that can be written".into(),
        _ => String::new(),
    }
}

/// Returns what is wrong when another user owns a file, or when other users may read or write it.
pub(super) fn check(owner: u32, mode: Mode, remedy: &str) -> Result<(), String> {
    let me = rustix::process::geteuid().as_raw();
    if owner != me {
        return Err(format!("belongs to user {owner}, and this process runs as user {me}; chown it"));
    }
    if mode.intersects(Mode::RWXG | Mode::RWXO) {
        let mode = mode.as_raw_mode() & 0o777;
        return Err(format!("has mode {mode:o}, so others could get at the node secret; {remedy} it"));
    }
    Ok(())
}
