//! Builds the library as it ships, compiles C programs with it, and runs them with a local DDS.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use posemesh_dev_dds::{Builder, DevDds, Endpoint, Fault};

/// The warnings of a strict project.
pub(crate) const WARNINGS: &[&str] =
    &["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Werror", "-g"];

/// The system libraries that the static library needs.
const SYSTEM_LIBRARIES: &[&str] = &["-lpthread", "-ldl", "-lm"];

pub(crate) fn crate_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn include() -> PathBuf {
    crate_root().join("../include")
}

/// Which library a program is linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Link {
    Shared,
    Static,
    /// Static, with the address and undefined-behaviour sanitizers.
    Sanitized,
    /// Shared, with the feature `test-exports`.
    TestExports,
}

/// Builds the library and returns its directory. The library that `cargo test` builds is not used, because it has the
/// features of the test dependencies.
fn library_directory(features: &'static str) -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let messages = stdout(&run(Command::new(env!("CARGO"))
        .args(["build", "--package", "posemesh-node-ffi", "--message-format", "json", "--features", features])
        .env("CARGO_TARGET_DIR", temporary.join("c-abi"))
        .current_dir(crate_root())));
    // Copied, because the next build with other features overwrites them.
    let directory = temporary.join(if features.is_empty() { "c-abi-default" } else { features });
    fs::create_dir_all(&directory).expect("the temporary directory is writable");
    let artifacts = messages
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("cargo prints JSON"))
        .filter(|message| {
            message["reason"] == "compiler-artifact" && message["target"]["name"] == "posemesh_node"
        })
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default());
    for artifact in artifacts {
        let artifact = Path::new(artifact.as_str().expect("a path"));
        let to = directory.join(artifact.file_name().expect("a file"));
        // A new file, because a running program may have mapped the former one.
        let _ = fs::remove_file(&to);
        fs::copy(artifact, to).expect("the artifact can be copied");
    }
    // Programs load it by its SONAME.
    let soname = directory.join("libposemesh_node.so.1");
    let _ = fs::remove_file(&soname);
    symlink("libposemesh_node.so", soname).expect("the temporary directory is writable");
    directory
}

impl Link {
    pub(crate) fn directory(self) -> &'static Path {
        static DEFAULT: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
        let (default, test_exports) =
            DEFAULT.get_or_init(|| (library_directory(""), library_directory("test-exports")));
        if matches!(self, Link::TestExports) { test_exports } else { default }
    }

    pub(crate) fn arguments(self) -> Vec<String> {
        let directory = self.directory().display();
        let mut arguments = match self {
            Link::Shared | Link::TestExports => {
                return vec![
                    format!("-L{directory}"),
                    "-lposemesh_node".into(),
                    format!("-Wl,-rpath,{directory}"),
                ];
            }
            Link::Static => vec![],
            Link::Sanitized => {
                vec!["-fsanitize=address,undefined".into(), "-fno-sanitize-recover=all".into()]
            }
        };
        arguments.push(format!("{directory}/libposemesh_node.a"));
        arguments.extend(SYSTEM_LIBRARIES.iter().map(ToString::to_string));
        arguments
    }
}

/// Compiles a C or C++ source of this crate, once, and returns the program.
pub(crate) fn compile(source: &'static str, link: Link) -> PathBuf {
    static COMPILED: Mutex<BTreeMap<(&str, Link), PathBuf>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    compiled.entry((source, link)).or_insert_with(|| compile_now(&crate_root().join(source), link)).clone()
}

fn compile_now(source: &Path, link: Link) -> PathBuf {
    let name = format!("{}-{link:?}", source.file_stem().and_then(OsStr::to_str).expect("a file"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (compiler, standard) = match source.extension().and_then(OsStr::to_str) {
        Some("cpp") => ("g++", "-std=c++17"),
        _ => ("gcc", "-std=c11"),
    };
    run(Command::new(compiler)
        .arg(standard)
        .args(WARNINGS)
        .arg("-I")
        .arg(include())
        .arg(source)
        .arg("-o")
        .arg(&program)
        .args(link.arguments()));
    program
}

/// Ends a test that hangs. Nothing is expected to take nearly as long.
pub(crate) const GUARD: Duration = Duration::from_secs(60);

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        stdout(&output),
        stderr(&output)
    );
    output
}

