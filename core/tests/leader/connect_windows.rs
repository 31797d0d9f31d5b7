//! Connections of a test to a leader.

#![expect(unsafe_code, reason = "the name of the pipe has what identifies the directory")]

use std::fs::{self, File};
use std::io::Read as _;
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::AsRawHandle as _;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_PIPE_BUSY};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_BACKUP_SEMANTICS, FILE_ID_INFO, FileIdInfo, GetFileInformationByHandleEx,
};

use super::support::GUARD;

pub(crate) fn connect(state: &str) -> File {
    let directory = fs::OpenOptions::new().read(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(state);
    let (directory, mut id) = (directory.expect("it is there"), FILE_ID_INFO::default());
    let size = size_of::<FILE_ID_INFO>() as u32;
    // SAFETY: it writes no more than this length to a variable that lives until it returns.
    let found = unsafe {
        GetFileInformationByHandleEx(directory.as_raw_handle(), FileIdInfo, (&raw mut id).cast(), size)
    };
    assert_ne!(found, 0, "{}", std::io::Error::last_os_error());
    let number = u128::from_le_bytes(id.FileId.Identifier);
    let name = format!(r"\\.\pipe\posemesh-node-state-{:x}-{number:x}", id.VolumeSerialNumber);
    let deadline = Instant::now() + GUARD;
    loop {
        match fs::OpenOptions::new().read(true).write(true).open(&name) {
            Ok(pipe) => return pipe,
            // Until the leader has accepted the connection before this one.
            Err(error) => {
                let code = error.raw_os_error().map(i32::cast_unsigned);
                let waits = [ERROR_PIPE_BUSY, ERROR_FILE_NOT_FOUND].map(Some).contains(&code);
                assert!(waits && Instant::now() < deadline, "{error}");
            }
        }
        thread::yield_now();
    }
}

/// Waits for the end of a connection, and returns what came before.
pub(crate) fn until_closed(mut pipe: File) -> Vec<u8> {
    let (sender, received) = channel();
    // Reading a pipe has no timeout.
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = sender.send(pipe.read_to_end(&mut bytes).map(|_| bytes));
    });
    received.recv_timeout(GUARD).expect("it is closed").expect("an end without an error")
}
