//! A machine without free threads or descriptors, and a host that ends the library's threads: nodes report it, and work
//! again as soon as they can. Each test runs in a process of its own, with its DDS in the parent.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]
#![allow(unsafe_code, reason = "limits, signals and file descriptors are set through libc")]
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use posemesh_dev_dds::DevDds;
use posemesh_node_registration::bindings::NodeExt as _;
use posemesh_node_registration::config::Config;
use posemesh_node_registration::error::ErrorCode;
use posemesh_node_registration::log::{self, Level};
use posemesh_node_registration::node::{Node, Wait};
use posemesh_node_registration::state::StateDir;
use posemesh_node_registration::status::State;
use support::{GUARD, child_case, config, run_child};

const DDS_URL: &str = "TEST_DDS_URL";
/// Nothing listens there: each attempt fails at once, and the next one is due after a pause.
const NO_DDS: &str = "http://127.0.0.1:1";

/// Runs `body` in a child process, with the URL of a DDS in this one. Returns what it wrote to stderr.
fn alone(test: &str, body: impl FnOnce(&str)) -> String {
    if child_case().is_some() {
        body(&std::env::var(DDS_URL).unwrap());
        return String::new();
    }
    let dds = DevDds::start().unwrap();
    let output = run_child(test, "alone", &[(DDS_URL, dds.url().as_ref())]);
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{stdout}\n{stderr}");
    // A name that matches no test would also succeed.
    assert!(stdout.contains("1 passed"), "{stdout}");
    stderr
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < GUARD, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The library's threads by name, with their numbers.
fn library_threads() -> Vec<(String, i32)> {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| {
            let task = task.unwrap();
            let name = fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned();
            Some((name, task.file_name().to_str()?.parse().ok()?))
        })
        .filter(|(name, _)| name.starts_with("posemesh-"))
        .collect()
}

fn thread_named(name: &str) -> Option<i32> {
    library_threads().into_iter().find(|(found, _)| found == name).map(|(_, number)| number)
}

/// Replaces a descriptor of the runtime by `/dev/null`. A program that closes numbers which it does not own and then
/// opens files has the same effect. (Only closing them makes the standard library abort a debug build.)
fn take_descriptor(kind: &str) {
    let null = fs::File::open("/dev/null").unwrap();
    let mut taken = 0;
    for (number, target) in open_descriptors() {
        if target == kind {
            // SAFETY: the number stays in use, so nothing else gets it.
            assert_eq!(unsafe { libc::dup2(null.as_raw_fd(), number) }, number);
            taken += 1;
        }
    }
    assert!(taken > 0, "{kind}");
}

/// From now on, the kernel refuses the system call for random numbers, on all threads, as a sandbox may.
fn forbid_random_numbers() {
    let statement = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let number_of_the_call = 0;
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, number_of_the_call),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_getrandom as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, refused),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which ends with a return on every path.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::SECCOMP_SET_MODE_FILTER;
        let result =
            libc::syscall(libc::SYS_seccomp, set, libc::SECCOMP_FILTER_FLAG_TSYNC, &raw const program);
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }
}

