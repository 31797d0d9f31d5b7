//! The examples that `c_abi` does not run, built as their readers would build them.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use posemesh_dev_dds::{Callback, DevDds, Endpoint, Fault};
use support::{
    Dds, Link, WARNINGS, compile, crate_root, include, output, run, skipped, stderr, stdout,
    without_token_length,
};

/// The example with libmicrohttpd; `None` without that library.
fn web_server(link: Link) -> Option<PathBuf> {
    let flags = Command::new("pkg-config").args(["--cflags", "--libs", "libmicrohttpd"]).output();
    let Some(flags) = flags.ok().filter(|flags| flags.status.success()) else {
        skipped("the example of a program's own web server: libmicrohttpd-dev is not installed");
        return None;
    };
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("web_server-{link:?}"));
    run(Command::new("gcc")
        .arg("-std=c11")
        .args(WARNINGS)
        .arg("-I")
        .arg(include())
        .arg(crate_root().join("examples/web_server.c"))
        .arg("-o")
        .arg(&program)
        .args(link.arguments())
        .args(stdout(&flags).split_whitespace()));
    Some(program)
}

#[test]
fn the_readme_shows_the_web_server_example() {
    let read = |name: &str| std::fs::read_to_string(crate_root().join(name)).expect("it is there");
    let (readme, example) = (read("README.md"), read("examples/web_server.c"));
    let (_, shown) =
        readme.split_once("`web_server.c`](examples/web_server.c):\n\n```c\n").expect("the section");
    let (shown, _) = shown.split_once("```").expect("the end of the block");
    assert!(example.contains(shown), "not in the example as it is:\n{shown}");
}

/// Sends a request and returns the response.
fn exchange(port: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("the example listens");
    // It may respond before it has read everything.
    let _ = stream.write_all(request.as_bytes());
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    String::from_utf8_lossy(&response).into_owned()
}

#[test]
fn the_web_server_example_passes_requests_of_dds_to_the_node() {
    for link in [Link::Shared, Link::Sanitized] {
        let Some(program) = web_server(link) else { return };
        let dds = Dds::with(DevDds::builder().callback(Callback::Never));
        let mut child = dds
            .environment(Command::new(program).arg("0"))
            .env_remove("CALLBACK_BIND")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut line = || lines.next().expect("a line").expect("text");
        let port = line().strip_prefix("port ").expect("the port").to_owned();
        let get = |path: &str| {
            exchange(&port, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
        };
        assert!(get("/jobs").ends_with("none\n"));
        assert!(get("/health").starts_with("HTTP/1.1 404 "), "{}", get("/health"));
        assert!(get("/internal/v1/registrations").contains("\r\nAllow: POST\r\n"));
        for (length, chunked, status) in
            [(150, false, 422), (300, false, 413), (150, true, 422), (300, true, 413)]
        {
            let body = format!("{{{}}}", " ".repeat(length * 1024 - 2));
            let (framing, body) = match chunked {
                false => (format!("content-length: {}", body.len()), body),
                true => {
                    ("transfer-encoding: chunked".into(), format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()))
                }
            };
            let response = exchange(
                &port,
                &format!(
                    "POST /internal/v1/registrations HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                     content-type: application/json\r\n{framing}\r\n\r\n{body}"
                ),
            );
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{length} {chunked}: {response}");
        }
        dds.dds.set_node_url(Some(format!("http://127.0.0.1:{port}"))).expect("on loopback");
        assert!(dds.dds.wait_for(support::GUARD, |dds| !dds.nodes().is_empty()), "it registers");
        assert_eq!(dds.dds.call_back().expect("a response").status, 200);
        assert_eq!(line(), "secret: PMN_OK");
        assert!(child.wait().expect("it ends").success(), "{link:?}");
    }
}

#[test]
fn the_epoll_example_gets_a_token_without_blocking_its_loop() {
    for link in [Link::Shared, Link::Sanitized] {
        let printed =
            stdout(&run(Dds::start().environment(&mut Command::new(compile("examples/epoll.c", link)))));
        // Earlier states may pass before the loop reads the status.
        assert!(without_token_length(&printed).ends_with("registered\ntoken\n"), "{link:?}: {printed}");
    }
}

#[test]
fn the_cpp_example_logs_events_and_records() {
    for link in [Link::Shared, Link::Sanitized] {
        let dds = Dds::start();
        // So that an attempt fails.
        dds.dds.inject(Endpoint::Challenge, Fault::status(503), 1);
        let output = run(dds.environment(&mut Command::new(compile("examples/node.cpp", link))));
        let wallet = "wallet 0xfdbb6caf01414300c16ea14859fec7736d95355f\n";
        assert_eq!(
            without_token_length(&stdout(&output)),
            format!("{wallet}registered\ntoken\nsecret of 43 bytes\n"),
            "{link:?}"
        );
        let log = stderr(&output);
        for line in [
            "WARN node: ",
            "; next attempt in ",
            "INFO node: in service\n",
            "INFO node: secret number 1\n",
            "INFO posemesh_node::register: registered with DDS",
        ] {
            assert!(log.contains(line), "{link:?}: no {line:?} in\n{log}");
        }
        let secret = dds.dds.last_secret().expect("DDS has sent a secret");
        assert!(!log.contains(&secret) && !log.contains("registration-credentials"), "{log}");
    }
}

#[test]
fn the_cpp_example_says_which_option_is_missing() {
    let mut command = Command::new(compile("examples/node.cpp", Link::Shared));
    let output = output(Dds::start().environment(&mut command).env_remove("REG_SECRET"));
    assert_eq!(output.status.code(), Some(1));
    let log = stderr(&output);
    assert!(log.starts_with("ERROR PMN_ERR_INVALID_CONFIG: ") && log.contains("REG_SECRET_FILE"), "{log}");
}
