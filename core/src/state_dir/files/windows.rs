//! An open directory, and access to its files.
//!
//! As long as it is open, Windows renames and removes neither the directory nor one above it, so its path stays good.

#![expect(unsafe_code, reason = "to create files with an access list, and the identity of a directory")]

use std::fs;
use std::io;
use std::os::windows::ffi::OsStrExt as _;
use std::os::windows::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _};
use std::path::{Path, PathBuf};
use std::ptr;
use std::thread;
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, GENERIC_READ, GENERIC_WRITE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CREATE_NEW, CreateDirectoryW, CreateFileW, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_ID_INFO,
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, FileIdInfo, GetFileInformationByHandleEx,
    OPEN_ALWAYS,
};

use super::access::{self, Private};
use super::filesystem::remote_kind;
use super::lock::LockFile;
use crate::error::{Error, ErrorCode, Result};

/// The file with the lock. It is empty, and stays.
const LOCK: &str = "lock";

/// The pauses between tries to rename a file, in milliseconds.
const RENAME_PAUSES: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

/// The serial number of the volume, and the number of the directory on it.
pub(super) type Identity = (u64, u128);

pub(super) struct Files {
    lock: LockFile,
    identity: Identity,
    /// As the system names it: `\\?\C:\…`.
    root: PathBuf,
    /// As people name it.
    path: PathBuf,
    _directory: fs::File,
}

impl Files {
    /// Opens the directory. Creates it if only the last part of its path is missing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let refused = |what: &str| Error::invalid_config(format!("state_dir {shown}: {what}"));
        let failed = |what: &str, error: &io::Error| {
            Error::new(ErrorCode::Io, format!("state_dir {shown}: {what}: {error}")).with_os_error(error)
        };
        let absolute = std::path::absolute(path).map_err(|error| failed("is no path", &error))?;
        make(&absolute).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refused("its parent directory does not exist; create that one first"),
            _ => failed("cannot be created", &error),
        })?;
        let examined = |error: io::Error| failed("cannot be examined", &error);
        let root = fs::canonicalize(&absolute).map_err(examined)?;
        let directory = fs::OpenOptions::new()
            .read(true)
            // Not shared for deletion, so it can be neither renamed nor removed.
            .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
            .open(&root)
            .map_err(|error| failed("cannot be opened", &error))?;
        if !directory.metadata().map_err(examined)?.is_dir() {
            return Err(refused("is not a directory"));
        }
        if let Some(kind) = remote_kind(&root) {
            return Err(refused(&format!(
                "is on {kind}, and processes on other machines could not reach their leader; name a directory on \
                 a disk of this machine"
            )));
        }
        access::check_file(&directory).map_err(examined)?.map_err(|why| {
            refused(&format!(
                "{why}; name a subdirectory that does not exist yet (it is created for this user alone)"
            ))
        })?;
        let identity = identity(&directory).map_err(examined)?;
        let lock = create(
            &root.join(LOCK),
            GENERIC_READ | GENERIC_WRITE,
            FILE_SHARE_READ | FILE_SHARE_WRITE,
            OPEN_ALWAYS,
        )
        .map_err(|error| failed("cannot open the file with its lock", &error))?;
        Ok(Self { lock: LockFile::new(lock), identity, root, path: absolute, _directory: directory })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Takes the lock if it is free. True if this process holds it then; a second call of the holder changes nothing.
    pub(super) fn try_lock(&self) -> io::Result<bool> {
        self.lock.try_lock()
    }

    pub(super) fn unlock(&self) {
        self.lock.unlock();
    }

    /// What is wrong with an existing file that other users could have read or written.
    pub(super) fn check(&self, name: &str) -> io::Result<std::result::Result<(), String>> {
        match self.open_with(name) {
            Ok(file) if !is_regular(&file)? => Ok(Err("is not a regular file; remove it".into())),
            Ok(file) => Ok(access::check_file(&file)?.map_err(|why| format!("{why}; remove it"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ok(())),
            Err(error) => Err(error),
        }
    }

    /// Opens a file for reading. Refuses one that other users could have written.
    pub(super) fn open_file(&self, name: &str) -> io::Result<fs::File> {
        let file = self.open_with(name)?;
        access::check_file(&file)?.map_err(io::Error::other)?;
        Ok(file)
    }

    fn open_with(&self, name: &str) -> io::Result<fs::File> {
        // A link itself, not what it refers to. Without BACKUP_SEMANTICS a directory cannot be opened.
        let flags = FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS;
        fs::OpenOptions::new().read(true).custom_flags(flags).open(self.root.join(name))
    }

    /// Creates a file, in place of an existing one, which may be a link to another file.
    pub(super) fn create_file(&self, name: &str) -> io::Result<fs::File> {
        match fs::remove_file(self.root.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // With DELETE, so that it can be renamed while it is open.
        let share = FILE_SHARE_READ | FILE_SHARE_DELETE;
        create(&self.root.join(name), GENERIC_WRITE, share, CREATE_NEW)
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        self.root.join(name).symlink_metadata().is_ok()
    }

    /// Another program, such as a virus scanner, may have one of the files open for a moment, so a few tries follow the
    /// first one.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.root.join(from), self.root.join(to));
        for pause in RENAME_PAUSES {
            match fs::rename(&from, &to) {
                Err(error) if is_in_use(&error) => thread::sleep(Duration::from_millis(pause)),
                renamed => return renamed,
            }
        }
        fs::rename(from, to)
    }

    /// Renames a file that was written, and returns when that is on the disk.
    pub(super) fn publish(&self, written: &fs::File, from: &str, to: &str) -> io::Result<()> {
        self.rename(from, to)?;
        // Its name is part of what is flushed.
        written.sync_all()
    }
}

fn is_in_use(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(i32::cast_unsigned);
    [ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION].map(Some).contains(&code)
}

fn is_regular(file: &fs::File) -> io::Result<bool> {
    let attributes = file.metadata()?.file_attributes();
    Ok(attributes & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT) == 0)
}