/// Ends a thread of the library without running destructors: with a signal that it does not block, whose handler makes
/// the system call.
fn kill_thread(number: i32) {
    extern "C" fn exit_thread(_: libc::c_int) {
        // SAFETY: ends this thread alone.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    // A sleeping thread holds no lock. Nothing can be recovered if it dies with one.
    wait_until("the thread is at rest", || {
        let stat = fs::read_to_string(format!("/proc/self/task/{number}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('S')
    });
    // SAFETY: the handler makes one system call, and no other thread gets the signal.
    unsafe {
        libc::signal(libc::SIGTRAP, exit_thread as *const () as libc::sighandler_t);
        assert_eq!(libc::syscall(libc::SYS_tgkill, libc::getpid(), number, libc::SIGTRAP), 0);
    }
    wait_until("the thread ends", || library_threads().iter().all(|(_, other)| *other != number));
}

/// Checks what a node shows whose runtime has died, and that the process can start another one.
fn assert_ended_with_panic(node: Node, key: &str, dds_url: &str) {
    let code = |result: posemesh_node_registration::error::Result<()>| result.unwrap_err().code();
    let status = node.status().unwrap();
    assert!(!status.running);
    assert_eq!(status.state, State::Disconnected);
    assert_eq!(status.last_error, Some(ErrorCode::Panic));
    assert!(node.last_error().unwrap().unwrap().message().contains("runtime thread"));
    assert_eq!(code(node.rearm()), ErrorCode::Panic);
    assert_eq!(code(node.wait(Wait::Registered, None)), ErrorCode::Panic);
    assert_eq!(node.access_token(None).unwrap_err().code(), ErrorCode::Panic);
    assert_eq!(code(node.invalidate_token()), ErrorCode::Panic);
    let began = Instant::now();
    node.stop(GUARD).unwrap();
    assert!(began.elapsed() < GUARD / 2);
    assert_eq!(node.status().unwrap().last_error, Some(ErrorCode::Panic));

    let next = Node::start(&config(dds_url, &[("secp256k1_privhex", key)])).unwrap();
    next.wait(Wait::Registered, Some(GUARD)).unwrap();
    next.stop(GUARD).unwrap();
}

// scenario: panic
#[test]
fn a_runtime_that_panics_ends_its_nodes() {
    let stderr = alone("a_runtime_that_panics_ends_its_nodes", |dds_url| {
        let other_key = "2".repeat(64);
        let options = [("callback_bind", "127.0.0.1:0"), ("register_interval_secs", "1")];
        let node = Node::start(&config(NO_DDS, &options)).unwrap();
        let other = Node::start(&config(NO_DDS, &[("secp256k1_privhex", &other_key)])).unwrap();
        let (called, calls) = channel();
        let pending = node.wait_then(Wait::Secret, move |result| called.send(result).unwrap()).unwrap();
        let address = node.callback_address().unwrap().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| node.wait(Wait::Registered, Some(GUARD)));
            take_descriptor("anon_inode:[eventpoll]");
            // tokio notices at the timer of the next attempt.
            assert_eq!(waiting.join().unwrap().unwrap_err().code(), ErrorCode::Panic);
        });
        assert_eq!(calls.recv_timeout(GUARD).unwrap().unwrap_err().code(), ErrorCode::Panic);
        drop(pending);
        // The dying thread closes its sockets right after it has ended its nodes.
        wait_until("the port is free", || std::net::TcpListener::bind(address).is_ok());
        assert_ended_with_panic(node, &other_key.replace('2', "3"), dds_url);
        assert_ended_with_panic(other, &other_key, dds_url);
        assert_eq!(library_threads(), []);
    });
    assert!(child_case().is_some() || stderr.contains("posemesh-rt"), "the host's panic hook: {stderr}");
}

#[test]
fn a_runtime_that_cannot_be_woken_ends_its_nodes() {
    alone("a_runtime_that_cannot_be_woken_ends_its_nodes", |dds_url| {
        let node = Node::start(&config(dds_url, &[])).unwrap();
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        take_descriptor("anon_inode:[eventfd]");
        // While the runtime is awake, nothing has to wake it.
        wait_until("nothing wakes it", || node.rearm().is_err());
        assert_ended_with_panic(node, &"2".repeat(64), dds_url);
    });
}

// scenario: runtime-thread-dies
#[test]
fn a_killed_runtime_thread_ends_its_nodes() {
    alone("a_killed_runtime_thread_ends_its_nodes", |dds_url| {
        let node = Node::start(&config(dds_url, &[])).unwrap();
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        kill_thread(thread_named("posemesh-rt").unwrap());
        assert_eq!(node.wait(Wait::Secret, None).unwrap_err().code(), ErrorCode::Panic);
        assert_ended_with_panic(node, &"2".repeat(64), dds_url);
        wait_until("no thread is left", || library_threads().is_empty());
    });
}

#[test]
fn a_killed_dispatcher_thread_is_replaced() {
    alone("a_killed_dispatcher_thread_is_replaced", |dds_url| {
        let node = Node::start(&config(dds_url, &[])).unwrap();
        let (sender, events) = channel();
        node.set_event_callback(move |event| drop(sender.send(event.clone()))).unwrap();
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        events.recv_timeout(GUARD).unwrap();
        kill_thread(thread_named("posemesh-events").unwrap());
        while events.try_recv().is_ok() {}
        node.rearm().unwrap();
        events.recv_timeout(GUARD).unwrap();
        node.stop(GUARD).unwrap();
        assert_eq!(library_threads(), []);
    });
}

/// As a program does that calls `exit` or returns from `main` without a stop.
// scenario: process-exit
#[test]
fn a_process_may_end_while_its_node_runs() {
    let stderr = alone("a_process_may_end_while_its_node_runs", |dds_url| {
        let node = Node::start(&config(dds_url, &[("callback_bind", "127.0.0.1:0")])).unwrap();
        node.set_event_callback(|_| {}).unwrap();
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        node.rearm().unwrap();
        std::mem::forget(node);
    });
    assert_eq!(stderr, "");
}

