//! A server in a process of its own: on loopback, in a directory of its own, killed when dropped.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::place::Place;
use super::support::GUARD;

/// Between two looks at a server that is starting.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) struct ServerProcess {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    pub(crate) place: Place,
    /// `None` while it is stopped.
    child: Option<Child>,
}

impl ServerProcess {
    /// A server that does not run yet.
    pub(crate) fn new(program: &str, place: Place, arguments: Vec<String>) -> Self {
        Self { program: program_path(program), arguments, environment: Vec::new(), place, child: None }
    }

    /// Adds an environment variable for the next start.
    pub(crate) fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// Starts it, and waits until `is_ready`. False if it ended instead, such as because its port was taken.
    pub(crate) fn try_run(&mut self, is_ready: impl Fn() -> bool) -> bool {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("ours");
        // The server also dies with the thread that started it, so a test that is killed leaves none behind.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.place.0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("ours"))
            .stderr(log)
            .spawn()
            .expect("setpriv, of util-linux");
        self.child = Some(child);
        let deadline = Instant::now() + GUARD;
        loop {
            let child = self.child.as_mut().expect("just started");
            if child.try_wait().expect("ours").is_some() {
                self.child = None;
                return false;
            }
            if is_ready() {
                return true;
            }
            assert!(Instant::now() < deadline, "{} is not ready: {}", self.program.display(), self.log());
            thread::sleep(PAUSE);
        }
    }

    pub(crate) fn run(&mut self, is_ready: impl Fn() -> bool) {
        assert!(self.try_run(is_ready), "{} has ended: {}", self.program.display(), self.log());
    }

    /// Kills it. What it keeps on the disk stays for the next run.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().expect("kill").success(), "{signal}");
    }

    /// What the server has printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.place.0.join("log")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port()
}

pub(crate) fn listens(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(1)).is_ok()
}

/// The output of a command that must end by itself.
pub(crate) fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("{:?}: {error}; tests/run installs what the tests need", command.get_program())
    })
}

/// The path of a program of the system, or of one that tests/run has installed.
pub(crate) fn program_path(name: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([tools])
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed; tests/run installs what the tests need"))
}
