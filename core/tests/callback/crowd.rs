//! More connections than the server accepts, and more refusals than belong in a log.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use posemesh_node_registration::log::{Level, Record};
use serde_json::json;

use crate::support::{self, GUARD};
use crate::{ID, SECRET, Setup, callback, connect, exchange, get, is_open, parse, read_to_end, request};

/// The limit of the server.
const FULL: usize = 256;

/// A callback in two halves: the first `length` bytes, and the rest.
struct Halves {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Halves {
    fn begin(address: SocketAddr, cut: impl Fn(usize) -> usize) -> Self {
        let whole = callback(json!({ "id": ID, "secret": SECRET }).to_string());
        let header = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a header") + 4;
        let (now, rest) = whole.split_at(cut(header));
        let mut stream = connect(address);
        stream.write_all(now).expect("sent");
        Self { stream, rest: rest.to_vec() }
    }

    fn finish(mut self) -> u16 {
        self.stream.write_all(&self.rest).expect("sent");
        parse(&read_to_end(&mut self.stream)).status
    }
}

fn half_header(address: SocketAddr) -> Halves {
    Halves::begin(address, |header| header / 2)
}

fn half_body(address: SocketAddr) -> Halves {
    Halves::begin(address, |header| header + 1)
}

/// Returns when the server has handled everything that was sent before.
fn settle(setup: &Setup) {
    assert_eq!(exchange(setup.address, &get("/health", "")).expect("an answer").status, 200);
}

#[test]
fn idle_connections_are_closed_before_partial_requests() {
    let setup = Setup::new(&[]);
    let (header, body) = (half_header(setup.address), half_body(setup.address));
    settle(&setup);
    let idle: Vec<_> = (0..FULL * 3).map(|_| connect(setup.address)).collect();
    settle(&setup);
    assert!(!is_open(&idle[0]), "the oldest idle one was closed");
    assert_eq!([header.finish(), body.finish()], [200, 200]);
}

#[test]
fn partial_headers_are_closed_before_partial_bodies() {
    let setup = Setup::new(&[]);
    let body = half_body(setup.address);
    settle(&setup);
    let headers: Vec<_> = (0..FULL * 2).map(|_| half_header(setup.address)).collect();
    settle(&setup);
    assert!(!is_open(&headers[0].stream), "the oldest header was closed");
    assert_eq!(body.finish(), 200);
}

#[test]
fn partial_bodies_do_not_block_new_connections() {
    let setup = Setup::new(&[]);
    let bodies: Vec<_> = (0..FULL * 2).map(|_| half_body(setup.address)).collect();
    settle(&setup);
    assert!(!is_open(&bodies[0].stream), "the oldest body was closed");
    assert_eq!(setup.send_secret(SECRET), 200);
}

/// Each callback pauses between its header and its body, while new connections keep arriving.
#[test]
fn callbacks_succeed_during_a_flood_of_connections() {
    let setup = Setup::new(&[]);
    let flooded = AtomicBool::new(true);
    // The flood waits while a callback sends its header: as long as the server has nothing of a callback, nothing
    // distinguishes it from the flood.
    let sending = Mutex::new(());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut idle = std::collections::VecDeque::new();
            while flooded.load(Ordering::Relaxed) {
                drop(sending.lock());
                idle.push_back(connect(setup.address));
                if idle.len() > 2 * FULL {
                    idle.pop_front();
                }
            }
        });
        let address = setup.address;
        let sending = &sending;
        let honest = move || {
            let callback = {
                let _sending = sending.lock();
                half_body(address)
            };
            thread::sleep(Duration::from_millis(100));
            callback.finish()
        };
        let answers: Vec<_> = (0..10).map(|_| scope.spawn(move || [honest(), honest(), honest()])).collect();
        let answers: Vec<_> = answers.into_iter().map(|answers| answers.join()).collect();
        flooded.store(false, Ordering::Relaxed);
        for answer in answers {
            assert_eq!(answer.expect("answered"), [200; 3]);
        }
    });
}

#[test]
fn refused_callbacks_do_not_fill_the_log() {
    const ROUNDS: usize = 500;
    support::alone("crowd::refused_callbacks_do_not_fill_the_log", || {
        let setup = Setup::new(&[]);
        assert_eq!(setup.send_secret(SECRET), 200);
        let post = |body: String| {
            let json = "content-type: application/json\r\n";
            request("POST", "/internal/v1/registrations", json, body.as_bytes())
        };
        let round = [
            post(json!({ "id": ID, "secret": "another" }).to_string()),
            post("{}".into()),
            post("no JSON".into()),
            post(json!({ "id": ID, "secret": " " }).to_string()),
        ]
        .concat();
        // Pipelined.
        let mut stream = connect(setup.address);
        thread::scope(|scope| {
            let mut sender = stream.try_clone().expect("a socket");
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    sender.write_all(&round).expect("sent");
                }
                sender.write_all(&get("/health", "")).expect("sent");
            });
            let answers = read_to_end(&mut stream);
            let answers = String::from_utf8(answers).expect("UTF-8");
            assert_eq!(answers.matches("HTTP/1.1 4").count(), 4 * ROUNDS);
        });
        setup.node.stop(GUARD).expect("stops");
        let logged = support::logged();
        let is_of_the_server = |record: &&Record| record.target.ends_with("::http");
        let warnings = logged.iter().filter(|record| record.level == Level::Warn);
        let warnings: Vec<_> = warnings.filter(is_of_the_server).collect();
        assert_eq!(warnings.len(), 4, "{warnings:?}");
    });
}

/// Processes that may open few files, with more connections than that.
#[cfg(target_os = "linux")]
mod few_files {
    use std::time::Instant;

    use posemesh_dev_dds::DevDds;

    use super::*;
    use crate::worker::Worker;

    /// A node in a process that may open 64 files.
    fn start(dds: &DevDds) -> (Worker, SocketAddr) {
        let mut worker = Worker::start_with_files(64, &dds.url(), &[("CALLBACK_BIND", "127.0.0.1:0")]);
        assert_eq!(worker.ask("registered"), "Ok(())");
        let address = worker.ask("address");
        let address = address.trim_start_matches("Some(").trim_end_matches(')');
        (worker, address.parse().expect("an address"))
    }

    fn assert_probed(address: SocketAddr) {
        let began = Instant::now();
        let answer = exchange(address, &get("/health", "user-agent: DDS v1\r\n")).expect("an answer");
        assert_eq!(answer.status, 200);
        // Before the server closes idle connections by itself.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[test]
    fn idle_connections_do_not_block_dds() {
        let dds = DevDds::start().expect("a DDS");
        let (mut worker, address) = start(&dds);
        let _idle: Vec<_> = (0..300).map(|_| connect(address)).collect();
        for _ in 0..4 {
            assert_probed(address);
        }
        // Most descriptors remain for the host.
        let taken: usize = worker.ask("take-files").parse().expect("a number");
        assert!(taken >= 24, "{taken}");
    }

    /// The host takes every descriptor, before and after other connections arrive.
    #[test]
    fn a_host_without_free_descriptors_does_not_block_dds() {
        let dds = DevDds::start().expect("a DDS");
        let (mut worker, address) = start(&dds);
        worker.ask("take-files");
        for _ in 0..4 {
            assert_probed(address);
        }
        let _idle: Vec<_> = (0..300).map(|_| connect(address)).collect();
        for _ in 0..4 {
            assert_probed(address);
        }
        let warnings = worker.told().iter().filter(|line| line.starts_with("log warn")).count();
        assert!(warnings <= 3, "one of each kind: {:?}", worker.told());
    }
}