// scenario: nothing-left
#[test]
fn no_descriptor_outlives_the_last_node() {
    alone("no_descriptor_outlives_the_last_node", |dds_url| {
        // With a host name, a state directory and a server, so that all kinds of descriptors are used.
        let place = std::env::temp_dir().join(format!("posemesh-closed-{}", std::process::id()));
        let place = place.to_str().unwrap();
        let config = resolving_config(dds_url, &[("callback_bind", "127.0.0.1:0"), ("state_dir", place)]);
        // tokio keeps two sockets if another crate of the workspace enables its signal handling.
        drop(support::runtime());
        let before = open_descriptors();
        for _ in 0..3 {
            log::set_callback(Level::Debug, |_| {});
            let node = Node::start(&config).unwrap();
            node.rearm().unwrap();
            node.wait(Wait::Registered, Some(GUARD)).unwrap();
            node.stop(GUARD).unwrap();
            assert_eq!(open_descriptors(), before);
            // As a program does that becomes a daemon. The next start must not depend on any of them.
            let first_free = before.keys().max().unwrap() + 1;
            // SAFETY: as asserted above, none is open there.
            unsafe { libc::syscall(libc::SYS_close_range, first_free, libc::c_uint::MAX, 0) };
        }
        fs::remove_dir_all(place).unwrap();
    });
}

/// The open descriptors: number and target.
fn open_descriptors() -> BTreeMap<i32, String> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    // The descriptor that reads the directory is closed by the time its target is read.
    let mut numbers: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    let number = |name: OsString| name.to_str().unwrap().parse().unwrap();
    numbers.drain(..).map(number).filter_map(|number| Some((number, target(number)?))).collect()
}

fn target(descriptor: i32) -> Option<String> {
    Some(fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()?.display().to_string())
}

#[cfg(not(target_env = "musl"))]
type Resource = libc::__rlimit_resource_t;
#[cfg(target_env = "musl")]
type Resource = libc::c_int;

/// A resource limit of this process.
struct Limit(Resource);

impl Limit {
    fn set(&self, soft: libc::rlim_t) {
        // SAFETY: both calls get a limit that is plain data.
        unsafe {
            let mut limit = std::mem::zeroed::<libc::rlimit>();
            assert_eq!(libc::getrlimit(self.0, &raw mut limit), 0);
            limit.rlim_cur = soft.min(limit.rlim_max);
            assert_eq!(libc::setrlimit(self.0, &raw const limit), 0);
        }
    }

    /// Prevents further threads from starting.
    fn begin(&self) {
        self.set(if self.0 == libc::RLIMIT_NPROC { 0 } else { address_space() + 512 * 1024 });
    }

    fn end(&self) {
        self.set(libc::RLIM_INFINITY);
    }
}

/// In bytes.
fn address_space() -> libc::rlim_t {
    let sizes = fs::read_to_string("/proc/self/statm").unwrap();
    sizes.split(' ').next().unwrap().parse::<libc::rlim_t>().unwrap() * 4096
}

/// The limit on threads does not apply to root.
fn become_ordinary_user() {
    const NOBODY: u32 = 65_534;
    // SAFETY: the C library changes all threads of the process.
    unsafe {
        if libc::geteuid() == 0 {
            assert_eq!(libc::setresgid(NOBODY, NOBODY, NOBODY), 0);
            assert_eq!(libc::setresuid(NOBODY, NOBODY, NOBODY), 0);
        }
    }
}

fn resolving_config(dds_url: &str, options: &[(&str, &str)]) -> Config {
    let mut config = config(&dds_url.replace("127.0.0.1", "localhost"), options);
    config.set("siwe_domain", "any").unwrap();
    config
}

#[test]
fn a_start_fails_without_threads_and_the_next_one_succeeds() {
    let stderr = alone("a_start_fails_without_threads_and_the_next_one_succeeds", |dds_url| {
        become_ordinary_user();
        let limit = Limit(libc::RLIMIT_NPROC);
        limit.begin();
        let error = Node::start(&config(dds_url, &[])).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Io);
        assert!(error.message().contains("runtime thread"), "{error}");
        limit.end();
        let node = Node::start(&config(dds_url, &[])).unwrap();
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        node.stop(GUARD).unwrap();
    });
    assert_eq!(stderr, "");
}

#[test]
fn a_start_fails_without_descriptors_and_the_next_one_succeeds() {
    let stderr = alone("a_start_fails_without_descriptors_and_the_next_one_succeeds", |dds_url| {
        drop(support::runtime());
        let limit = Limit(libc::RLIMIT_NOFILE);
        let refused = (3..64).find_map(|number| {
            // With each step, the start fails a little later.
            limit.set(number);
            let started = Node::start(&config(dds_url, &[("callback_bind", "127.0.0.1:0")]));
            limit.end();
            match started {
                Ok(node) => Some((number, node)),
                Err(error) => {
                    assert!(matches!(error.code(), ErrorCode::Io | ErrorCode::Bind), "{error}");
                    assert!(error.message().contains("(os error 24)"), "{error}");
                    assert_eq!(library_threads(), []);
                    None
                }
            }
        });
        let (needed, node) = refused.unwrap();
        assert!(needed > 6, "{needed}");
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        node.stop(GUARD).unwrap();
    });
    assert_eq!(stderr, "");
}

