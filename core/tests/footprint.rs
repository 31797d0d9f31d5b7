//! What a node uses in its host: threads, file descriptors, context switches. One test, because it counts those of the
//! whole process.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]
#![cfg(target_os = "linux")]

use std::fs;
use std::time::{Duration, Instant};

use posemesh_dev_dds::DevDds;
use posemesh_node_registration::config::Config;
use posemesh_node_registration::log::{self, Level};
use posemesh_node_registration::node::{Node, Wait};

const GUARD: Duration = Duration::from_secs(60);

fn config(dds: &DevDds, key: usize) -> Config {
    let mut config = Config::new();
    for (name, value) in [
        ("dds_base_url", dds.url().as_str()),
        ("reg_secret", "credentials"),
        ("secp256k1_privhex", &format!("{key:064x}")),
        ("node_version", "1.0.0"),
        ("capabilities", "/example/v1"),
        ("callback_bind", "127.0.0.1:0"),
    ] {
        config.set(name, value).unwrap();
    }
    config
}

fn library_threads() -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .filter(|name| name.starts_with("posemesh-"))
        .map(|name| name.trim().to_owned())
        .collect();
    names.sort();
    names
}

/// Open files of this process, except the directory that is read to count them.
fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// The signals that each of the library's threads blocks, as the kernel prints them.
fn blocked_signals() -> Vec<String> {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok())
        .filter(|status| status.lines().next().is_some_and(|name| name.contains("posemesh-")))
        .map(|status| status.lines().find(|line| line.starts_with("SigBlk:")).unwrap().to_owned())
        .collect()
}

// scenario: nothing-left
#[test]
fn nodes_share_two_threads_and_leave_nothing() {
    let dds = DevDds::start().unwrap();
    log::set_callback(Level::Debug, |_| {});
    assert!(library_threads().is_empty(), "nothing runs before the first start");
    let mut files = Vec::new();
    for _ in 0..20 {
        let nodes: Vec<_> = (1..=10).map(|key| Node::start(&config(&dds, key)).unwrap()).collect();
        for node in &nodes {
            node.wait(Wait::Registered, Some(GUARD)).unwrap();
        }
        assert_eq!(library_threads(), ["posemesh-events", "posemesh-rt"]);
        // All but SIGILL 4, SIGTRAP 5, SIGABRT 6, SIGBUS 7, SIGFPE 8, SIGKILL 9, SIGSEGV 11, SIGSTOP 19,
        // and the two below 34 that libc keeps to itself.
        assert_eq!(blocked_signals(), ["SigBlk:\tfffffffe7ffbfa07"; 2]);
        for node in nodes {
            node.stop(GUARD).unwrap();
        }
        // A joined thread is listed for a moment longer, because the kernel reports its end before it removes it.
        let deadline = Instant::now() + GUARD;
        while !library_threads().is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(library_threads().is_empty(), "{:?}", library_threads());
        // The DDS in this process closes its ends of the connections later.
        dds.clear_requests();
        files.push(open_files());
    }
    println!("open files after each round: {files:?}");
    let last = *files.last().unwrap();
    assert!(last <= files[0] + 10, "{files:?}");
}
