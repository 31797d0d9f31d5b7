//! The faults, as a client sees them on the socket.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use posemesh_dev_dds::{DevDds, Endpoint, Fault};
use serde_json::json;

use crate::client::{Answer, PATIENCE, Wallet, post, request, send};

fn with(fault: Fault) -> DevDds {
    let dds = DevDds::start().expect("a server");
    dds.inject(Endpoint::Challenge, fault, 1);
    dds
}

fn ask(dds: &DevDds) -> TcpStream {
    let body = json!({ "wallet": Wallet::new(1).address() }).to_string();
    send(&dds.authority(), "POST", Endpoint::Challenge.path(), &body)
}

fn answer(dds: &DevDds) -> Answer {
    post(dds, Endpoint::Challenge, &json!({ "wallet": Wallet::new(1).address() }))
}

/// Everything up to the end of the connection.
fn bytes(dds: &DevDds) -> Vec<u8> {
    let mut bytes = Vec::new();
    ask(dds).read_to_end(&mut bytes).expect("an end");
    bytes
}

/// The fault is over, the server answers normally, and the recorded status is that of the fault.
fn assert_over(dds: &DevDds, recorded: Option<u16>) {
    Wallet::new(1).challenge(dds);
    let statuses: Vec<_> = dds.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [recorded, Some(200)]);
}

#[test]
fn status() {
    let retry_after = Some("7".to_owned());
    let dds = with(Fault::Status { code: 503, retry_after, body: b"busy".to_vec() });
    let answer = answer(&dds);
    assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
    assert!(answer.head.contains("\r\nretry-after: 7"), "{}", answer.head);
    assert_over(&dds, Some(503));
}

#[test]
fn any_answer() {
    let headers = vec![("x-one".to_owned(), "1".to_owned()), ("x-two".to_owned(), "2".to_owned())];
    let dds = with(Fault::Answer { code: 418, headers, body: b"short and stout".to_vec() });
    let answer = answer(&dds);
    assert_eq!((answer.status, answer.text().as_str()), (418, "short and stout"));
    assert!(answer.head.contains("\r\nx-one: 1\r\nx-two: 2"), "{}", answer.head);
}

#[test]
fn redirect() {
    let dds = with(Fault::Redirect { code: 307, location: "http://evil.example/".into() });
    let answer = answer(&dds);
    assert_eq!(answer.status, 307);
    assert!(answer.head.contains("\r\nlocation: http://evil.example/"), "{}", answer.head);
    assert_over(&dds, Some(307));
}

#[test]
fn delay() {
    let delay = Duration::from_millis(100);
    let dds = with(Fault::Delay(delay));
    let asked = Instant::now();
    let answer = answer(&dds);
    assert!(asked.elapsed() >= delay);
    assert_eq!((answer.status, &answer.json()["version"]), (200, &json!("1")));
}

#[test]
fn reset() {
    let dds = with(Fault::Reset);
    let mut bytes = Vec::new();
    let error = ask(&dds).read_to_end(&mut bytes).unwrap_err();
    assert_eq!((error.kind(), bytes), (ErrorKind::ConnectionReset, Vec::new()));
    assert_over(&dds, None);
}

#[test]
fn half_body() {
    let dds = with(Fault::HalfBody);
    let text = String::from_utf8(bytes(&dds)).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-length: 1000"), "{head}");
    assert!(!body.is_empty() && body.len() < 1000);
    assert_over(&dds, Some(200));
}

#[test]
fn garbage() {
    let dds = with(Fault::Garbage);
    let answer = answer(&dds);
    assert_eq!(answer.status, 200);
    assert!(serde_json::from_slice::<serde_json::Value>(answer.text().as_bytes()).is_err());
    assert_over(&dds, Some(200));
}

#[test]
fn not_http() {
    let dds = with(Fault::NotHttp);
    let bytes = bytes(&dds);
    assert!(!bytes.is_empty() && !bytes.starts_with(b"HTTP/"));
    assert_over(&dds, None);
}

