//! Shared by the integration tests: a node's configuration, a client, recorded events and logs, processes.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use posemesh_dev_dds::{Callback, DevDds};
use posemesh_node_registration::config::Config;
use posemesh_node_registration::event::{Event, EventKind};
use posemesh_node_registration::log::{self, Level, Record};
use posemesh_node_registration::node::Node;
use posemesh_node_registration::status::State;

/// Ends a test that hangs. Nothing is expected to take nearly as long.
pub(crate) const GUARD: Duration = Duration::from_secs(60);

/// A private key of no value, and its wallet.
pub(crate) const KEY: &str = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90";
pub(crate) const WALLET: &str = "0xfdbb6caf01414300c16ea14859fec7736d95355f";

/// Registration credentials without the format of the console's.
pub(crate) const CREDENTIALS: &str = "not-from-the-console-7f3a";

/// A configuration with every required option, for this DDS.
pub(crate) fn config(dds_base_url: &str, options: &[(&str, &str)]) -> Config {
    let mut config = Config::new();
    let required = [
        ("dds_base_url", dds_base_url),
        ("reg_secret", CREDENTIALS),
        ("secp256k1_privhex", KEY),
        ("capabilities", "/example/v1"),
        ("node_version", "1.2.3"),
    ];
    for (name, value) in required.iter().chain(options) {
        config.set(name, value).expect("a good option");
    }
    config
}

/// A running node.
pub(crate) fn start(dds: &DevDds, options: &[(&str, &str)]) -> Node {
    Node::start(&config(&dds.url(), options)).expect("the node starts")
}

pub(crate) fn dds_that_calls_when_told() -> DevDds {
    DevDds::builder().callback(Callback::Never).start().expect("a DDS")
}

/// Waits until a health probe reaches the node: its leader listens.
pub(crate) fn until_probed(dds: &DevDds) {
    let deadline = Instant::now() + GUARD;
    while dds.probe_health().ok() != Some(200) {
        assert!(Instant::now() < deadline, "no process of the node listens");
        thread::yield_now();
    }
}

/// A client of the host, which follows redirects by default.
pub(crate) fn client(timeout: Duration) -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(timeout).build().expect("a client")
}

/// The result of a future that has one without waiting.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it waits"),
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The events of a node from now on.
pub(crate) struct Events(Receiver<Event>);

impl Events {
    pub(crate) fn of(node: &Node) -> Self {
        let (sender, receiver) = channel();
        node.set_event_callback(move |event| drop(sender.send(event.clone()))).expect("the node runs");
        Self(receiver)
    }

    /// The next event for which `pick` returns something.
    pub(crate) fn next<T>(&self, what: &str, pick: impl Fn(&EventKind) -> Option<T>) -> T {
        let deadline = Instant::now() + GUARD;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.0.recv_timeout(left).unwrap_or_else(|error| panic!("no {what}: {error}"));
            if let Some(found) = pick(&event.kind) {
                return found;
            }
        }
    }

    pub(crate) fn until_state(&self, state: State) {
        self.next(state.name(), |kind| {
            matches!(kind, EventKind::StatusChanged { state: current, .. } if *current == state).then_some(())
        });
    }

    /// The events that were delivered and not read.
    pub(crate) fn rest(&self) -> Vec<Event> {
        self.0.try_iter().collect()
    }
}

/// Every log record of this process since the first call. When a node stops, its last records are delivered.
pub(crate) fn logged() -> Vec<Record> {
    static RECORDS: OnceLock<Arc<Mutex<Vec<Record>>>> = OnceLock::new();
    let records = RECORDS.get_or_init(|| {
        let records = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&records);
        log::set_callback(Level::Debug, move |record| sink.lock().expect("no panics").push(record.clone()));
        records
    });
    records.lock().expect("no panics").clone()
}

/// Runs one test of this binary in a process of its own, with only these environment variables, and returns its output.
/// In that process, [`child_case`] returns `case`.
pub(crate) fn run_child(test: &str, case: &str, environment: &[(&str, &std::ffi::OsStr)]) -> Output {
    Command::new(std::env::current_exe().expect("this binary"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env_clear()
        // Windows cannot load its libraries without it.
        .envs(std::env::var_os("SystemRoot").map(|directory| ("SystemRoot", directory)))
        .env(CHILD_CASE, case)
        .envs(environment.iter().copied())
        .output()
        .expect("a child process")
}

/// The case that this process was started for by [`run_child`]; `None` in the test's own process.
pub(crate) fn child_case() -> Option<String> {
    std::env::var(CHILD_CASE).ok()
}

pub(crate) const CHILD_CASE: &str = "POSEMESH_TEST_CHILD_CASE";

/// Runs the body of a test in a process of its own, because it uses state that a process has once.
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    if child_case().is_some() {
        return body();
    }
    let output = run_child(test, "alone", &[]);
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{stdout}\n{stderr}");
    // A name that matches no test would also succeed.
    assert!(stdout.contains("1 passed"), "{stdout}");
}
