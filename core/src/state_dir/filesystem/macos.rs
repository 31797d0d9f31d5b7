//! Which file systems are refused: those that other machines may write to, because a lock in this machine's kernel does
//! not exclude them.

use rustix::fd::AsFd;

/// The kind of the file system, if other machines may write to it.
pub(super) fn remote_kind(directory: impl AsFd) -> Option<String> {
    let system = rustix::fs::fstatfs(directory).ok()?;
    if system.f_flags & libc::MNT_LOCAL.cast_unsigned() != 0 {
        return None;
    }
    let name = system.f_fstypename.iter().map(|byte| char::from(byte.cast_unsigned()));
    Some(name.take_while(|character| *character != '\0').collect())
}