pub(crate) fn output(command: &mut Command) -> Output {
    let program = command.get_program().to_owned();
    command.output().unwrap_or_else(|error| panic!("{}: {error}; is it installed?", program.display()))
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The installed compilers of a language. Clang warns about other things than GCC.
pub(crate) fn compilers(gcc: &'static str, clang: &'static str) -> Vec<&'static str> {
    let mut compilers = vec![gcc];
    compilers.extend(is_there(clang, "the headers with it").then_some(clang));
    compilers
}

/// Whether an optional tool is installed. If not, this prints what is skipped.
pub(crate) fn is_there(tool: &str, without_it: &str) -> bool {
    let installed = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !installed {
        skipped(&format!("{without_it}: {tool} is not installed"));
    }
    installed
}

/// Prints what is not tested and why, even if the test's output is captured.
pub(crate) fn skipped(what: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {what}");
}

/// A DDS that knows the URL of the program under test.
pub(crate) struct Dds {
    pub(crate) dds: DevDds,
    callback_bind: String,
}

impl Dds {
    pub(crate) fn start() -> Self {
        Self::with(DevDds::builder())
    }

    pub(crate) fn with(builder: Builder) -> Self {
        let dds = builder.start().expect("a port on loopback");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let callback_bind = free.expect("a port on loopback").to_string();
        dds.set_node_url(Some(format!("http://{callback_bind}"))).expect("a loopback URL");
        Self { dds, callback_bind }
    }

    /// Replaces the command's environment with one that configures a node for this DDS.
    pub(crate) fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("DDS_BASE_URL", self.dds.url())
            .env("REG_SECRET", "registration-credentials")
            .env("SECP256K1_PRIVHEX", "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90")
            .env("CAPABILITIES", "/example/v1")
            .env("NODE_VERSION", "1.0.0")
            .env("CALLBACK_BIND", &self.callback_bind)
    }
}

/// The number of nodes that `stress.c` starts, unless the environment overrides it.
pub(crate) fn stress_cycles(default: u32) -> u32 {
    env::var("STRESS_CYCLES").map_or(default, |cycles| cycles.parse().expect("a number"))
}

/// A DDS that mostly works, and sometimes fails, each time in another way.
pub(crate) fn failing_dds(rounds: u32) -> Dds {
    let dds = Dds::start();
    for round in 0..rounds {
        for (endpoint, shift) in [(Endpoint::Challenge, 0), (Endpoint::Register, 3), (Endpoint::Verify, 6)] {
            let fault = match (round + shift) % 10 {
                0 => Fault::status(503),
                1 => Fault::Reset,
                2 => Fault::HalfBody,
                3 => Fault::Garbage,
                4 => Fault::NotHttp,
                5 => Fault::InvalidUtf8,
                6 => Fault::status(409),
                7 => Fault::StaleNonce,
                8 => Fault::Redirect { code: 307, location: "http://127.0.0.1:1/".into() },
                _ => Fault::Delay(Duration::from_millis(30)),
            };
            dds.dds.inject(endpoint, Fault::Delay(Duration::ZERO), 4);
            dds.dds.inject(endpoint, fault, 1);
        }
    }
    dds
}

/// A program's output without the length of its token, which depends on DDS.
pub(crate) fn without_token_length(printed: &str) -> String {
    let shorten = |line: &str| match line.split_once("token of ") {
        Some((before, rest)) if rest.ends_with(" bytes") => format!("{before}token\n"),
        _ => format!("{line}\n"),
    };
    printed.lines().map(shorten).collect()
}
