//! The README: its examples and commands run, and its option table matches the library.
// Its commands are for a Unix shell.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use posemesh_dev_dds::{DevDds, Endpoint, Fault};
use posemesh_node_registration::config::{Config, OPTIONS};
use posemesh_node_registration::node::{Node, Wait};
use posemesh_node_registration::state;
use tokio::net::TcpListener;

mod routes {
    include!("readme/routes.rs");

    pub(crate) fn app() -> Router {
        build_app()
    }
}

mod registration {
    include!("readme/registration.rs");

    pub(crate) async fn spawn(dds_base_url: String) {
        let config = RegistrationConfig { dds_base_url, ..build_registration_config() };
        spawn_registration(config).await;
    }
}

mod token {
    include!("readme/token.rs");

    pub(crate) fn run(node: &Node, service: impl Fn(&str) -> u16) -> Result<u16> {
        ask(node, service)
    }
}

mod mounted {
    include!("readme/mounted.rs");

    pub(crate) fn routes(node: &Node) -> Router {
        app(node)
    }
}

const README: &str = include_str!("../../README.md");
const EXAMPLE_KEY: &str = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90";
const GUARD: Duration = Duration::from_secs(60);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn it_shows_the_tested_examples() {
    for example in [
        include_str!("readme/routes.rs"),
        include_str!("readme/registration.rs"),
        include_str!("readme/token.rs"),
        include_str!("readme/mounted.rs"),
    ] {
        assert!(
            README.contains(&format!("```rust\n{example}```\n")),
            "not in the README as it is:\n{example}"
        );
    }
}

#[test]
fn its_addresses_of_stores_are_good() {
    let urls: Vec<_> = README.lines().filter_map(|line| line.strip_prefix("STATE_URL=")).collect();
    assert_eq!(urls.len(), 3);
    for url in urls {
        Config::new().set("state_url", url).unwrap_or_else(|error| panic!("{url}: {error}"));
    }
}

#[test]
fn the_node_example_runs() {
    let example = include_str!("../examples/node.rs");
    let shown = &example[example.find("use std").unwrap()..];
    assert!(
        README.contains(&format!("```rust,no_run\n{shown}```\n")),
        "not in the README as it is:\n{shown}"
    );

    let dds = DevDds::start().unwrap();
    let shown = run_example("node", &dds, &[]);
    let expected = "registered as 0xfdbb6caf01414300c16ea14859fec7736d95355f\naccess token\n";
    assert_eq!(without_token_length(&shown), expected);
    assert_eq!(dds.nodes()[0].capabilities, ["/example/v1", "/example/v2"]);
}

#[test]
fn the_node_example_shows_failed_attempts() {
    let dds = DevDds::start().unwrap();
    let refusal = Fault::Status { code: 503, retry_after: Some("1".into()), body: b"in maintenance".into() };
    dds.inject(Endpoint::Register, refusal, 1);
    let run = example("node", &dds).output().unwrap();
    let shown = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success(), "{shown}");
    assert!(shown.contains("in maintenance; next attempt in "), "{shown}");
}

#[test]
fn the_callback_example_runs() {
    let example = include_str!("../examples/callback.rs");
    let shown = &example[example.find("use std").unwrap()..];
    assert!(
        README.contains(&format!("```rust,no_run\n{shown}```\n")),
        "not in the README as it is:\n{shown}"
    );

    let dds = DevDds::start().unwrap();
    let callback = free_address();
    dds.set_node_url(Some(format!("http://{callback}"))).unwrap();
    let shown = run_example("callback", &dds, &[("CALLBACK_BIND", &callback.to_string())]);
    assert_eq!(shown, "node secret of 43 bytes\n");
}

/// An example that is configured by the environment.
fn example(name: &str, dds: &DevDds) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["run", "--quiet", "--package", "posemesh-node-registration", "--example", name, "--"])
        .current_dir(root())
        .env("DDS_BASE_URL", dds.url())
        .env("REG_SECRET", "credentials")
        .env("SECP256K1_PRIVHEX", EXAMPLE_KEY);
    command
}