/// Creates the directory for this user alone, if it does not exist.
fn make(path: &Path) -> io::Result<()> {
    match (path.parent(), path.file_name()) {
        // Windows creates no directory with a long path, unless it is in this form.
        (Some(parent), Some(name)) => {
            make_with(&fs::canonicalize(parent)?.join(name), &Private::directory()?)
        }
        _ => Ok(()),
    }
}

fn make_with(path: &Path, access: &Private) -> io::Result<()> {
    let attributes = access.attributes();
    // SAFETY: the path ends with a zero, and both live until it returns.
    match unsafe { CreateDirectoryW(wide(path).as_ptr(), attributes.as_ptr()) } {
        0 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            error => Err(error),
        },
        _ => Ok(()),
    }
}

/// Opens or creates a file, for this user alone if it is new.
fn create(path: &Path, access: u32, share: u32, disposition: u32) -> io::Result<fs::File> {
    let private = Private::file()?;
    let attributes = private.attributes();
    // SAFETY: the path ends with a zero, and both live until it returns.
    let file = unsafe {
        CreateFileW(
            wide(path).as_ptr(),
            access,
            share,
            attributes.as_ptr(),
            disposition,
            FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT,
            ptr::null_mut(),
        )
    };
    if file == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened above, and nothing else closes it.
    Ok(unsafe { fs::File::from_raw_handle(file) })
}

/// As Windows takes a path.
fn wide(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

fn identity(directory: &fs::File) -> io::Result<Identity> {
    let mut id = FILE_ID_INFO::default();
    // SAFETY: it writes no more than this length to a variable that lives until it returns.
    let found = unsafe {
        GetFileInformationByHandleEx(
            directory.as_raw_handle(),
            FileIdInfo,
            (&raw mut id).cast(),
            size_of::<FILE_ID_INFO>() as u32,
        )
    };
    match found {
        0 => Err(io::Error::last_os_error()),
        _ => Ok((id.VolumeSerialNumber, u128::from_le_bytes(id.FileId.Identifier))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that is removed at the end of the test.
    struct Place(PathBuf);

    impl Place {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("posemesh-{test}-{}", std::process::id()));
            fs::create_dir(&path).expect("a directory for the test");
            Self(path)
        }

        fn state(&self) -> PathBuf {
            self.0.join("state")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn refusal(path: &Path) -> String {
        let error = Files::open(path).err().expect("refused");
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        error.message().to_owned()
    }

    #[test]
    fn what_it_creates_is_for_this_user_alone() {
        let place = Place::new("private");
        let files = Files::open(&place.state()).expect("created");
        drop(files.create_file("state").expect("created"));
        files.open_file("state").expect("private");
        assert_eq!(files.check("state").expect("examined"), Ok(()));
        drop(files);
        Files::open(&place.state()).expect("still private");
    }

    #[test]
    fn what_others_may_use_is_refused() {
        let place = Place::new("open");
        let everybody = Private::of("D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;OW)(A;OICI;FR;;;WD)").expect("a list");
        make_with(&place.state(), &everybody).expect("created");
        let refused = refusal(&place.state());
        assert!(refused.contains("S-1-1-0") && refused.contains("does not exist yet"), "{refused}");
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let place = Place::new("none");
        assert!(refusal(&place.state().join("below")).contains("its parent directory does not exist"));
        fs::write(place.state(), "").expect("a file");
        assert!(refusal(&place.state()).contains("is not a directory"));
    }

    fn publish(files: &Files, text: &str) {
        use std::io::Write as _;
        let mut next = files.create_file("next").expect("created");
        next.write_all(text.as_bytes()).expect("written");
        files.publish(&next, "next", "state").expect("published");
    }

    fn published(files: &Files) -> String {
        io::read_to_string(files.open_file("state").expect("private")).expect("text")
    }

    #[test]
    fn a_file_is_replaced_and_the_directory_stays() {
        let place = Place::new("replaced");
        let files = Files::open(&place.state()).expect("created");
        for text in ["first", "second"] {
            publish(&files, text);
            assert_eq!(published(&files), text);
        }
        assert!(!files.exists("next"));
        fs::rename(place.state(), place.0.join("elsewhere")).expect_err("it is in use");
    }

    #[test]
    fn a_file_is_replaced_while_it_is_read() {
        let place = Place::new("read");
        let files = Files::open(&place.state()).expect("created");
        publish(&files, "first");
        let reader = files.open_file("state").expect("private");
        publish(&files, "second");
        assert_eq!(io::read_to_string(reader).expect("text"), "first");
        assert_eq!(published(&files), "second");
    }

    #[test]
    fn one_of_two_has_the_lock() {
        let place = Place::new("lock");
        let [first, second] = [0; 2].map(|_| Files::open(&place.state()).expect("opened"));
        assert_eq!(first.identity(), second.identity());
        let lock = |files: &Files| files.try_lock().expect("it works");
        assert!(lock(&first) && lock(&first) && !lock(&second));
        first.unlock();
        assert!(lock(&second) && !lock(&first));
        drop(second);
        assert!(lock(&first));
    }
}
