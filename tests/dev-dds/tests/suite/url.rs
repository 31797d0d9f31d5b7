//! The legacy registration with a URL.

use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use posemesh_dev_dds::{Callback, DevDds, Endpoint, Event};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::client::{Answer, Node, OK, PATIENCE, Wallet, post};

fn timestamp(seconds_ago: u64) -> String {
    let time = OffsetDateTime::from(SystemTime::now() - Duration::from_secs(seconds_ago));
    let (date, clock) = (time.date(), time.time());
    let (hour, minute, second, nanos) = clock.as_hms_nano();
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

fn register(dds: &DevDds, url: &str) -> Answer {
    post(dds, Endpoint::RegisterUrl, &Wallet::new(1).url_registration(url, &timestamp(0)))
}

#[test]
fn a_node_is_called_back_at_its_url_and_probed() {
    for when in [Callback::AfterAnswer, Callback::BeforeAnswer] {
        let node = Node::start(&[OK, OK]);
        let dds = DevDds::builder().callback(when).start().unwrap();
        let url = format!("{}/a/secret/path", node.url);
        let answer = register(&dds, &url);
        assert_eq!((answer.status, answer.text()), (200, String::new()));
        let callback = node.request();
        let start = "POST /a/secret/path/internal/v1/registrations HTTP/1.1\r\n";
        assert!(callback.starts_with(start), "{callback}");
        assert!(node.request().starts_with("GET /a/secret/path/health HTTP/1.1\r\n"));
        let registered = &dds.nodes()[0];
        assert_eq!(registered.wallet, Some(Wallet::new(1).address()));
        assert_eq!(registered.url, Some(url));
        assert_eq!(registered.version, "v1.2.3");
    }
}

#[test]
fn the_url_is_kept_when_the_node_registers_without_one() {
    let node = Node::start(&[OK, OK, OK]);
    let dds = DevDds::start().unwrap();
    register(&dds, &node.url);
    assert!(node.request().starts_with("POST "));
    assert!(node.request().starts_with("GET "));
    Wallet::new(1).register(&dds);
    assert!(node.request().starts_with("POST "));
    assert_eq!(dds.nodes()[0].registrations, 2);
}

#[test]
fn a_node_with_a_url_signs_in_with_its_wallet() {
    let node = Node::start(&[OK, OK]);
    let dds = DevDds::start().unwrap();
    register(&dds, &node.url);
    assert_eq!(Wallet::new(1).token(&dds).json()["node_id"], dds.nodes()[0].node_id);
}

#[test]
fn a_node_that_is_not_ready_is_called_until_it_is() {
    // The first connection ends without an answer.
    let node = Node::start(&["", OK, OK]);
    let (sender, events) = mpsc::channel();
    let dds = DevDds::builder().on_event(move |event| sender.send(event.clone()).unwrap()).start().unwrap();
    register(&dds, &node.url);
    assert!(node.request().starts_with("POST "));
    while !matches!(events.recv_timeout(PATIENCE).unwrap(), Event::NodeUnreachable { .. }) {}
    assert!(node.request().starts_with("POST "));
    assert!(node.request().starts_with("GET "));
}

#[test]
fn a_url_that_is_not_on_loopback_is_registered_and_not_called() {
    let (sender, events) = mpsc::channel();
    let dds = DevDds::builder().on_event(move |event| sender.send(event.clone()).unwrap()).start().unwrap();
    assert_eq!(register(&dds, "https://node.example/path").status, 200);
    let why = events.try_iter().find_map(|event| match event {
        Event::NodeUnreachable { why } => Some(why),
        _ => None,
    });
    assert!(why.is_some_and(|why| why.contains("node.example") && why.contains("loopback")));
    assert_eq!(dds.nodes()[0].url.as_deref(), Some("https://node.example/path"));
}

#[test]
fn no_node_is_called_when_callbacks_are_turned_off() {
    let node = Node::start(&[OK]);
    let dds = DevDds::builder().callback(Callback::Never).start().unwrap();
    register(&dds, &node.url);
    dds.set_secret(Some("by hand".into()));
    // The node accepts only one call, and this is it, so there was none before.
    assert_eq!(dds.call_back().unwrap().status, 200);
    assert!(node.request().contains("by hand"));
}

#[test]
fn only_the_signature_of_url_and_timestamp_by_the_key_is_accepted() {
    let dds = DevDds::builder().callback(Callback::Never).start().unwrap();
    let good = || Wallet::new(1).url_registration("http://127.0.0.1:1", &timestamp(0));
    let of_other = Wallet::new(2).url_registration("http://127.0.0.1:1", &timestamp(0));
    let mut high_v = good()["signature"].as_str().unwrap().to_owned();
    let v = high_v.pop().unwrap();
    high_v.truncate(128);
    high_v += if v == '0' { "1b" } else { "1c" };
    for (name, value) in [
        ("url", json!("http://127.0.0.1:2")),
        ("timestamp", json!(timestamp(1))),
        ("public_key", of_other["public_key"].clone()),
        ("signature", of_other["signature"].clone()),
        ("signature", json!(high_v)),
        ("signature", json!("0x12")),
        ("public_key", json!("04")),
    ] {
        let mut bad = good();
        bad[name] = value;
        assert_eq!(post(&dds, Endpoint::RegisterUrl, &bad).status, 401, "{bad}");
    }
    assert!(dds.nodes().is_empty());
    assert_eq!(post(&dds, Endpoint::RegisterUrl, &good()).status, 200);
}

#[test]
fn malformed_legacy_registrations_are_bad_requests() {
    let dds = DevDds::builder().callback(Callback::Never).start().unwrap();
    let register = |url: &str, timestamp: &str, changes: &[(&str, Value)]| {
        let mut body = Wallet::new(1).url_registration(url, timestamp);
        changes.iter().for_each(|(name, value)| body[*name] = value.clone());
        post(&dds, Endpoint::RegisterUrl, &body).status
    };
    let url = "http://127.0.0.1:1";
    for bad in ["", "127.0.0.1:80", "ftp://127.0.0.1", "http://127.0.0.1/?a=b"] {
        assert_eq!(register(bad, &timestamp(0), &[]), 400, "{bad}");
    }
    for bad in ["now", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000000Z"] {
        assert_eq!(register(url, bad, &[]), 400, "{bad}");
    }
    assert_eq!(register(url, &timestamp(301), &[]), 400);
    for change in [("capabilities", json!([])), ("version", json!("1")), ("public_key", json!(null))] {
        assert_eq!(register(url, &timestamp(0), std::slice::from_ref(&change)), 400, "{change:?}");
    }
    assert_eq!(register(url, &timestamp(200), &[]), 200);
}

#[test]
fn credentials_and_conflicts_are_checked() {
    let dds = DevDds::builder().callback(Callback::Never).credentials("other".to_owned()).start().unwrap();
    assert_eq!(register(&dds, "http://127.0.0.1:1").status, 403);
    let dds = DevDds::builder().callback(Callback::Never).start().unwrap();
    dds.set_online_elsewhere(&Wallet::new(1).address(), true);
    assert_eq!(register(&dds, "http://127.0.0.1:1").status, 409);
}
