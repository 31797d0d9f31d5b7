//! The legacy registration with a URL, the path of the callback server, and registering again in the background.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use posemesh_dev_dds::{DevDds, Endpoint, Fault};
use posemesh_node_registration::crypto::{
    load_secp256k1_privhex, secp256k1_pubkey_uncompressed_hex, sign_recoverable_keccak_hex,
};
use posemesh_node_registration::event::EventKind;
use posemesh_node_registration::log::Level;
use posemesh_node_registration::node::{Node, Wait};
use posemesh_node_registration::status::State;
use support::{CREDENTIALS, GUARD, KEY};

/// A loopback address that nothing listens on. On Linux it is in a part of 127.0.0.0/8 that no other test uses, so no
/// other process can take the port meanwhile.
fn free_address() -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let own = format!("127.{}.{low}.9:0", 100 + high % 100);
    let listener = TcpListener::bind(own).or_else(|_| TcpListener::bind("127.0.0.1:0"));
    listener.and_then(|listener| listener.local_addr()).expect("a free port")
}

/// A node that registers this URL, with the server's path.
fn start(dds: &DevDds, address: SocketAddr, url: &str, path: &str) -> Node {
    let bind = address.to_string();
    let options = [("callback_bind", bind.as_str()), ("node_url", url), ("callback_path", path)];
    support::start(dds, &options)
}

/// The status line of the response to a health probe.
fn probe(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response.lines().next().expect("a status line").to_owned()
}

#[test]
fn dds_calls_the_registered_url() {
    for path in ["/", "/node-1", "/a/b"] {
        let dds = DevDds::start().expect("a DDS");
        let address = free_address();
        let url = format!("http://{address}{}", path.trim_end_matches('/'));
        // A slash at the end of either makes no difference.
        let node = start(&dds, address, &format!("{url}/"), &format!("{}/", path.trim_end_matches('/')));
        node.wait(Wait::Secret, Some(GUARD)).expect("DDS calls back");
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        let token = node.access_token(Some(GUARD)).expect("signs in with the wallet");
        assert!(dds.token_is_good(token.value()));

        assert!(dds.requests_to(Endpoint::Register).is_empty(), "not with the wallet");
        let sent = dds.requests_to(Endpoint::RegisterUrl)[0].json().expect("JSON");
        let text = |name: &str| sent[name].as_str().expect(name).to_owned();
        assert_eq!((text("url"), text("version")), (url.clone(), "1.2.3".to_owned()));
        assert_eq!(text("registration_credentials"), CREDENTIALS);
        assert_eq!(sent["capabilities"], serde_json::json!(["/example/v1"]));
        let key = load_secp256k1_privhex(KEY).expect("a key");
        let signed = format!("{url}{}", text("timestamp"));
        assert_eq!(text("signature"), sign_recoverable_keccak_hex(&key, signed.as_bytes()));
        assert_eq!(text("public_key"), secp256k1_pubkey_uncompressed_hex(&key));
        node.stop(GUARD).expect("stops");
    }
}

#[test]
fn the_routes_are_only_under_the_callback_path() {
    let dds = DevDds::start().expect("a DDS");
    let address = free_address();
    let node = start(&dds, address, &format!("http://{address}/node-1"), "/node-1");
    assert!(probe(address, "/node-1/health").contains("200"));
    for elsewhere in
        ["/health", "/node-1", "/node-1/", "/node-12/health", "/node-1/node-1/health", "/NODE-1/health"]
    {
        assert!(probe(address, elsewhere).contains("404"), "{elsewhere}");
    }
    node.stop(GUARD).expect("stops");
}

#[test]
fn a_secret_path_is_in_no_log_and_no_error() {
    support::alone("a_secret_path_is_in_no_log_and_no_error", || {
        const PATH: &str = "/d5fA93kQ0mZ7vXy2";
        // Cyrillic, which is percent-encoded in the URL that is registered.
        const DECODED: &str = "секретный-путь";
        support::logged();
        let dds = DevDds::start().expect("a DDS");
        let address = free_address();
        let url = format!("http://{address}{PATH}");
        let body = format!("cannot reach {url}/health").into_bytes();
        for endpoint in [Endpoint::RegisterUrl, Endpoint::Challenge] {
            dds.inject(endpoint, Fault::Status { code: 503, retry_after: None, body: body.clone() }, 1);
        }
        let node = start(&dds, address, &url, PATH);
        node.wait(Wait::Secret, Some(GUARD)).expect("DDS calls back");
        // The challenge is refused once, so this waits for the second sign-in.
        node.access_token(Some(GUARD)).expect("signs in");
        assert!(probe(address, "/health").contains("404"));
        node.stop(GUARD).expect("stops");

        let body = format!("cannot reach /{DECODED}/health").into_bytes();
        dds.inject(Endpoint::RegisterUrl, Fault::Status { code: 503, retry_after: None, body }, 1);
        let node = start(&dds, address, &format!("http://{address}/{DECODED}"), "/");
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        node.stop(GUARD).expect("stops");

        let logged = support::logged();
        let refusals = logged.iter().filter(|record| record.message.contains("503")).count();
        assert_eq!(refusals, 3, "each refusal is logged");
        for record in logged {
            assert!(!record.message.contains(&PATH[1..]), "{}", record.message);
            assert!(!record.message.contains(DECODED), "{}", record.message);
        }
    });
}

#[test]
fn a_node_registers_again_in_the_background() {
    let dds = DevDds::start().expect("a DDS");
    let node = support::start(&dds, &[("reregister_secs", "1")]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    let events = support::Events::of(&node);
    let token = node.access_token(Some(GUARD)).expect("a token");
    assert!(dds.wait_for_requests(Endpoint::Register, 3, GUARD), "it registers again");
    let status = node.status().expect("no fork");
    assert_eq!((status.state, status.last_error), (State::Registered, None));
    assert_eq!(node.access_token(Some(GUARD)).expect("a token").value(), token.value(), "the token is kept");
    let events = events.rest();
    let flap = events.iter().find(|event| matches!(event.kind, EventKind::StatusChanged { .. }));
    assert_eq!(flap, None);
    node.stop(GUARD).expect("stops");
}

#[test]
fn the_log_has_the_texts_of_the_predecessor() {
    support::alone("the_log_has_the_texts_of_the_predecessor", || {
        support::logged();
        let dds = DevDds::start().expect("a DDS");
        let address = free_address();
        let node = start(&dds, address, &format!("http://{address}"), "/");
        node.wait(Wait::Secret, Some(GUARD)).expect("DDS calls back");
        node.stop(GUARD).expect("stops");
        let logged = support::logged();
        for text in ["Registering node with DDS", "Received registration callback"] {
            let found =
                logged.iter().any(|record| record.level == Level::Info && record.message.starts_with(text));
            assert!(found, "{text:?} is missing");
        }
    });
}
