//! What a worker does only on Linux: forks, limits and threads.

use posemesh_node_registration::axum::http;
use posemesh_node_registration::config::Config;
use posemesh_node_registration::node::{Node, Wait};

use crate::support::{self, GUARD};

/// Executes a command, and returns the answer.
pub(super) fn answer(command: &str, node: &Node, config: &Config, say: impl Fn(String)) -> String {
    match command {
        "switches" => switches().to_string(),
        "threads" => threads().join(" "),
        "fork" => fork(|| std::thread::park_timeout(GUARD)).to_string(),
        // The child's line comes before the answer.
        "fork-handle" => wait_for(fork(|| say(format!("child {}", handled(node))))).to_string(),
        "fork-node" => fork(|| {
            let inherited = node.status().expect_err("it is the parent's");
            let own = Node::start(config).expect("it starts");
            own.wait(Wait::Registered, Some(GUARD)).expect("registered");
            let role = own.status().expect("ours").role;
            own.stop(GUARD).expect("stopped");
            say(format!("child {} {role}", inherited.code()));
        })
        .to_string(),
        "fork-follower" => fork(|| {
            let own = Node::start(config).expect("it starts");
            say(format!("child {}", own.status().expect("ours").role));
            std::thread::park_timeout(GUARD);
        })
        .to_string(),
        "take-files" => {
            let files: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
            let count = files.len();
            std::mem::forget(files);
            count.to_string()
        }
        "few-files" => format!("{:?}", limit_files(0)),
        "many-files" => format!("{:?}", limit_files(1000)),
        "chroot" => format!("{:?}", std::os::unix::fs::chroot("/proc").err()),
        other => panic!("unknown command {other}"),
    }
}

/// `/proc/…/status` of the library's threads.
fn thread_statuses() -> Vec<String> {
    let mut statuses: Vec<_> = std::fs::read_dir("/proc/self/task")
        .expect("Linux")
        .filter_map(|task| std::fs::read_to_string(task.expect("a task").path().join("status")).ok())
        .filter(|status| status.starts_with("Name:\tposemesh-"))
        .collect();
    statuses.sort();
    statuses
}

fn values(status: &str, key: &str) -> impl Iterator<Item = String> {
    let values = status.lines().filter_map(move |line| line.split_once(key)?.1.split_whitespace().last());
    values.map(str::to_owned).collect::<Vec<_>>().into_iter()
}

fn threads() -> Vec<String> {
    thread_statuses().iter().flat_map(|status| values(status, "Name:")).collect()
}

/// How often the kernel has scheduled a thread of the library.
fn switches() -> u64 {
    let statuses = thread_statuses();
    let counts = statuses.iter().flat_map(|status| values(status, "ctxt_switches:"));
    counts.map(|count| count.parse::<u64>().expect("a number")).sum()
}

/// Limits how many files this process may open.
#[expect(unsafe_code, reason = "the limits of a process are set through libc")]
fn limit_files(limit: u64) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: 1000 };
    // SAFETY: it reads a struct that lives until it returns.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Forks a child without exec, which has copies of all open files, runs `child` and ends.
#[expect(unsafe_code, reason = "a fork without exec is what is tested")]
fn fork(child: impl FnOnce()) -> i32 {
    // The library's thread prints records. If it did so now, the child could not print.
    let output = std::io::stdout().lock();
    // SAFETY: no other thread of this process holds a lock that the child needs: the library's are replaced
    // in the child, this thread holds that of the output, and the test's own threads do nothing at this time.
    let forked = unsafe { libc::fork() };
    drop(output);
    match forked {
        0 => {
            child();
            // SAFETY: it ends the process, and runs nothing that belongs to the parent.
            unsafe { libc::_exit(0) }
        }
        pid => pid,
    }
}

/// Waits until this child has ended. True if it succeeded.
#[expect(unsafe_code, reason = "the child is no `std::process::Child`")]
fn wait_for(child: i32) -> bool {
    let mut status = -1;
    // SAFETY: it writes to a variable that lives until it returns.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    ended == child && status == 0
}

/// The statuses of the responses to a callback, a probe, and a request that is not for the library.
fn handled(node: &Node) -> String {
    let requests = [
        ("POST", "/internal/v1/registrations", r#"{"id":"any","secret":"in the child"}"#),
        ("GET", "/health", ""),
        ("GET", "/", ""),
    ];
    let statuses = requests.map(|(method, path, body)| {
        let request = http::Request::builder().method(method).uri(path).header("user-agent", "DDS v1.0");
        let request = request.header("content-type", "application/json").body(body.into());
        let response = support::at_once(node.handle(request.expect("a request")));
        response.map_or_else(|| "none".into(), |response| response.status().as_u16().to_string())
    });
    statuses.join(" ")
}
