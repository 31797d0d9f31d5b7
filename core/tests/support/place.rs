//! Where state is kept in a test: a directory or a file system of its own.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use posemesh_dev_dds::{Callback, DevDds};

/// A directory that goes when the test is over.
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

    /// The path of a state directory in it that is not there yet.
    pub(crate) fn state(&self) -> String {
        self.0.join("state").to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").to_string()
}

pub(crate) fn dds_that_calls_when_told() -> DevDds {
    DevDds::builder().callback(Callback::Never).start().expect("a DDS")
}

/// A file system of this test's own. Gone with it.
pub(crate) struct Mount(pub(crate) Place);

impl Mount {
    /// None, and says so, where the test may not mount.
    #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
    pub(crate) fn tmpfs(options: &str) -> Option<Self> {
        let place = Place::new();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "posemesh-test"])
            .arg(&place.0)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(place)),
            Ok(output) => {
                println!("SKIPPED: cannot mount: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                println!("SKIPPED: cannot mount: {error}");
                None
            }
        }
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
