//! The named pipe through which followers reach their leader: every process of this user on this machine, also while the
//! disk is full or read-only.
//!
//! Its name follows from the directory. All connections to a pipe are protected by the owner and the access list that it
//! was created with. So either end refuses a pipe that does not belong to this user, before it sends anything: another user
//! who has taken the name keeps followers from their leader, and learns nothing. Who serves a pipe may learn who connects
//! to it, and cannot act as that user.
//!
//! A leader does not insist on a new pipe, because a stopped follower may hold that of the former leader.

#![expect(unsafe_code, reason = "to create a pipe with an access list")]

use std::io;
use std::os::windows::io::AsHandle;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient, NamedPipeServer, ServerOptions};
use windows_sys::Win32::Storage::FileSystem::SECURITY_IDENTIFICATION;

use super::access::{self, Private};
use super::directory::Directory;

/// The end of a connection that has accepted it.
pub(super) type Accepted = NamedPipeServer;
/// The end of a connection that has connected.
pub(super) type Connected = NamedPipeClient;

/// Either of them.
pub(super) trait Socket: AsHandle + AsyncRead + AsyncWrite + Sized {
    /// Refuses a pipe of another user. A pipe of this user admits no other one.
    fn check_peer(&self, _: &Directory) -> io::Result<()> {
        access::check_pipe(self)
    }
}

impl Socket for Accepted {}
impl Socket for Connected {}

fn name(directory: &Directory) -> String {
    let (volume, number) = directory.files().identity();
    format!(r"\\.\pipe\posemesh-node-state-{volume:x}-{number:x}")
}

/// The name of a pipe is never too long.
pub(super) fn check_address(_: &Directory) -> io::Result<()> {
    Ok(())
}

/// Connects to the leader.
pub(super) async fn connect(directory: &Directory) -> io::Result<Connected> {
    open(&name(directory))
}

fn open(name: &str) -> io::Result<Connected> {
    ClientOptions::new().security_qos_flags(SECURITY_IDENTIFICATION).open(name)
}

pub(super) struct Listener {
    name: String,
    /// The pipe instance for the next connection. One always exists, so that no other process can take the name.
    next: NamedPipeServer,
}

impl Listener {
    /// Listens on the pipe. Call it within the runtime.
    pub(super) fn without_file(directory: &Directory) -> Option<io::Result<Self>> {
        let name = name(directory);
        Some(create(&name).map(|next| Self { name, next }))
    }

    /// Cancel-safe.
    pub(super) async fn accept(&mut self) -> io::Result<Accepted> {
        self.next.connect().await?;
        // If this fails, the connection waits until it succeeds.
        Ok(std::mem::replace(&mut self.next, create(&self.name)?))
    }
}

/// Creates one more end of the pipe.
fn create(name: &str) -> io::Result<NamedPipeServer> {
    let pipe = create_with(name, &Private::file()?)?;
    // It may be one more end of a pipe that another user has created.
    access::check_pipe(&pipe)?;
    Ok(pipe)
}

fn create_with(name: &str, access: &Private) -> io::Result<NamedPipeServer> {
    let attributes = access.attributes();
    let mut options = ServerOptions::new();
    options.reject_remote_clients(true);
    // SAFETY: the attributes are valid, and only read, until it returns.
    unsafe { options.create_with_security_attributes_raw(name, attributes.as_ptr().cast_mut().cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn at_once<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(future)
    }

    fn own_name(test: &str) -> String {
        format!(r"\\.\pipe\posemesh-node-{test}-{}", std::process::id())
    }

    #[test]
    fn followers_connect_one_after_the_other() {
        at_once(async {
            let name = own_name("connect");
            let mut listener = Listener { next: create(&name).expect("created"), name: name.clone() };
            for nth in 0..3_u8 {
                let mut follower = open(&name).expect("connected");
                access::check_pipe(&follower).expect("ours");
                let mut leader = listener.accept().await.expect("accepted");
                follower.write_all(&[nth]).await.expect("sent");
                assert_eq!(leader.read_u8().await.expect("received"), nth);
                drop(leader);
                assert_eq!(follower.read(&mut [0]).await.expect("the end"), 0);
            }
        });
    }

    #[test]
    fn others_may_not_use_the_pipe() {
        at_once(async {
            let name = own_name("private");
            let pipe = create(&name).expect("created");
            assert_eq!(access::check_file(&pipe).expect("examined"), Ok(()));
        });
    }

    #[test]
    #[allow(clippy::print_stdout, reason = "a test that is skipped says so")]
    fn the_pipe_of_another_user_is_refused_at_either_end() {
        at_once(async {
            let name = own_name("foreign");
            let access = Private::of("O:BAD:(A;;FA;;;WD)").expect("a list");
            let Ok(_pipe) = create_with(&name, &access) else {
                println!("SKIPPED: only an administrator may give a pipe another owner");
                return;
            };
            let refused =
                |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            refused(create(&name).expect_err("not ours"));
            refused(access::check_pipe(&open(&name).expect("connected")).expect_err("not ours"));
        });
    }
}
