//! The admin server: whether a node is alive and ready, and its metrics, over real sockets.

#[cfg(target_os = "linux")]
#[path = "support/place.rs"]
mod place;
mod support;
#[cfg(target_os = "linux")]
#[path = "support/worker.rs"]
mod worker;

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};

use posemesh_dev_dds::{Callback, DevDds, Endpoint, Fault};
use posemesh_node_registration::error::ErrorCode;
use posemesh_node_registration::metrics::CONTENT_TYPE;
use posemesh_node_registration::node::{Node, Wait};
use reqwest::Method;
use support::{GUARD, WALLET, config, start};

/// A response of an admin server.
#[derive(Debug)]
struct Answer {
    status: u16,
    content_type: String,
    allow: Option<String>,
    length: Option<u64>,
    body: String,
}

fn ask(method: Method, address: impl std::fmt::Display, path: &str) -> Answer {
    support::runtime().block_on(async {
        let url = format!("http://{address}{path}");
        let response = support::client(GUARD).request(method, url).send().await.expect("a response");
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            Some(value.to_str().expect("text").to_owned())
        };
        Answer {
            status: response.status().as_u16(),
            content_type: header("content-type").unwrap_or_default(),
            allow: header("allow"),
            length: header("content-length").map(|length| length.parse().expect("a number")),
            body: response.text().await.expect("text"),
        }
    })
}

fn get(node: &Node, path: &str) -> Answer {
    ask(Method::GET, node.admin_address().expect("this process").expect("a server"), path)
}

fn quiet_dds() -> DevDds {
    DevDds::builder().callback(Callback::Never).start().expect("a DDS")
}

#[test]
fn a_node_says_that_it_is_alive_and_when_it_is_ready() {
    let dds = quiet_dds();
    dds.inject(Endpoint::Register, Fault::status(403), 1);
    let node = start(&dds, &[("admin_bind", "127.0.0.1:0"), ("callback_bind", "127.0.0.1:0")]);
    assert!(dds.wait_for_requests(Endpoint::Register, 1, GUARD));
    let alive = get(&node, "/livez");
    assert_eq!((alive.status, alive.body.as_str()), (200, "alive\n"), "whatever DDS does");
    let refused = get(&node, "/readyz");
    assert_eq!((refused.status, refused.content_type.as_str()), (503, "text/plain; charset=utf-8"));
    assert!(refused.body.starts_with("not registered"), "{refused:?}");

    node.rearm().expect("it runs");
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    let ready = get(&node, "/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, "registered\n"));
    assert_eq!(get(&node, "/readyz?secret=0").status, 200);
    let waiting = get(&node, "/readyz?secret=1");
    assert_eq!(waiting.status, 503, "{waiting:?}");
    assert!(waiting.body.contains("has not called back with the node secret"), "{waiting:?}");
    assert_eq!(get(&node, "/readyz?secret=yes").status, 400, "ready would be wrong");
    let callback = node.callback_address().expect("this process").expect("a server");
    dds.set_node_url(Some(format!("http://{callback}"))).expect("loopback");
    assert_eq!(dds.call_back().expect("an answer").status, 200);
    assert_eq!(get(&node, "/readyz?secret=1").status, 200);
}

/// What DDS answered may say more than a stranger should read. The log has it.
#[test]
fn a_stranger_reads_neither_the_words_of_dds_nor_who_the_node_is() {
    let dds = quiet_dds();
    let words = Fault::Status { code: 403, retry_after: None, body: "tenant 17 is suspended".into() };
    dds.inject(Endpoint::Register, words, 1);
    let node = start(&dds, &[("admin_bind", "127.0.0.1:0")]);
    let reason = || node.ready(false).expect("this process").reason().to_owned();
    let deadline = std::time::Instant::now() + GUARD;
    while !reason().contains("tenant 17 is suspended") {
        assert!(std::time::Instant::now() < deadline, "{}", reason());
        std::thread::yield_now();
    }
    let refused = get(&node, "/readyz");
    assert_eq!(refused.body, "not registered, because DDS refuses the registration; see the log\n");
    let metrics = get(&node, "/metrics");
    for private in ["tenant", &WALLET[2..], &dds.authority()] {
        assert!(
            !metrics.body.to_lowercase().contains(private) && !refused.body.contains(private),
            "{private}"
        );
    }
}

#[test]
fn metrics_are_served_as_prometheus_expects() {
    let dds = quiet_dds();
    let node = start(&dds, &[("admin_bind", "127.0.0.1:0")]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    let metrics = get(&node, "/metrics");
    assert_eq!((metrics.status, metrics.content_type.as_str()), (200, CONTENT_TYPE));
    assert_eq!(metrics.body, node.metrics_text().expect("this process"));
    assert!(metrics.body.contains("posemesh_node_state{state=\"registered\"} 1\n"));

    let address = node.admin_address().expect("this process").expect("a server");
    let head = ask(Method::HEAD, address, "/metrics");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.length, Some(metrics.body.len() as u64));
}

#[test]
fn nothing_else_is_served() {
    let dds = quiet_dds();
    let node = start(&dds, &[("admin_bind", "127.0.0.1:0"), ("callback_bind", "127.0.0.1:0")]);
    let admin = node.admin_address().expect("this process").expect("a server");
    for path in ["/livez", "/readyz", "/readyz?secret=1", "/metrics"] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
            let refused = ask(method.clone(), admin, path);
            assert_eq!(
                (refused.status, refused.allow.as_deref()),
                (405, Some("GET,HEAD")),
                "{method} {path}"
            );
        }
    }
    for path in ["/", "/health", "/internal/v1/registrations", "/metrics/", "/livez/x", "/debug"] {
        for method in [Method::GET, Method::POST] {
            assert_eq!(ask(method.clone(), admin, path).status, 404, "{method} {path}");
        }
    }
    let callback = node.callback_address().expect("this process").expect("a server");
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(ask(Method::GET, callback, path).status, 404, "DDS's port has only DDS's routes");
    }
}

