//! The programs under measurement, and how each is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dds::Dds;

/// A program under measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Program {
    OursRust,
    OursC,
    OursPython,
    OursAsyncio,
    OursNode,
    Reference,
    ReferenceCurrentThread,
    Floors,
    FloorNode,
    Httpx,
    FastApi,
    PythonAlone,
    Viem,
    Fastify,
    NodeAlone,
}

impl Program {
    /// Whether it is there after `cargo build` alone.
    pub fn is_rust(self) -> bool {
        matches!(
            self,
            Program::OursRust | Program::Reference | Program::ReferenceCurrentThread | Program::Floors
        )
    }
}

/// Where everything was built and installed to; see `run`.
pub struct Programs {
    /// Cargo's folder for our own peer, which is built as the library ships.
    pub ours: PathBuf,
    /// Cargo's folder for the others in Rust.
    pub built: PathBuf,
    /// Everything that is not Rust.
    pub installed: PathBuf,
    /// `peers`, with the scripts.
    pub peers: PathBuf,
}

/// A private key of no value.
const KEY: &str = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90";

impl Programs {
    /// The command that runs a program against this DDS. Of the environment it gets nothing else.
    pub fn command(&self, program: Program, dds: &Dds) -> Command {
        let mut command = match program {
            Program::OursRust => Command::new(self.ours.join("peer-ours")),
            Program::OursC => Command::new(self.installed.join("peer-c")),
            Program::Reference => Command::new(self.built.join("peer-predecessor")),
            Program::ReferenceCurrentThread => {
                let mut command = Command::new(self.built.join("peer-predecessor"));
                command.arg("current-thread");
                command
            }
            Program::Floors => Command::new(self.built.join("peer-floors")),
            Program::FloorNode => self.node("floor.mjs"),
            Program::OursPython => self.python("ours.py"),
            Program::OursAsyncio => self.python("ours_asyncio.py"),
            Program::Httpx => self.python("httpx_client.py"),
            Program::FastApi => self.python("fastapi_server.py"),
            Program::PythonAlone => {
                let mut command = Command::new(self.installed.join("python/bin/python"));
                command.args(["-c", "pass"]);
                command
            }
            Program::OursNode => self.node("ours.mjs"),
            Program::Viem => self.node("viem.mjs"),
            Program::Fastify => self.node("fastify.mjs"),
            Program::NodeAlone => {
                let mut command = Command::new("node");
                command.arg(self.installed.join("node/empty.mjs"));
                command
            }
        };
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DDS_BASE_URL", dds.url())
            .env("SECP256K1_PRIVHEX", KEY)
            // Of the console's shape: base64("01234567-89ab-cdef-0123-456789abcdef:secret").
            .env("REG_SECRET", "MDEyMzQ1NjctODlhYi1jZGVmLTAxMjMtNDU2Nzg5YWJjZGVmOnNlY3JldA==")
            .env("CAPABILITIES", "/example/v1")
            .env("NODE_VERSION", "1.0.0");
        command
    }

    /// The same command, run by Valgrind, which writes to `log` how many instructions it has executed.
    pub fn counted(&self, program: Program, dds: &Dds, log: &Path) -> Command {
        let command = self.command(program, dds);
        let mut counted = Command::new("valgrind");
        counted
            .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
            .arg(format!("--log-file={}", log.display()))
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        counted
    }

    fn python(&self, script: &str) -> Command {
        let mut command = Command::new(self.installed.join("python/bin/python"));
        command.arg(self.peers.join("python").join(script));
        command
    }

    /// The scripts are copied next to the packages that they import.
    fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.installed.join("node").join(script));
        command
    }

    pub fn artefact(&self, name: &str) -> PathBuf {
        Path::new(&self.installed).join("artefacts").join(name)
    }
}