/// A running node on a machine that cannot start threads: it reports that, loses nothing, and recovers.
fn survives(limit: &Limit, dds_url: &str) {
    let place = std::env::temp_dir().join(format!("posemesh-starved-{}", std::process::id()));
    let options = [("callback_bind", "127.0.0.1:0"), ("state_dir", place.to_str().unwrap())];
    let node = Node::start(&resolving_config(dds_url, &options)).unwrap();
    node.wait(Wait::Registered, Some(GUARD)).unwrap();
    let registered_at = |node: &Node| node.status().unwrap().attempts;
    wait_until("the pool is idle", || thread_named("posemesh-io").is_none());
    let attempts = registered_at(&node);

    limit.begin();
    let (sender, events) = channel();
    node.set_event_callback(move |event| drop(sender.send(event.clone()))).unwrap();
    let (logged, records) = channel();
    log::set_callback(Level::Debug, move |record| drop(logged.send(record.clone())));
    let (called, calls) = channel();
    let pending = node.wait_then(Wait::Registered, move |result| drop(called.send(result))).unwrap();
    node.rearm().unwrap();
    if limit.0 == libc::RLIMIT_NPROC {
        wait_until("the attempt fails", || node.status().unwrap().consecutive_failures > 0);
        let error = node.last_error().unwrap().unwrap();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        assert!(error.message().contains("cannot start a thread"), "{error}");
        assert!(node.status().unwrap().running);
        assert!(events.try_recv().is_err(), "there is no thread to deliver it");
    }
    limit.end();

    node.wait(Wait::Registered, Some(GUARD)).unwrap();
    assert!(registered_at(&node) > attempts);
    wait_until("the state is kept", || node.persistence_error().unwrap().is_none());
    // What waited for a thread is delivered completely.
    assert_eq!(events.recv_timeout(GUARD).unwrap().dropped, 0);
    assert_eq!(records.recv_timeout(GUARD).unwrap().dropped, 0);
    calls.recv_timeout(GUARD).unwrap().unwrap();
    drop(pending);
    node.stop(GUARD).unwrap();
    assert_eq!(library_threads(), []);
    fs::remove_dir_all(place).unwrap();
}

#[test]
fn a_node_recovers_from_the_limit_on_threads() {
    let stderr = alone("a_node_recovers_from_the_limit_on_threads", |dds_url| {
        become_ordinary_user();
        survives(&Limit(libc::RLIMIT_NPROC), dds_url);
    });
    assert_eq!(stderr, "");
}

#[test]
fn a_node_recovers_from_a_lack_of_memory_for_threads() {
    let stderr = alone("a_node_recovers_from_a_lack_of_memory_for_threads", |dds_url| {
        survives(&Limit(libc::RLIMIT_AS), dds_url);
    });
    assert_eq!(stderr, "");
}

#[test]
fn a_write_beyond_the_limit_on_file_sizes_is_an_error() {
    let stderr = alone("a_write_beyond_the_limit_on_file_sizes_is_an_error", |dds_url| {
        let place = std::env::temp_dir().join(format!("posemesh-limited-{}", std::process::id()));
        let options = [("callback_bind", "127.0.0.1:0"), ("state_dir", place.to_str().unwrap())];
        let limit = Limit(libc::RLIMIT_FSIZE);
        limit.set(0);
        // On a thread of the host.
        let state = StateDir::open(&place).unwrap();
        let error = state.write_node_secret("secret").unwrap_err();
        assert!(error.message().contains("File too large"), "{error}");
        drop(state);
        // On threads of the library.
        let node = Node::start(&config(dds_url, &options)).unwrap();
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        wait_until("the error shows", || node.persistence_error().unwrap().is_some());
        limit.end();
        node.rearm().unwrap();
        wait_until("the state is kept", || node.persistence_error().unwrap().is_none());
        node.stop(GUARD).unwrap();
        fs::remove_dir_all(place).unwrap();
    });
    assert_eq!(stderr, "");
}

#[test]
fn a_node_needs_no_random_numbers_once_it_runs() {
    let stderr = alone("a_node_needs_no_random_numbers_once_it_runs", |dds_url| {
        let node = Node::start(&resolving_config(dds_url, &[])).unwrap();
        let first = node.access_token(Some(GUARD)).unwrap();
        forbid_random_numbers();
        node.invalidate_token().unwrap();
        assert_ne!(node.access_token(Some(GUARD)).unwrap().value(), first.value());
        node.rearm().unwrap();
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        node.stop(GUARD).unwrap();
    });
    assert_eq!(stderr, "");
}
