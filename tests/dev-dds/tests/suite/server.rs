//! The server: its address, its record, and how it stops.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use posemesh_dev_dds::{DevDds, Endpoint};
use serde_json::json;

use crate::client::{Node, OK, PATIENCE, Wallet, post, request};

#[test]
fn it_listens_on_loopback_only() {
    let builder = DevDds::builder().bind(([0, 0, 0, 0], 0).into());
    assert_eq!(builder.start().unwrap_err().kind(), ErrorKind::InvalidInput);
    let dds = DevDds::start().unwrap();
    assert_eq!(dds.url(), format!("http://{}", dds.authority()));
    assert!(dds.authority().starts_with("127.0.0.1:"));
}

#[test]
fn it_can_be_used_inside_another_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let dds = DevDds::start().unwrap();
        let node = Node::start(&[OK]);
        dds.set_node_url(Some(node.url)).unwrap();
        assert_eq!(dds.probe_health().unwrap(), 200);
    });
}

#[test]
fn the_port_is_free_after_the_drop() {
    let dds = DevDds::start().unwrap();
    let authority = dds.authority();
    let mut idle = TcpStream::connect(&authority).unwrap();
    idle.set_read_timeout(Some(PATIENCE)).unwrap();
    // A connection that is kept alive.
    idle.write_all(b"GET / HTTP/1.1\r\nhost: dds\r\n\r\n").unwrap();
    assert_ne!(idle.read(&mut [0; 4096]).unwrap(), 0);
    drop(dds);
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    TcpListener::bind(&authority).unwrap();
}

#[test]
fn every_request_is_recorded() {
    let dds = DevDds::start().unwrap();
    let authority = dds.authority();
    assert_eq!(request(&authority, "GET", "/no/such?query=1", "").status, 404);
    assert_eq!(request(&authority, "GET", Endpoint::Challenge.path(), "").status, 404);
    let body = json!({ "wallet": Wallet::new(1).address() });
    post(&dds, Endpoint::Challenge, &body);

    let requests = dds.requests();
    assert_eq!(requests.iter().map(|request| request.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("GET", "/no/such?query=1"));
    assert_eq!((requests[1].endpoint, requests[1].status), (None, Some(404)));
    assert_eq!(requests[2].header("x-test"), Some("yes"));
    assert_eq!(requests[2].json(), Some(body));
    assert_eq!(requests[2].status, Some(200));
    assert!(requests.is_sorted_by_key(|request| request.since_start));

    assert_eq!(dds.requests_to(Endpoint::Challenge).len(), 1);
    dds.clear_requests();
    assert!(dds.requests().is_empty());
}

#[test]
fn a_wait_ends_at_its_timeout() {
    let dds = DevDds::start().unwrap();
    assert!(!dds.wait_for_requests(Endpoint::Challenge, 1, Duration::ZERO));
    assert!(!dds.wait_for(Duration::from_millis(1), |dds| !dds.nodes().is_empty()));
}

#[test]
fn a_wait_ends_when_its_condition_holds() {
    let dds = Arc::new(DevDds::start().unwrap());
    let (asked, was_asked) = mpsc::channel();
    let (woke, was_woken) = mpsc::channel();
    let waiting = Arc::clone(&dds);
    thread::spawn(move || {
        let registered = waiting.wait_for(Duration::MAX, |dds| {
            asked.send(()).expect("the test is still running");
            !dds.nodes().is_empty()
        });
        woke.send(registered).expect("the test is still running");
    });
    was_asked.recv_timeout(PATIENCE).unwrap();
    Wallet::new(1).register(&dds);
    assert_eq!(was_woken.recv_timeout(PATIENCE), Ok(true));
    assert!(dds.wait_for_requests(Endpoint::Register, 1, PATIENCE));
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let dds = DevDds::start().unwrap();
    let mut stream = TcpStream::connect(dds.authority()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let path = Endpoint::Challenge.path();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: dds\r\ncontent-length: 99999999\r\n\r\n").unwrap();
    stream.write_all(&vec![b' '; 1024 * 1024 + 1]).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 400");
}
