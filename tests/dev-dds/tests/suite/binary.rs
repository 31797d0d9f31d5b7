//! The program `dev-dds`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use posemesh_dev_dds::Endpoint;
use serde_json::json;

use crate::client::{Node, OK, PATIENCE, Wallet, claims, request};

fn dev_dds(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dev-dds"));
    command.args(arguments);
    command
}

/// A running program. Killed if its test ends first.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut command = dev_dds(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("its stdout"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                // The test may have ended.
                let _ = sender.send(line.expect("a line in UTF-8"));
            }
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// From the first line, which is the URL and nothing else.
    fn authority(&self) -> String {
        let line = self.line();
        let authority = line.strip_prefix("http://").expect("a URL");
        assert!(authority.parse::<SocketAddr>().is_ok(), "{line}");
        authority.to_owned()
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
    }

    fn exit_code(mut self) -> Option<i32> {
        let end = self.lines.recv_timeout(PATIENCE);
        assert_eq!(end, Err(RecvTimeoutError::Disconnected), "stdout must end without another line");
        self.child.wait().expect("an exit").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The one of the Python examples, on another port.
#[test]
fn a_compose_file_starts_it() {
    let compose = include_str!("../../../../bindings-python/examples/deploy/compose-local.yaml");
    let command = compose.lines().find_map(|line| line.trim().strip_prefix("command: ")).expect("a command");
    let arguments: Vec<String> = serde_json::from_str(command).expect("a list of texts");
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.replace(":8081", ":0")).collect();
    let running = Running::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    running.authority();
}

#[test]
fn it_prints_its_url_and_every_event() {
    let node = Node::start(&[OK]);
    let running = Running::start(&["--node-url", &node.url, "--secret", "hunter2"]);
    let authority = running.authority();
    let wallet = Wallet::new(1);

    let body = json!({ "wallet": wallet.address() }).to_string();
    let challenge = request(&authority, "POST", Endpoint::Challenge.path(), &body).json();
    let registration = wallet.registration(&challenge).to_string();
    let answer = request(&authority, "POST", Endpoint::Register.path(), &registration);
    assert_eq!(answer.status, 200);
    assert!(node.request().contains("hunter2"));
    assert_eq!(running.line(), format!("challenge for {}", wallet.address()));
    assert!(running.line().starts_with(&format!("registered {} as node ", wallet.address())));
    let called_back = running.line();
    assert_eq!(called_back, "called back with a secret of 7 bytes: the node answered 200");

    running.signal("TERM");
    assert_eq!(running.exit_code(), Some(0));
}

#[test]
fn tokens_are_as_the_options_say() {
    let body = json!({ "registration_credentials": "robot", "version": "1.0.0" }).to_string();
    let register = |arguments: &[&str]| {
        let running = Running::start(arguments);
        request(&running.authority(), "POST", Endpoint::RegisterRobot.path(), &body)
    };
    let claims = |arguments: &[&str]| claims(&register(arguments).json()["access_token"]);
    assert_eq!(claims(&["--token-format", "opaque"]), None);
    let claims = claims(&["--token-claims", r#"{"node_mode":"public","node_type":null}"#]).unwrap();
    assert_eq!((&claims["node_mode"], claims.get("node_type")), (&json!("public"), None));
    assert_eq!(register(&["--credentials", "another"]).status, 401);
}

#[test]
fn it_ends_on_ctrl_c() {
    let running = Running::start(&[]);
    running.authority();
    running.signal("INT");
    assert_eq!(running.exit_code(), Some(0));
}

#[test]
fn with_until_eof_it_ends_with_stdin() {
    let mut running = Running::start(&["--until-eof"]);
    running.authority();
    drop(running.child.stdin.take());
    assert_eq!(running.exit_code(), Some(0));
}

#[test]
fn without_until_eof_it_does_not_end_with_stdin() {
    let mut running = Running::start(&[]);
    let authority = running.authority();
    drop(running.child.stdin.take());
    assert_eq!(request(&authority, "GET", "/_dev/nodes", "").status, 200);
    running.signal("TERM");
    assert_eq!(running.exit_code(), Some(0));
}

#[test]
fn help_and_version() {
    let help = dev_dds(&["--help"]).output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    assert_eq!(help.status.code(), Some(0));
    for option in [
        "--bind",
        "--node-url",
        "--secret",
        "--credentials",
        "--callback",
        "--token-format",
        "--token-claims",
        "--no-token-identity",
        "--until-eof",
        "/_dev/",
    ] {
        assert!(text.contains(option), "{option} is not in {text}");
    }
    let version = dev_dds(&["--version"]).output().unwrap();
    let expected = concat!("dev-dds ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8(version.stdout).unwrap(), expected);
}

#[test]
fn bad_arguments_are_explained() {
    for (arguments, complaint) in [
        (["--no-such", ""], "--no-such"),
        (["--bind", "localhost"], "--bind"),
        (["--bind", "192.0.2.1:0"], "loopback"),
        (["--node-url", "http://example.com"], "not on loopback; expected http://"),
        (["--node-url", "http://0.0.0.0:8080"], "not on loopback; expected http://"),
        (["--node-url", "127.0.0.1:8080"], "does not begin with http://; expected"),
        (["--node-url", "https://127.0.0.1"], "does not begin with http://; expected"),
        (["--node-url", "http://::1:8080"], "expected http://"),
        (["--node-url", "http://127.0.0.1:0"], "no port from 1 to 65535; expected"),
        (["--node-url", "http://127.0.0.1:+80"], "no port from 1 to 65535; expected"),
        (["--node-url", "http://user@127.0.0.1:80"], "has a user name; expected"),
        (["--node-url", "http://127.0.0.1:99999"], "no port from 1 to 65535; expected"),
        (["--node-url", "http://[::1]:99999/path"], "no port from 1 to 65535; expected"),
        (["--node-url", "http://127.0.0.1:80/a b"], "is not a URL: "),
        (["--node-url", "http://127.0.0.1/a?b"], "has a query; expected"),
        (["--callback", "sometimes"], "after-answer"),
        (["--token-lifetime", "soon"], "token-lifetime"),
        (["--token-format", "paper"], "opaque"),
        (["--token-claims", "[]"], "not a JSON object"),
        (["--health-interval", "0"], "health interval"),
    ] {
        let output = dev_dds(&arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(complaint), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty());
    }
}
