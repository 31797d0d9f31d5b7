//! Directories and file systems for the state of a test.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A directory that is removed at the end of the test.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let nth = LAST.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("posemesh-state-{}-{nth}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a directory for the test");
        Self(path)
    }

    /// The path of a state directory in it that does not exist yet.
    pub(crate) fn state(&self) -> String {
        self.0.join("state").to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes a file that others cannot read.
pub(crate) fn write_private(path: impl AsRef<Path>, bytes: &[u8]) {
    fs::write(&path, bytes).expect("ours");
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
}

pub(crate) fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").to_string()
}

/// A file system of its own for a test, unmounted at the end.
pub(crate) struct Mount(pub(crate) Place);

impl Mount {
    /// `None`, with a message, if the test may not mount.
    pub(crate) fn tmpfs(options: &str) -> Option<Self> {
        Self::of(Place::new(), &["-t", "tmpfs", "-o", options, "posemesh-test"])
    }

    /// A disk in a file, which can be frozen. `None`, with a message, if the test may not mount one.
    pub(crate) fn disk() -> Option<Self> {
        let place = Place::new();
        let image = place.0.with_extension("image");
        fs::File::create(&image).and_then(|file| file.set_len(16 << 20)).expect("a file for the test");
        let image = image.to_str().expect("UTF-8");
        let mounted = succeeds(Command::new("mke2fs").args(["-q", "-t", "ext4", image]))
            .then(|| Self::of(place, &["-o", "loop", image]));
        // The mount keeps the file open.
        let _ = fs::remove_file(image);
        mounted.flatten()
    }

    fn of(place: Place, arguments: &[&str]) -> Option<Self> {
        succeeds(Command::new("mount").args(arguments).arg(&place.0)).then_some(Self(place))
    }

    /// Every write waits until the returned value is dropped. `None`, with a message, if the test may not freeze.
    pub(crate) fn freeze(&self) -> Option<Frozen> {
        let frozen = Frozen(self.0.0.clone());
        succeeds(Command::new("fsfreeze").arg("-f").arg(&self.0.0)).then_some(frozen)
    }

    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0.0).status().expect("mount");
        assert!(status.success(), "{options}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0.0).status();
    }
}

pub(crate) struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.0).stderr(Stdio::null()).status();
    }
}

/// Whether the command succeeds; prints why if not.
#[allow(clippy::print_stdout, reason = "a test that is skipped says so")]
fn succeeds(command: &mut Command) -> bool {
    let why = match command.output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    println!("SKIPPED: {:?}: {why}", command.get_program());
    false
}