/// Runs an example, and returns its output.
fn run_example(name: &str, dds: &DevDds, environment: &[(&str, &str)]) -> String {
    let run = example(name, dds).envs(environment.iter().copied()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

/// A free loopback address.
fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Both examples of the predecessor's README in one program: the node registers, and DDS calls it back.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test has threads to spare")]
fn the_examples_run() {
    const KEY: &str = "SECP256K1_PRIVHEX";
    if std::env::var_os(KEY).is_none() {
        // The example reads its key from the environment, which only a new process gets safely.
        let run = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_examples_run", "--nocapture"])
            .env(KEY, EXAMPLE_KEY)
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        return;
    }
    // The example's reqwest has no default features. It needs no TLS provider, because this crate turns none on.
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    let dds = DevDds::start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (dds, registered) = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        dds.set_node_url(Some(format!("http://{}", listener.local_addr().unwrap()))).unwrap();
        tokio::spawn(serve(listener, routes::app()));
        registration::spawn(dds.url()).await;
        let called_back = |dds: &DevDds| {
            dds.last_secret().is_some() && state::read_node_secret().unwrap() == dds.last_secret()
        };
        tokio::task::spawn_blocking(move || {
            let registered = dds.wait_for_requests(Endpoint::Register, 1, GUARD);
            // The secret is in the state a moment after DDS has sent it.
            let deadline = std::time::Instant::now() + GUARD;
            while !called_back(&dds) && std::time::Instant::now() < deadline {
                std::thread::yield_now();
            }
            assert!(called_back(&dds));
            (dds, registered)
        })
        .await
        .unwrap()
    });
    assert!(registered);
    assert_eq!(state::read_state().unwrap().status, state::STATUS_REGISTERED);
    assert_eq!(dds.nodes()[0].version, "1.0.0");
}

async fn serve(listener: TcpListener, app: Router) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// A service accepts the token or, after DDS has lost the node, the next one.
#[test]
fn the_token_example_runs() {
    let dds = DevDds::start().unwrap();
    let mut config = Config::new();
    for (name, value) in [
        ("dds_base_url", dds.url().as_str()),
        ("reg_secret", "credentials"),
        ("secp256k1_privhex", EXAMPLE_KEY),
        ("node_version", "1.0.0"),
        ("capabilities", "/example/v1"),
    ] {
        config.set(name, value).unwrap();
    }
    let node = Node::start(&config).unwrap();
    let service = |token: &str| if dds.token_is_good(token) { 200 } else { 401 };
    for registrations in 1..=2 {
        assert_eq!(token::run(&node, service), Ok(200));
        assert_eq!(dds.requests_to(Endpoint::Register).len(), registrations);
        dds.forget_all();
    }
}

#[test]
fn the_example_of_an_own_web_server_receives_the_secret() {
    let dds = DevDds::start().unwrap();
    let mut config = Config::new();
    for (name, value) in [
        ("dds_base_url", dds.url().as_str()),
        ("reg_secret", "credentials"),
        ("secp256k1_privhex", EXAMPLE_KEY),
        ("capabilities", "/example/v1"),
        ("node_version", "1.0.0"),
    ] {
        config.set(name, value).unwrap();
    }
    let node = Node::start(&config).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    dds.set_node_url(Some(format!("http://{}", listener.local_addr().unwrap()))).unwrap();
    let app = mounted::routes(&node);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { serve(TcpListener::from_std(listener).unwrap(), app).await });
    });
    node.wait(Wait::Secret, Some(GUARD)).unwrap();
    node.stop(GUARD).unwrap();
}

#[test]
fn the_program_of_an_own_web_server_is_called_back_and_shows_its_metrics() {
    let dds = DevDds::start().unwrap();
    // On Unix, cargo becomes the program.
    let mut program = example("own_server", &dds).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
    let first = BufReader::new(program.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let address = first.strip_prefix("listening at ").unwrap();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    };
    dds.set_node_url(Some(format!("http://{address}"))).unwrap();
    assert!(dds.wait_for(GUARD, |dds| !dds.nodes().is_empty()), "it registers");
    assert_eq!(dds.call_back().unwrap().status, 200);
    assert!(get("/readyz").starts_with("HTTP/1.1 200 "));
    let metrics = get("/metrics");
    assert!(metrics.contains(posemesh_node_registration::metrics::CONTENT_TYPE), "{metrics}");
    assert!(metrics.contains("\nposemesh_node_has_secret 1\n"), "{metrics}");
    assert!(get("/health").starts_with("HTTP/1.1 404 "));
    program.kill().unwrap();
    program.wait().unwrap();
}

