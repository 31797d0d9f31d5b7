//! Redis, Valkey and Sentinel servers.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::certificate::Certificate;
use super::place::Place;
use super::server_process::{ServerProcess, free_port, listens, output};
use super::support::GUARD;

/// A server that keeps everything in memory. It and its replicas are killed when dropped.
pub(crate) struct Redis {
    pub(crate) port: u16,
    process: ServerProcess,
    /// What redis-cli needs for all permissions.
    access: Vec<String>,
}

impl Redis {
    /// Starts a server with these lines in its configuration.
    pub(crate) fn start(lines: &[&str]) -> Self {
        Self::start_program("redis-server", lines)
    }

    pub(crate) fn start_valkey(lines: &[&str]) -> Self {
        Self::start_program("valkey-server", lines)
    }

    fn start_program(program: &str, lines: &[&str]) -> Self {
        for _ in 0..10 {
            let mut server = Self::stopped_program(program, lines);
            let port = server.port;
            if server.process.try_run(|| listens(port)) {
                return server;
            }
        }
        panic!("{program} does not start");
    }

    /// A server that does not run yet.
    pub(crate) fn stopped(lines: &[&str]) -> Self {
        Self::stopped_program("redis-server", lines)
    }

    fn stopped_program(program: &str, lines: &[&str]) -> Self {
        Self::configured(program, |port| [&[format!("port {port}")][..], &owned(lines)].concat(), Vec::new())
    }

    /// A server that speaks only TLS, with this certificate.
    pub(crate) fn start_tls(certificate: &Certificate, lines: &[&str]) -> Self {
        let [ca, cert, key] = certificate.paths();
        let tls = |port| {
            let tls = [
                "port 0".to_owned(),
                format!("tls-port {port}"),
                format!("tls-cert-file {cert}"),
                format!("tls-key-file {key}"),
                format!("tls-ca-cert-file {ca}"),
                "tls-auth-clients no".to_owned(),
            ];
            [&tls[..], &owned(lines)].concat()
        };
        let mut server = Self::configured("redis-server", tls, owned(&["--tls", "--cacert", &ca]));
        server.run();
        server
    }

    fn configured(program: &str, lines: impl FnOnce(u16) -> Vec<String>, access: Vec<String>) -> Self {
        let (port, place) = (free_port(), Place::new());
        let fixed = ["bind 127.0.0.1", "save \"\"", "appendonly no", "repl-diskless-sync-delay 0"];
        let lines = [&owned(&fixed)[..], &lines(port)].concat();
        std::fs::write(place.0.join("server.conf"), lines.join("\n") + "\n").expect("ours");
        let process = ServerProcess::new(program, place, owned(&["server.conf"]));
        Self { port, process, access }
    }

    /// A replica of this server.
    pub(crate) fn replica(&self) -> Self {
        let replica = Self::start(&[&format!("replicaof 127.0.0.1 {}", self.port)]);
        replica.until(&["INFO", "replication"], "master_link_status:up");
        replica
    }

    /// With the credentials for [`Redis::ask`].
    pub(crate) fn with_access(mut self, arguments: &[&str]) -> Self {
        self.access.extend(owned(arguments));
        self
    }

    /// With a clock that [`set_clock`](Redis::set_clock) moves. It is a Valkey without jemalloc, which reads the clock
    /// before libfaketime is ready.
    pub(crate) fn start_with_clock() -> Self {
        let mut server = Self::stopped_program("valkey-server", &[]);
        let clock = server.process.place.0.join("clock");
        std::fs::write(&clock, "+0").expect("ours");
        for (name, value) in [
            ("LD_PRELOAD", libfaketime()),
            ("FAKETIME_TIMESTAMP_FILE", clock.to_str().expect("UTF-8").to_owned()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ] {
            server.process.set_environment(name, &value);
        }
        server.run();
        server
    }

    /// Moves the server's clock, such as by `+365d`.
    pub(crate) fn set_clock(&self, offset: &str) {
        std::fs::write(self.process.place.0.join("clock"), offset).expect("ours");
    }

    pub(crate) fn run(&mut self) {
        let port = self.port;
        self.process.run(|| listens(port));
    }

    /// Kills it. It forgets everything.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    pub(crate) fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.authority())
    }

    /// Sends a command with redis-cli, and returns the answer.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "--no-auth-warning"]);
        let output = output(cli.args(&self.access).args(command));
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Waits until the answer contains this text.
    pub(crate) fn until(&self, command: &[&str], wanted: &str) -> String {
        let deadline = Instant::now() + GUARD;
        loop {
            let answer = self.ask(command);
            if answer.contains(wanted) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{command:?}: {answer}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The first line of a value, which shows the leader: `<epoch>.<revision> <holder>`. Read by another command than that
    /// of the replicas, whose calls a test counts.
    pub(crate) fn header(&self, key: &str) -> String {
        self.ask(&["SUBSTR", key, "0", "60"]).lines().next().expect("a line").to_owned()
    }

    /// Waits until the leader has renewed its term this many times.
    pub(crate) fn until_renewed(&self, times: u64) {
        let keys = self.keys();
        let [key] = &keys[..] else { panic!("one node uses it: {keys:?}") };
        let revision = || -> u64 {
            let header = self.header(key);
            let counts = header.split(' ').next().and_then(|counts| counts.split_once('.'));
            counts.and_then(|(_, revision)| revision.parse().ok()).expect("a header")
        };
        let (wanted, deadline) = (revision() + times, Instant::now() + GUARD);
        while revision() < wanted {
            assert!(Instant::now() < deadline, "{}", self.header(key));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The names of all keys.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.ask(&["KEYS", "*"]).lines().map(str::to_owned).collect()
    }
}

/// A Sentinel that watches one server, and promotes its replica when it has not answered for half a second.
pub(crate) struct Sentinel(Redis);

impl Sentinel {
    pub(crate) fn start(watched: &Redis) -> Self {
        let watched = watched.port;
        let lines = |port| {
            owned(&[
                &format!("port {port}"),
                &format!("sentinel monitor node 127.0.0.1 {watched} 1"),
                "sentinel down-after-milliseconds node 500",
                "sentinel failover-timeout node 5000",
            ])
        };
        let (port, place) = (free_port(), Place::new());
        std::fs::write(place.0.join("sentinel.conf"), lines(port).join("\n") + "\n").expect("ours");
        let process = ServerProcess::new("redis-server", place, owned(&["sentinel.conf", "--sentinel"]));
        let mut sentinel = Redis { port, process, access: Vec::new() };
        sentinel.run();
        sentinel.until(&["SENTINEL", "MASTER", "node"], "num-slaves\n1");
        Self(sentinel)
    }

    /// The port of the server that takes writes.
    pub(crate) fn primary(&self) -> u16 {
        let answer = self.0.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "node"]);
        answer.lines().nth(1).and_then(|port| port.parse().ok()).expect("an address")
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The library that Debian's package libfaketime installs.
fn libfaketime() -> String {
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let path = format!("/usr/lib/{triple}/faketime/libfaketime.so.1");
    assert!(Path::new(&path).is_file(), "{path} is missing; tests/run installs what the tests need");
    path
}
