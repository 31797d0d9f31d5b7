//! etcd servers, alone or as a cluster.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::certificate::Certificate;
use super::place::Place;
use super::server_process::{ServerProcess, free_port, output};

/// A member of a cluster, possibly the only one. Killed when dropped.
pub(crate) struct Etcd {
    pub(crate) port: u16,
    process: ServerProcess,
    access: Access,
}

/// What etcdctl needs for all permissions.
#[derive(Clone)]
struct Access {
    endpoint: String,
    arguments: Vec<String>,
}

struct Ports {
    client: u16,
    peer: u16,
}

impl Etcd {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_alone(arguments, None)
    }

    /// A server that speaks only TLS, with this certificate.
    pub(crate) fn start_tls(certificate: &Certificate) -> Self {
        Self::start_alone(&[], Some(certificate))
    }

    fn start_alone(arguments: &[&str], certificate: Option<&Certificate>) -> Self {
        let ports = Ports { client: free_port(), peer: free_port() };
        let mut server = Self::member(0, std::slice::from_ref(&ports), arguments, certificate);
        server.run();
        server
    }

    /// A server that does not run yet.
    pub(crate) fn stopped() -> Self {
        Self::member(0, &[Ports { client: free_port(), peer: free_port() }], &[], None)
    }

    /// A cluster of three, which works as long as two of them do.
    pub(crate) fn start_three() -> [Self; 3] {
        let ports: [_; 3] = std::array::from_fn(|_| Ports { client: free_port(), peer: free_port() });
        let mut members: [_; 3] = std::array::from_fn(|nth| Self::member(nth, &ports, &[], None));
        // A member is healthy when there is a majority, so none can be waited for before the second has started.
        for member in &mut members {
            member.process.run(|| true);
        }
        for member in &members {
            member.until_healthy();
        }
        members
    }

    fn member(nth: usize, all: &[Ports], arguments: &[&str], certificate: Option<&Certificate>) -> Self {
        let place = Place::new();
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{}", all[nth].client);
        let peer = |nth: usize| format!("http://127.0.0.1:{}", all[nth].peer);
        let cluster: Vec<_> = (0..all.len()).map(|nth| format!("m{nth}={}", peer(nth))).collect();
        let mut options: Vec<String> = [
            ("--name", format!("m{nth}")),
            ("--data-dir", "data".into()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client.clone()),
            ("--listen-peer-urls", peer(nth)),
            ("--initial-advertise-peer-urls", peer(nth)),
            ("--initial-cluster", cluster.join(",")),
            ("--heartbeat-interval", "50".into()),
            ("--election-timeout", "500".into()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        let mut access = Access { endpoint: client, arguments: Vec::new() };
        if let Some(certificate) = certificate {
            let [ca, cert, key] = certificate.paths();
            options.extend(["--cert-file".into(), cert, "--key-file".into(), key]);
            access.arguments.extend(["--cacert".into(), ca]);
        }
        options.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let process = ServerProcess::new("etcd", place, options);
        Self { port: all[nth].client, process, access }
    }

    /// From now on [`Etcd::ask`] signs in.
    pub(crate) fn set_access(&mut self, user: &str) {
        self.access.arguments.push(format!("--user={user}"));
    }

    pub(crate) fn run(&mut self) {
        let access = self.access.clone();
        self.process.run(|| access.is_healthy());
    }

    fn until_healthy(&self) {
        let deadline = std::time::Instant::now() + super::support::GUARD;
        while !self.access.is_healthy() {
            assert!(std::time::Instant::now() < deadline, "not healthy: {}", self.process.log());
        }
    }

    /// Kills it. What it has stored is on the disk.
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
        format!("etcd+http://{}", self.authority())
    }

    /// Sends a command with etcdctl, and returns the answer.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let output = output(&mut self.access.command(command));
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Puts a value, which may be longer than an argument.
    pub(crate) fn put(&self, key: &str, value: &str) {
        let mut command = self.access.command(&["put", key]);
        let mut etcdctl =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it is installed");
        let mut input = etcdctl.stdin.take().expect("a pipe");
        input.write_all(value.as_bytes()).expect("it reads");
        drop(input);
        assert!(etcdctl.wait().expect("it ends").success());
    }

    /// The names of all keys.
    pub(crate) fn keys(&self) -> Vec<String> {
        let keys = self.ask(&["get", "", "--prefix", "--keys-only"]);
        keys.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

impl Access {
    fn command(&self, command: &[&str]) -> Command {
        let mut etcdctl = Command::new("etcdctl");
        etcdctl
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.endpoint])
            .args(&self.arguments)
            .args(command);
        etcdctl
    }

    fn is_healthy(&self) -> bool {
        output(&mut self.command(&["--command-timeout=1s", "endpoint", "health"])).status.success()
    }
}
