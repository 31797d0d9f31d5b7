//! The requests of DDS to a node.

use std::io::ErrorKind;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use posemesh_dev_dds::{Callback, DevDds, Event};
use serde_json::Value;

use crate::client::{Node, OK, PATIENCE, Wallet};

fn body(request: &str) -> Value {
    let (_, body) = request.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

#[test]
fn a_registration_is_followed_by_a_callback() {
    for when in [Callback::AfterAnswer, Callback::BeforeAnswer] {
        let node = Node::start(&[OK, OK]);
        let dds = DevDds::builder().callback(when).node_url(node.url.clone()).start().unwrap();
        let mut secrets = Vec::new();
        for _ in 0..2 {
            assert_eq!(Wallet::new(1).register(&dds).status, 200);
            let request = node.request();
            assert!(request.starts_with("POST /internal/v1/registrations HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("content-type: application/json\r\n"), "{request}");
            assert_eq!(body(&request)["id"], dds.nodes()[0].node_id);
            secrets.push(body(&request)["secret"].as_str().unwrap().to_owned());
            assert_eq!(dds.last_secret().as_ref(), secrets.last());
        }
        assert_ne!(secrets[0], secrets[1], "a new secret for each registration");
    }
}

#[test]
fn a_node_is_called_back_when_its_url_becomes_known() {
    for when in [Callback::AfterAnswer, Callback::BeforeAnswer] {
        let node = Node::start(&[OK, OK]);
        let dds = DevDds::builder().callback(when).start().unwrap();
        for _ in 0..2 {
            dds.set_node_url(None).unwrap();
            Wallet::new(1).register(&dds);
            dds.set_node_url(Some(node.url.clone())).unwrap();
            assert_eq!(body(&node.request())["id"], dds.nodes()[0].node_id);
        }
    }
}

#[test]
fn a_registration_is_followed_by_one_callback() {
    let node = Node::start(&[OK, OK]);
    let dds = DevDds::builder().node_url(node.url.clone()).start().unwrap();
    Wallet::new(1).register(&dds);
    node.request();
    // Setting the same URL does not call the node again. It accepts only one more call, and this is it.
    dds.set_node_url(Some(node.url.clone())).unwrap();
    dds.set_secret(Some("by hand".into()));
    assert_eq!(dds.call_back().unwrap().status, 200);
    assert_eq!(body(&node.request())["secret"], "by hand");
}

#[test]
fn each_registration_has_one_secret() {
    let node = Node::start(&[OK; 5]);
    let dds = DevDds::builder().node_url(node.url.clone()).start().unwrap();
    let secret = || body(&node.request())["secret"].as_str().unwrap().to_owned();
    Wallet::new(1).register(&dds);
    let first = secret();
    dds.call_back().unwrap();
    assert_eq!(secret(), first);
    dds.set_secret(None);
    dds.call_back().unwrap();
    let second = secret();
    Wallet::new(1).register(&dds);
    let third = secret();
    dds.set_secret(Some("fixed".into()));
    dds.call_back().unwrap();
    assert_eq!(secret(), "fixed");
    assert!(first != second && second != third && first != third);
}

#[test]
fn a_node_that_cannot_be_reached_is_called_when_its_url_changes() {
    let (sender, events) = mpsc::channel();
    let dds = DevDds::builder()
        .node_url(Some("http://127.0.0.1:1".to_owned()))
        .on_event(move |event| sender.send(event.clone()).unwrap())
        .start()
        .unwrap();
    Wallet::new(1).register(&dds);
    while !matches!(events.recv_timeout(PATIENCE).unwrap(), Event::NodeUnreachable { .. }) {}
    let node = Node::start(&[OK]);
    dds.set_node_url(Some(node.url.clone())).unwrap();
    assert_eq!(body(&node.request())["id"], dds.nodes()[0].node_id);
}

#[test]
fn nodes_are_found_by_their_wallet() {
    let nodes = [Node::start(&[OK]), Node::start(&[OK])];
    let wallets = [Wallet::new(1), Wallet::new(2)];
    let known: Vec<_> =
        wallets.iter().map(Wallet::address).zip(nodes.iter().map(|node| node.url.clone())).collect();
    let dds_url = Arc::new(OnceLock::new());
    let expected = Arc::clone(&dds_url);
    let find_node = move |wallet: &str, dds: &str| {
        assert_eq!(Some(dds), expected.get().map(String::as_str));
        known.iter().find(|(address, _)| address == wallet).map(|(_, url)| url.clone())
    };
    let dds = DevDds::builder().find_node(find_node).start().unwrap();
    dds_url.set(dds.url()).unwrap();
    for (wallet, node) in wallets.iter().zip(&nodes) {
        wallet.register(&dds);
        let id = dds.nodes().into_iter().find(|node| node.wallet == Some(wallet.address())).unwrap().node_id;
        assert_eq!(body(&node.request())["id"], id);
    }
    // A URL that is set takes precedence.
    let third = Node::start(&[OK]);
    dds.set_node_url(Some(third.url.clone())).unwrap();
    wallets[0].register(&dds);
    third.request();
}

#[test]
fn a_node_that_is_not_on_loopback_is_not_called() {
    let (sender, events) = mpsc::channel();
    let dds = DevDds::builder()
        .find_node(|_, _| Some("http://192.0.2.1:80".into()))
        .on_event(move |event| sender.send(event.clone()).unwrap())
        .start()
        .unwrap();
    assert_eq!(Wallet::new(1).register(&dds).status, 200);
    let why = |event| match event {
        Event::NodeUnreachable { why } => Some(why),
        _ => None,
    };
    let why = events.try_iter().find_map(why).expect("an event");
    assert!(why.contains("192.0.2.1") && why.contains("loopback"), "{why}");
}

#[test]
fn a_callback_before_the_answer_has_ended_when_the_answer_arrives() {
    let node = Node::start(&["503 No\r\ncontent-length: 0\r\n\r\n"]);
    let (sender, events) = mpsc::channel();
    let dds = DevDds::builder()
        .callback(Callback::BeforeAnswer)
        .node_url(node.url.clone())
        .on_event(move |event| sender.send(event.clone()).unwrap())
        .start()
        .unwrap();
    // A node that refuses the secret is registered nevertheless.
    assert_eq!(Wallet::new(1).register(&dds).status, 200);
    let called_back = |event| matches!(event, Event::CalledBack { status: 503, .. });
    assert!(events.try_iter().any(called_back));
}

#[test]
fn a_node_is_not_called_when_callbacks_are_turned_off() {
    let node = Node::start(&[OK]);
    let dds = DevDds::builder().callback(Callback::Never).node_url(node.url.clone()).start().unwrap();
    dds.set_secret(Some("by hand".into()));
    Wallet::new(1).register(&dds);
    // The node accepts only one call, and this is it, so there was none before.
    assert_eq!(dds.call_back().unwrap().status, 200);
    assert_eq!(body(&node.request())["secret"], "by hand");
}

#[test]
fn any_body_can_be_posted() {
    let node = Node::start(&["422 No\r\ncontent-length: 5\r\n\r\nempty"]);
    let dds = DevDds::start().unwrap();
    dds.set_node_url(Some(node.url.clone() + "/base/")).unwrap();
    let outcome = dds.call_back_with("{\"secret\":", "text/plain").unwrap();
    assert_eq!((outcome.status, outcome.body), (422, b"empty".to_vec()));
    let request = node.request();
    assert!(request.starts_with("POST /base/internal/v1/registrations "), "{request}");
    assert!(request.contains("content-type: text/plain\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"secret\":"), "{request}");
}

#[test]
fn health_is_probed_with_the_user_agent_of_dds() {
    let node = Node::start(&[OK, "500 Broken\r\ncontent-length: 0\r\n\r\n"]);
    let dds = DevDds::builder().callback(Callback::Never).start().unwrap();
    Wallet::new(1).register(&dds);
    dds.set_node_url(Some(node.url.clone())).unwrap();
    assert_eq!(dds.probe_health().unwrap(), 200);
    assert!(dds.nodes()[0].online);
    let request = node.request();
    assert!(request.starts_with("GET /health HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("user-agent: DDS v1.0.0\r\n"), "{request}");
    assert_eq!(dds.probe_health().unwrap(), 500);
    assert!(!dds.nodes()[0].online);
}

#[test]
fn health_is_probed_at_an_interval() {
    let node = Node::start(&[OK, OK, OK]);
    let interval = Duration::from_millis(1);
    let _dds = DevDds::builder().node_url(node.url.clone()).health_interval(interval).start().unwrap();
    for _ in 0..3 {
        assert!(node.request().starts_with("GET /health "));
    }
}

#[test]
fn nothing_but_loopback_is_called() {
    let dds = DevDds::start().unwrap();
    for url in ["http://192.0.2.1", "http://example.com", "https://127.0.0.1", "127.0.0.1:80", ""] {
        let error = dds.set_node_url(Some(url.into())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
        let builder = DevDds::builder().node_url(url.to_owned());
        assert_eq!(builder.start().unwrap_err().kind(), ErrorKind::InvalidInput, "{url}");
    }
    assert_eq!(dds.call_back().unwrap_err().kind(), ErrorKind::NotConnected);
    for url in ["http://localhost:1", "http://[::1]:1", "http://127.0.0.2:1"] {
        dds.set_node_url(Some(url.into())).unwrap();
    }
}

#[test]
fn events_report_everything_but_the_secret() {
    let node = Node::start(&[OK]);
    let (sender, events) = mpsc::channel();
    let dds = DevDds::builder()
        .node_url(node.url.clone())
        .secret("hunter2".to_owned())
        .on_event(move |event| sender.send(event.clone()).unwrap())
        .start()
        .unwrap();
    let wallet = Wallet::new(1);
    wallet.register(&dds);
    let next = || events.recv_timeout(PATIENCE).unwrap();
    let (address, node_id) = (wallet.address(), dds.nodes()[0].node_id.clone());
    assert_eq!(next(), Event::ChallengeIssued { wallet: address.clone() });
    assert_eq!(next(), Event::Registered { wallet: address, node_id });
    let called_back = next();
    assert_eq!(called_back, Event::CalledBack { status: 200, secret_len: 7 });
    assert!(!format!("{called_back} {called_back:?}").contains("hunter2"));
    assert!(dds.probe_health().is_err(), "the node accepts only one call");
    assert!(matches!(next(), Event::NodeUnreachable { .. }));
}
