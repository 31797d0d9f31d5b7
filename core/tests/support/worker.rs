//! A node in a process of its own: it executes the commands on its standard input,
//! line by line, and can be killed at any moment.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use posemesh_dev_dds::DevDds;
use posemesh_node_registration::axum::{self, Router};
use posemesh_node_registration::config::Config;
use posemesh_node_registration::event::EventKind;
use posemesh_node_registration::log::{self, Level};
use posemesh_node_registration::node::{Node, Wait};

use crate::support::{self, CHILD_CASE, CREDENTIALS, GUARD, KEY};

#[cfg(target_os = "linux")]
#[path = "worker/linux.rs"]
mod linux;

/// The prefix of the lines that the worker prints for the test, because the test harness prints lines too.
const MARK: &str = "> ";

/// The body of the worker process.
pub(crate) fn work() {
    // The harness has begun a line.
    std::io::stdout().write_all(b"\n").expect("a reader");
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{MARK}{}", line.replace('\n', " ")).and_then(|()| out.flush()).expect("a reader");
    };
    log::set_callback(Level::Info, move |record| {
        say(format!("log {} {}", record.level, record.message));
    });
    let mut config = Config::new();
    config.load_env().expect("a good environment");
    let started = Node::start_with_event_callback(&config, move |event| match &event.kind {
        EventKind::StatusChanged { state, .. } => say(format!("event status {state}")),
        EventKind::SecretChanged { version } => say(format!("event secret {version}")),
        EventKind::AttemptFailed { code, .. } => say(format!("event failed {code}")),
        EventKind::Healthcheck => say("event healthcheck".into()),
        _ => {}
    });
    let node = match started {
        Ok(node) => node,
        Err(error) => return say(format!("refused {} {error}", error.code())),
    };
    say(format!("started {}", std::process::id()));
    for command in std::io::stdin().lock().lines() {
        let answer = match command.expect("text").as_str() {
            "status" => {
                let status = node.status().expect("not forked");
                let error = node.persistence_error().expect("not forked");
                format!(
                    "{} {} version={} attempts={} failures={} healthcheck={} persistence={}",
                    status.role,
                    status.state,
                    status.secret_version,
                    status.attempts,
                    status.consecutive_failures,
                    status.last_healthcheck.unwrap_or_default(),
                    error.map_or_else(|| "fine".into(), |error| error.to_string())
                )
            }
            "secret" => {
                let secret = node.read_secret().expect("not forked");
                secret.map_or_else(|| "none".into(), |secret| secret.expose().to_owned())
            }
            "id" => {
                let id = node.node_id().expect("not forked");
                id.map_or_else(|| "none".into(), |id| id.to_string())
            }
            "address" => format!("{:?}", node.callback_address().expect("not forked")),
            "admin-address" => node.admin_address().expect("not forked").expect("a server").to_string(),
            "error" => format!("{:?}", node.last_error().expect("not forked")),
            "registered" => format!("{:?}", node.wait(Wait::Registered, Some(GUARD))),
            "has-secret" => format!("{:?}", node.wait(Wait::Secret, Some(GUARD))),
            "rearm" => {
                let result = node.rearm();
                format!("{result:?} {}", node.status().expect("not forked").state)
            }
            "token" => node.access_token(Some(GUARD)).expect("a token").value().to_owned(),
            "token-refused" => format!("{:?}", node.invalidate_token()),
            "metrics" => node.metrics_text().expect("not forked").trim_end().replace('\n', " | "),
            "serve" => serve(node.router()),
            "stop" => format!("{:?}", node.stop(GUARD)),
            #[cfg(target_os = "linux")]
            other => linux::answer(other, &node, &config, say),
            #[cfg(not(target_os = "linux"))]
            other => panic!("unknown command {other}"),
        };
        say(format!("answer {answer}"));
    }
}

/// Serves the routes of the node in a server of this process, on a thread of its own. Returns the address.
fn serve(routes: Router) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    listener.set_nonblocking(true).expect("a socket");
    thread::spawn(move || {
        support::runtime().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, routes).await.expect("it serves");
        });
    });
    address
}

/// A worker, as the test sees it. Killed when dropped.
pub(crate) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    told: RefCell<Vec<String>>,
}

impl Worker {
    /// Starts a worker with these environment variables in addition to the required ones.
    pub(crate) fn spawn(dds_base_url: &str, options: &[(&str, &str)]) -> Self {
        let program = std::env::current_exe().expect("this binary");
        Self::spawn_as(Command::new(program), dds_base_url, options)
    }

    /// Starts a worker that sees only its own process, as in a container.
    pub(crate) fn start_apart(dds_base_url: &str, options: &[(&str, &str)]) -> Self {
        let mut program = Command::new("unshare");
        program.args(["--pid", "--fork", "--kill-child"]).arg(std::env::current_exe().expect("this binary"));
        let worker = Self::spawn_as(program, dds_base_url, options);
        worker.until("started");
        worker
    }

    /// Starts a worker in another network namespace.
    pub(crate) fn start_in_namespace(name: &str, dds_base_url: &str, options: &[(&str, &str)]) -> Self {
        let mut program = Command::new("ip");
        program.args(["netns", "exec", name]).arg(std::env::current_exe().expect("this binary"));
        let worker = Self::spawn_as(program, dds_base_url, options);
        worker.until("started");
        worker
    }

    /// Starts a worker that may open only `limit` files.
    pub(crate) fn start_with_files(limit: u32, dds_base_url: &str, options: &[(&str, &str)]) -> Self {
        let mut program = Command::new("prlimit");
        program.arg(format!("--nofile={limit}")).arg(std::env::current_exe().expect("this binary"));
        let worker = Self::spawn_as(program, dds_base_url, options);
        worker.until("started");
        worker
    }

