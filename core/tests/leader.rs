//! The leader and its followers: their connections, and conditions under which they must still find each other. Real
//! processes, file systems and sockets.

#[cfg_attr(unix, path = "leader/connect_unix.rs")]
#[cfg_attr(windows, path = "leader/connect_windows.rs")]
mod connect;
#[cfg(target_os = "linux")]
#[path = "leader/linux.rs"]
mod linux;
#[path = "support/place.rs"]
mod place;
mod support;
#[path = "support/worker.rs"]
mod worker;

use std::io::{Read as _, Write as _};

use connect::{connect, until_closed};
use place::{Place, free_port};
use posemesh_dev_dds::DevDds;
use support::{child_case, dds_that_calls_when_told};
use worker::{Worker, leader_of, three};

/// Not a test: the body of a worker process.
#[test]
fn worker() {
    if child_case().is_some() {
        worker::work();
    }
}

/// Has DDS send a secret, and waits until all these processes hold it.
fn send_secret(dds: &DevDds, secret: &str, workers: &mut [Worker]) {
    dds.set_secret(Some(secret.into()));
    assert_eq!(dds.call_back().expect("an answer").status, 200);
    for worker in workers {
        worker.until_answer("secret", |held| held == secret);
    }
}

const HELLO: [u8; 6] = [0, 0, 0, 2, 0, 1];

#[test]
fn a_connection_that_is_not_a_follower_is_closed() {
    let (dds, place, bind) = (dds_that_calls_when_told(), Place::new(), free_port());
    dds.set_node_url(Some(format!("http://{bind}"))).expect("loopback");
    let mut workers = Vec::from(three(&dds, &place.state(), &bind));
    send_secret(&dds, "the secret", &mut workers);
    let request = |body: &[u8]| {
        let length = u32::try_from(body.len() + 1).expect("short").to_be_bytes();
        [&HELLO[..], &length, &[2], body].concat()
    };
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 100],
        vec![0xff; 100],
        [0, 0, 0, 2, 9, 1].to_vec(),
        [&HELLO[..], &[0xff; 100]].concat(),
        [&HELLO[..], &5000_u32.to_be_bytes(), &[2; 5000]].concat(),
        request(&[]),
        request(&[1; 8]),
        request(&[1; 10]),
        request(&[1; 30]),
    ] {
        let mut stream = connect(&place.state());
        // The connection may be closed before everything is sent.
        let _ = stream.write_all(&garbage);
        until_closed(stream);
    }
    // A request that is unknown to this version is answered, and the connection stays open.
    let mut stream = connect(&place.state());
    stream.write_all(&request(&[0, 0, 0, 0, 0, 0, 0, 7, 99, 1, 2])).expect("it listens");
    let mut received = Vec::new();
    let answer = [0, 0, 0, 10, 3, 0, 0, 0, 0, 0, 0, 0, 7, 2];
    while !received.windows(answer.len()).any(|bytes| bytes == answer) {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).expect("an answer");
        assert!(read > 0, "closed");
        received.extend_from_slice(&buffer[..read]);
    }
    send_secret(&dds, "the secret", &mut workers);
    assert_eq!(dds.nodes()[0].registrations, 1);
    assert_eq!(leader_of(&mut workers), 0);
}

#[test]
fn a_flood_of_connections_does_not_block_followers() {
    let (dds, place) = (dds_that_calls_when_told(), Place::new());
    let mut workers = Vec::from(three(&dds, &place.state(), "127.0.0.1:0"));
    let mut flood: Vec<_> = (0..200).map(|_| connect(&place.state())).collect();
    let start = || {
        let mut worker = Worker::start(&dds.url(), &[("STATE_DIR", &place.state())]);
        worker.until_answer("status", |status| {
            status.starts_with("follower registered") && status.ends_with("persistence=fine")
        });
        worker
    };
    let late = start();
    // The next ones send a greeting and read nothing.
    for mut stream in (0..200).map(|_| connect(&place.state())) {
        stream.write_all(&HELLO).expect("it listens");
        flood.push(stream);
    }
    let later = start();
    workers.extend([late, later]);
    workers[4].ask("rearm");
    for worker in &mut workers {
        worker.until("event status registered");
    }
    // Those that sent no greeting were closed.
    for stream in flood.drain(..200) {
        until_closed(stream);
    }
    workers.remove(0).kill();
    leader_of(&mut workers);
}
