//! Which file systems are refused: those of other machines, because they may be out of reach, and because what protects
//! a file there is decided there.

#![expect(unsafe_code, reason = "the kind of a drive has no interface in the standard library")]

use std::path::{Component, Path, Prefix};

use windows_sys::Win32::Storage::FileSystem::GetDriveTypeW;
use windows_sys::Win32::System::WindowsProgramming::DRIVE_REMOTE;

/// The kind of the file system, if it is on another machine. The path must be canonical.
pub(super) fn remote_kind(path: &Path) -> Option<String> {
    let Some(Component::Prefix(prefix)) = path.components().next() else { return None };
    match prefix.kind() {
        Prefix::VerbatimUNC(..) | Prefix::UNC(..) => Some("a network share".into()),
        Prefix::VerbatimDisk(letter) | Prefix::Disk(letter) => {
            let root = [letter, b':', b'\\', 0].map(u16::from);
            // SAFETY: it is a text that ends with a zero.
            let kind = unsafe { GetDriveTypeW(root.as_ptr()) };
            (kind == DRIVE_REMOTE).then(|| "a network drive".into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_refused_and_a_disk_of_this_machine_is_not() {
        for share in [r"\\server\share\state", r"\\?\UNC\server\share\state"] {
            assert_eq!(remote_kind(Path::new(share)).as_deref(), Some("a network share"));
        }
        let disk = std::env::temp_dir().canonicalize().expect("it exists");
        assert_eq!(remote_kind(&disk), None);
    }
}