#[test]
fn invalid_utf8() {
    let dds = with(Fault::InvalidUtf8);
    let answer = answer(&dds);
    assert_eq!(answer.status, 200);
    assert!(std::str::from_utf8(&answer.body).is_err());
    // The rest is JSON, so only the encoding is wrong.
    let replaced = String::from_utf8_lossy(&answer.body);
    assert!(serde_json::from_str::<serde_json::Value>(&replaced).is_ok(), "{replaced}");
}

#[test]
fn endless_body() {
    let dds = with(Fault::EndlessBody);
    let mut stream = ask(&dds);
    let mut start = vec![0; 4 * 1024 * 1024];
    stream.read_exact(&mut start).unwrap();
    assert!(start.starts_with(b"HTTP/1.1 200 "));
    drop(stream);
    assert_over(&dds, Some(200));
}

#[test]
fn endless_body_ends_for_a_client_without_a_limit() {
    let dds = with(Fault::EndlessBody);
    let bytes = bytes(&dds);
    assert!(bytes.len() >= 64 * 1024 * 1024);
    assert!(!bytes.ends_with(b"0\r\n\r\n"), "the body must not end properly");
}

#[test]
fn stale_nonce() {
    let dds = with(Fault::StaleNonce);
    let wallet = Wallet::new(1);
    let stale = wallet.register(&dds);
    assert_eq!((stale.status, stale.text().as_str()), (401, "the nonce was used before"));
    assert_eq!(wallet.register(&dds).status, 200);
}

#[test]
fn hang_until_the_server_stops() {
    let dds = with(Fault::Hang);
    let mut hanging = ask(&dds);
    assert!(dds.wait_for_requests(Endpoint::Challenge, 1, PATIENCE));
    assert_over(&dds, None);
    hanging.set_nonblocking(true).unwrap();
    assert_eq!(hanging.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);

    drop(dds);
    hanging.set_nonblocking(false).unwrap();
    assert_eq!(hanging.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn each_endpoint_has_its_own_queue_of_faults() {
    let dds = DevDds::start().unwrap();
    dds.inject(Endpoint::Challenge, Fault::status(500), 2);
    dds.inject(Endpoint::Verify, Fault::status(501), 1);
    dds.inject(Endpoint::Challenge, Fault::status(502), 0);
    dds.inject(Endpoint::Challenge, Fault::status(503), 1);
    let statuses: Vec<_> = (0..4).map(|_| answer(&dds).status).collect();
    assert_eq!(statuses, [500, 500, 503, 200]);
    assert_eq!(post(&dds, Endpoint::Verify, &json!({})).status, 501);
}

#[test]
fn a_fault_without_a_count_ends_when_cleared() {
    let dds = DevDds::start().unwrap();
    dds.inject(Endpoint::Challenge, Fault::status(500), u32::MAX);
    assert!((0..5).all(|_| answer(&dds).status == 500));
    dds.clear_faults();
    assert_eq!(answer(&dds).status, 200);
}

#[test]
fn a_registration_with_a_fault_has_no_effect() {
    let dds = DevDds::start().unwrap();
    let wallet = Wallet::new(1);
    let registration = wallet.registration(&wallet.challenge(&dds));
    dds.inject(Endpoint::Register, Fault::Garbage, 1);
    assert_eq!(post(&dds, Endpoint::Register, &registration).status, 200);
    assert!(dds.nodes().is_empty());
    assert_eq!(post(&dds, Endpoint::Register, &registration).status, 200);
    assert_eq!(dds.nodes().len(), 1);
}

#[test]
#[should_panic(expected = "a fault that HTTP allows")]
fn a_fault_that_http_does_not_allow_panics() {
    with(Fault::status(99));
}

#[test]
fn faults_do_not_apply_to_the_control_api() {
    let dds = DevDds::start().unwrap();
    dds.inject(Endpoint::Challenge, Fault::Reset, u32::MAX);
    assert_eq!(request(&dds.authority(), "GET", "/_dev/nodes", "").status, 200);
}