#[test]
fn idle_connections_do_not_keep_others_out() {
    let dds = quiet_dds();
    let node = start(&dds, &[("admin_bind", "127.0.0.1:0")]);
    let admin = node.admin_address().expect("this process").expect("a server");
    let idle: Vec<_> = (0..400).map(|_| TcpStream::connect(admin).expect("it listens")).collect();
    assert_eq!(get(&node, "/livez").status, 200);
    drop(idle);
}

#[test]
fn the_port_is_free_after_a_stop_and_connections_end() {
    let dds = quiet_dds();
    let node = start(&dds, &[("admin_bind", "127.0.0.1:0")]);
    let admin = node.admin_address().expect("this process").expect("a server");
    let mut open = TcpStream::connect(admin).expect("it listens");
    open.set_read_timeout(Some(GUARD)).expect("a timeout");
    assert_eq!(get(&node, "/livez").status, 200);
    node.stop(GUARD).expect("stops");
    assert_eq!(open.read(&mut [0; 16]).unwrap_or(0), 0, "closed");
    TcpListener::bind(admin).expect("free");
    assert_eq!(node.admin_address().expect("this process"), Some(admin), "where it was");
}

#[test]
fn a_port_in_use_fails_the_start_by_the_name_of_the_option() {
    let dds = quiet_dds();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let refused = Node::start(&config(&dds.url(), &[("admin_bind", &address)])).expect_err("in use");
    assert_eq!(refused.code(), ErrorCode::Bind);
    assert!(refused.message().starts_with(&format!("admin_bind {address}: ")), "{refused}");
    assert!(dds.requests().is_empty());

    let both = [("admin_bind", address.as_str()), ("callback_bind", address.as_str())];
    let refused = Node::start(&config(&dds.url(), &both)).expect_err("one port for two servers");
    assert_eq!(refused.code(), ErrorCode::InvalidConfig);
    assert!(refused.message().contains("admin_bind and callback_bind are both"), "{refused}");
    drop(taken);
    let node = start(&dds, &[("admin_bind", &address)]);
    assert_eq!(get(&node, "/livez").status, 200, "nothing was left behind");
    let without = start(&quiet_dds(), &[]);
    assert_eq!(without.admin_address().expect("this process"), None);
}

/// Not a test: the body of a worker process.
#[cfg(target_os = "linux")]
#[test]
fn worker() {
    if support::child_case().is_some() {
        worker::work();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn every_process_of_a_node_has_its_own_admin_server() {
    use worker::Worker;

    let (dds, directory) = (support::dds_that_calls_when_told(), place::Place::new());
    let state = directory.state();
    let options = [("STATE_DIR", state.as_str()), ("ADMIN_BIND", "127.0.0.1:0")];
    let mut leader = Worker::start(&dds.url(), &options);
    assert_eq!(leader.ask("registered"), "Ok(())");
    let mut follower = Worker::start(&dds.url(), &options);
    assert_eq!(follower.ask("registered"), "Ok(())");
    let addresses = [leader.ask("admin-address"), follower.ask("admin-address")];
    assert_ne!(addresses[0], addresses[1]);
    for (address, leads) in addresses.iter().zip([1, 0]) {
        assert_eq!(ask(Method::GET, address, "/readyz").body, "registered\n");
        let metrics = ask(Method::GET, address, "/metrics").body;
        assert!(metrics.contains(&format!("\nposemesh_node_leader {leads}\n")), "{metrics}");
    }
    leader.kill();
    follower.until_answer("status", |status| status.starts_with("leader registered"));
    let metrics = ask(Method::GET, &addresses[1], "/metrics").body;
    assert!(metrics.contains("\nposemesh_node_leader 1\n"), "{metrics}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_does_not_keep_the_port() {
    let dds = quiet_dds();
    let mut parent = worker::Worker::start(&dds.url(), &[("ADMIN_BIND", "127.0.0.1:0")]);
    let address = parent.ask("admin-address");
    let child: i32 = parent.ask("fork").parse().expect("a process id");
    assert_eq!(parent.ask("stop"), "Ok(())");
    assert!(std::path::Path::new(&format!("/proc/{child}")).exists(), "it lives");
    TcpListener::bind(&address).expect("free");
    let killed = std::process::Command::new("kill").arg("-9").arg(child.to_string()).status();
    assert!(killed.expect("kill").success());
}