    /// Starts a worker with this umask, as another user if `user` is not 0.
    #[cfg(unix)]
    pub(crate) fn start_masked(umask: &str, user: u32, dds_base_url: &str, options: &[(&str, &str)]) -> Self {
        let worker = Self::spawn_masked(umask, user, dds_base_url, options);
        worker.until("started");
        worker
    }

    /// As [`Worker::start_masked`], for a worker whose start may be refused.
    #[cfg(unix)]
    pub(crate) fn spawn_masked(umask: &str, user: u32, dds_base_url: &str, options: &[(&str, &str)]) -> Self {
        use std::os::unix::process::CommandExt as _;
        let mut program = Command::new("sh");
        program.args(["-c", &format!("umask {umask} && exec \"$0\" \"$@\"")]);
        program.arg(std::env::current_exe().expect("this binary"));
        if user != 0 {
            program.uid(user).gid(user);
        }
        Self::spawn_as(program, dds_base_url, options)
    }

    fn spawn_as(mut program: Command, dds_base_url: &str, options: &[(&str, &str)]) -> Self {
        let required = [
            ("DDS_BASE_URL", dds_base_url),
            ("REG_SECRET", CREDENTIALS),
            ("SECP256K1_PRIVHEX", KEY),
            ("CAPABILITIES", "/example/v1"),
            ("NODE_VERSION", "1.2.3"),
        ];
        let mut child = program
            .args(["worker", "--exact", "--nocapture", "--test-threads=1"])
            .env_clear()
            // Windows has no sockets without it.
            .envs(std::env::var_os("SystemRoot").map(|directory| ("SystemRoot", directory)))
            .env(CHILD_CASE, "worker")
            .envs(required.iter().chain(options).copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child process");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines() {
                let Ok(line) = line else { return };
                if let Some(line) = line.strip_prefix(MARK)
                    && sender.send(line.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        Self { child, input, lines, told: RefCell::default() }
    }

    /// Starts a worker, and waits until its node runs.
    pub(crate) fn start(dds_base_url: &str, options: &[(&str, &str)]) -> Self {
        let worker = Self::spawn(dds_base_url, options);
        worker.until("started");
        worker
    }

    /// Waits for the next line with this beginning, and returns the rest of it. The lines before it are kept for
    /// [`Worker::told`].
    pub(crate) fn until(&self, beginning: &str) -> String {
        let deadline = Instant::now() + GUARD;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|error| panic!("no {beginning}: {error}; {:?}", self.told.borrow()));
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.trim_start().to_owned();
            }
            self.told.borrow_mut().push(line);
        }
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.send(command).expect("it runs");
        self.until("answer")
    }

    /// Sends a command to a worker that may have ended.
    pub(crate) fn send(&mut self, command: &str) -> std::io::Result<()> {
        let input = self.input.as_mut().expect("not closed");
        input.write_all(format!("{command}\n").as_bytes())
    }

    /// Repeats the command until the answer is as wanted.
    pub(crate) fn until_answer(&mut self, command: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + GUARD;
        loop {
            let answer = self.ask(command);
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{command}: {answer}; {:?}", self.told.borrow());
            thread::yield_now();
        }
    }

    pub(crate) fn is_leader(&mut self) -> bool {
        self.ask("status").starts_with("leader")
    }

    /// The lines it has printed so far, without answers.
    pub(crate) fn told(&self) -> Vec<String> {
        self.told.borrow_mut().extend(self.lines.try_iter());
        self.told.borrow().clone()
    }

    /// Sends it a signal, such as `STOP`, and waits until it has stopped.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().expect("kill");
        assert!(sent.success(), "{signal}");
        // The other threads of a process run until the one that receives the signal is scheduled.
        let deadline = Instant::now() + GUARD;
        while signal == "STOP" && !self.is_stopped() {
            assert!(Instant::now() < deadline, "it does not stop");
            thread::yield_now();
        }
    }

    /// Whether the kernel has stopped every thread.
    fn is_stopped(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).expect("it is not reaped");
        let mut states = tasks
            .filter_map(|task| std::fs::read_to_string(task.expect("a thread").path().join("stat")).ok());
        states.all(|stat| stat.rsplit(") ").next().is_some_and(|state| state.starts_with('T')))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL, and waits for the end of the process.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }

    /// Lets it end normally, with a stop of its node; returns its lines.
    pub(crate) fn end(mut self) -> Vec<String> {
        drop(self.input.take());
        let status = self.child.wait().expect("it is ours");
        assert!(status.success(), "{status}: {:?}", self.told());
        // Read the rest of its output.
        while let Ok(line) = self.lines.recv() {
            self.told.borrow_mut().push(line);
        }
        self.told.borrow().clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three processes of one node, the leader first.
pub(crate) fn three(dds: &DevDds, state: &str, bind: &str) -> [Worker; 3] {
    let options = [("STATE_DIR", state), ("CALLBACK_BIND", bind)];
    let mut workers = std::array::from_fn(|_| Worker::start(&dds.url(), &options));
    for (worker, role) in workers.iter_mut().zip(["leader", "follower", "follower"]) {
        assert_eq!(worker.ask("registered"), "Ok(())");
        assert!(worker.ask("status").starts_with(&format!("{role} registered")));
    }
    workers
}

/// The index of the leader. For a moment there may be none, or a follower may not know yet that it leads.
pub(crate) fn leader_of(workers: &mut [Worker]) -> usize {
    let deadline = Instant::now() + GUARD;
    loop {
        let leaders: Vec<_> = (0..workers.len()).filter(|nth| workers[*nth].is_leader()).collect();
        if let [leader] = leaders[..] {
            return leader;
        }
        assert!(Instant::now() < deadline, "leaders: {leaders:?}");
    }
}