/// Runs the first command of the README, and watches the parked node for a moment.
#[test]
fn the_quickstart_command_runs() {
    let command = README
        .lines()
        .find(|line| line.starts_with("cargo run") && line.contains("quickstart"))
        .and_then(|line| line.split('#').next())
        .unwrap()
        .trim();
    let run = Command::new("sh")
        .args(["-c", &format!("{command} -- --parked 2")])
        .current_dir(root())
        .output()
        .unwrap();
    let shown = String::from_utf8(run.stdout).unwrap();
    println!("{shown}");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    // The program's own lines are in order; log records arrive when the dispatcher delivers them.
    let mut rest = shown.as_str();
    for step in [
        "registered as 0x",
        "a request to a service with the access token: 200",
        "parked for 2 s: 0 context switches in posemesh-",
        "DDS has lost the node; the same request: 401",
        "registered again, with a new token: 200",
        "stopped; threads of the library left: 0",
    ] {
        let at = rest.find(step).unwrap_or_else(|| panic!("{step:?} is missing after the steps before it"));
        rest = &rest[at..];
    }
    for step in [
        "Registering node with DDS",
        "challenge checked and signed",
        "registered with DDS in",
        "access token received",
        "the registration is lost",
    ] {
        assert!(shown.contains(step), "{step:?} is missing");
    }
}

/// The C node that the README builds registers with a local DDS, reads its secret, and stops. The commands run without
/// optimization, in the directory where the tests of the C library build, because that saves minutes.
#[test]
fn the_c_commands_build_a_node() {
    let c_section = README.split_once("\n## C and C++\n").unwrap().1;
    let mut commands = c_section.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0.to_owned();
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (directory, program) = (temporary.join("c-abi"), temporary.join("readme-node"));
    for (shown, here) in [
        ("cargo build --release", format!("cargo build --target-dir '{}'", directory.display())),
        (" target/release/", format!(" {}/debug/", directory.display())),
        ("-o target/node", format!("-o '{}'", program.display())),
    ] {
        assert!(commands.contains(shown), "{shown} is not in the README");
        commands = commands.replace(shown, &here);
    }
    let build = Command::new("sh").args(["-e", "-c", &commands]).current_dir(root()).output().unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));

    let dds = DevDds::start().unwrap();
    let callback = free_address();
    dds.set_node_url(Some(format!("http://{callback}"))).unwrap();
    let run = Command::new(program)
        .env("DDS_BASE_URL", dds.url())
        .env("REG_SECRET", "credentials")
        .env("SECP256K1_PRIVHEX", EXAMPLE_KEY)
        .env("NODE_VERSION", "1.0.0")
        .env("CAPABILITIES", "/example/v1")
        .env("CALLBACK_BIND", callback.to_string())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(
        without_token_length(&String::from_utf8(run.stdout).unwrap()),
        "wallet 0xfdbb6caf01414300c16ea14859fec7736d95355f\nregistered\ntoken\nsecret of 43 bytes\n\
         registered again\n"
    );
}

/// The output of a program without the length of its token, which depends on DDS.
fn without_token_length(printed: &str) -> String {
    let shorten = |line: &str| match line.split_once("token of ") {
        Some((before, rest)) if rest.ends_with(" bytes") => format!("{before}token\n"),
        _ => format!("{line}\n"),
    };
    printed.lines().map(shorten).collect()
}

/// With `UPDATE_README=1`, writes the table instead.
#[test]
fn its_option_table_matches_the_library() {
    let mut table = String::from("\n| option | environment | default | |\n|---|---|---|---|\n");
    for option in OPTIONS {
        let file = option.env_file.map_or_else(String::new, |file| format!(", {file}"));
        let default = if option.required { "required" } else { option.default.unwrap_or("none") };
        let (name, env, help) = (option.name, option.env, option.help);
        writeln!(table, "| {name} | {env}{file} | {default} | {help} |").unwrap();
    }
    table.push('\n');
    let (before, rest) = README.split_once(" by a test -->\n").unwrap();
    let (shown, after) = rest.split_once("<!-- /options -->").unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        let readme = format!("{before} by a test -->\n{table}<!-- /options -->{after}");
        std::fs::write(root().join("README.md"), readme).unwrap();
        return;
    }
    assert_eq!(shown, table, "run UPDATE_README=1 cargo test -p posemesh-node-registration --test readme");
}
