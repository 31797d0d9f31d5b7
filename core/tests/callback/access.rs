//! Who may call: by the address of the peer, and by `X-Forwarded-For` behind proxies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use posemesh_node_registration::log::Level;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::{self, GUARD};
use crate::{ID, SECRET, Setup, callback, connect, exchange, get, is_open, parse, read_to_end, request};

const DDS: &str = "user-agent: DDS v1\r\n";

/// Each of these is an address of this machine.
pub(crate) const fn local(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// A connection from one of this machine's addresses.
fn connect_from(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(from, 0).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("the server listens");
    socket.set_read_timeout(Some(GUARD)).expect("not zero");
    socket.into()
}

fn ask(from: IpAddr, to: SocketAddr, bytes: &[u8]) -> u16 {
    use std::io::Write as _;
    let mut stream = connect_from(from, to);
    stream.write_all(bytes).expect("sent");
    parse(&read_to_end(&mut stream)).status
}

/// The status of a callback and of a probe with these headers.
pub(crate) fn ask_both(from: IpAddr, to: SocketAddr, headers: &str) -> [u16; 2] {
    let body = json!({ "id": ID, "secret": SECRET }).to_string();
    let headers = format!("connection: close\r\n{headers}");
    let json = format!("content-type: application/json\r\n{headers}");
    let callback = request("POST", "/internal/v1/registrations", &json, body.as_bytes());
    let probe = request("GET", "/health", &format!("{DDS}{headers}"), b"");
    [&callback, &probe].map(|bytes| ask(from, to, bytes))
}

fn last_probe(setup: &Setup) -> Option<u64> {
    setup.node.status().expect("this process").last_healthcheck
}

// scenario: stranger-calls-back
#[test]
fn only_allowed_addresses_may_call() {
    let setup = Setup::new(&[("callback_allow", "127.0.0.8/29,::1,192.0.2.0/24")]);
    for (peer, expected) in [(1, 403), (7, 403), (16, 403), (8, 200), (15, 200)] {
        assert_eq!(ask_both(local(peer), setup.address, ""), [expected; 2], "{peer}");
        let taken = expected == 200;
        assert_eq!((setup.secret().is_some(), last_probe(&setup).is_some()), (taken, taken), "{peer}");
    }
    // Nothing is said about the paths either, and no header helps.
    let headers = "x-forwarded-for: 127.0.0.8\r\nforwarded: for=127.0.0.8\r\nx-real-ip: 127.0.0.8\r\n";
    assert_eq!(ask_both(local(1), setup.address, headers), [403; 2]);
    for path in ["/", "/health", "/internal/v1/registrations", "/elsewhere"] {
        assert_eq!(ask(local(1), setup.address, &get(path, "")), 403, "{path}");
    }
    assert_eq!(ask(local(8), setup.address, &get("/elsewhere", "")), 404);
    let answer = exchange(setup.address, &callback("{}")).expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (403, "the caller's address is not allowed"));
}

#[test]
fn an_ipv4_peer_of_an_ipv6_socket_is_an_ipv4_address() {
    for (allow, ipv4, ipv6) in [
        ("127.0.0.1", 200, 403),
        ("::ffff:127.0.0.1", 200, 403),
        ("::ffff:127.0.0.0/104", 200, 403),
        ("::1", 403, 200),
        ("::/0", 403, 200),
        ("0.0.0.0/0,::/0", 200, 200),
    ] {
        let setup = Setup::new(&[("callback_bind", ":0"), ("callback_allow", allow)]);
        let port = setup.address.port();
        assert_eq!(ask_both(local(1), SocketAddr::from(([127, 0, 0, 1], port)), ""), [ipv4; 2], "{allow}");
        if setup.address.is_ipv6() {
            let loopback = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port));
            assert_eq!(ask_both(loopback.ip(), loopback, ""), [ipv6; 2], "{allow}");
        }
    }
}

#[test]
fn behind_trusted_proxies_the_last_other_address_is_the_caller() {
    let options = [
        ("callback_allow", "192.0.2.7,2001:db8::/32,127.0.0.8"),
        ("trusted_proxies", "127.0.0.0/29,198.51.100.0/24,2001:db8:ffff::1"),
    ];
    let setup = Setup::new(&options);
    for (peer, forwarded, expected) in [
        // A trusted proxy.
        (1, &["192.0.2.7"][..], 200),
        (1, &["::ffff:192.0.2.7"], 200),
        (1, &["192.0.2.7:49152"], 200),
        (1, &["2001:db8::1"], 200),
        (1, &["[2001:db8::1]"], 200),
        (1, &["[2001:db8::1]:49152"], 200),
        (1, &["192.0.2.8"], 403),
        // What a stranger writes before the proxy appends its address.
        (1, &["192.0.2.7, 192.0.2.8"], 403),
        (1, &["192.0.2.7", "192.0.2.8"], 403),
        (1, &["192.0.2.7, 192.0.2.8, 198.51.100.9"], 403),
        (1, &["192.0.2.8, 192.0.2.7"], 200),
        (1, &["not an address, 192.0.2.7"], 200),
        // Chains of trusted proxies, as one line and as several.
        (1, &["192.0.2.7, 198.51.100.9"], 200),
        (1, &["192.0.2.7,198.51.100.9 ,\t127.0.0.2"], 200),
        (1, &["192.0.2.7", "198.51.100.9", "127.0.0.2"], 200),
        (1, &["192.0.2.8, 192.0.2.7", "198.51.100.9, 2001:db8:ffff::1"], 200),
        // An entry that is not an address.
        (1, &["192.0.2.7, unknown"], 403),
        (1, &["192.0.2.7,"], 403),
        (1, &["192.0.2.7", ""], 403),
        (1, &["192.0.2.7, 198.51.100.9, _hidden, 127.0.0.2"], 403),
        (1, &["192.0.2.7, \"127.0.0.2\""], 403),
        (1, &["192.0.2.7 127.0.0.2"], 403),
        (1, &["192.0.2.7/32"], 403),
        (1, &["192.0.2.7, caf\u{e9}"], 403),
        // Only proxies: they are not allowed themselves.
        (1, &[], 403),
        (1, &["127.0.0.2, 198.51.100.9"], 403),
        // Peers that are no proxy: allowed, and refused, whatever they write.
        (8, &[], 200),
        (8, &["192.0.2.8"], 200),
        (9, &["192.0.2.7"], 403),
        (9, &["127.0.0.8, 127.0.0.1"], 403),
    ] {
        let headers: String = forwarded.iter().map(|line| format!("X-Forwarded-For: {line}\r\n")).collect();
        assert_eq!(ask_both(local(peer), setup.address, &headers), [expected; 2], "{peer}: {forwarded:?}");
    }
}

#[test]
fn a_proxy_may_send_requests_of_several_callers_on_one_connection() {
    use std::io::Write as _;
    let setup = Setup::new(&[("callback_allow", "192.0.2.7"), ("trusted_proxies", "127.0.0.1")]);
    let probe = |client: &str, close: &str| {
        request("GET", "/health", &format!("x-forwarded-for: {client}\r\n{close}"), b"")
    };
    let mut stream = connect(setup.address);
    for client in ["192.0.2.8", "192.0.2.7", "192.0.2.8"] {
        stream.write_all(&probe(client, "")).expect("sent");
    }
    stream.write_all(&probe("192.0.2.7", "connection: close\r\n")).expect("sent");
    let answers = String::from_utf8(read_to_end(&mut stream)).expect("text");
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["403", "200", "403", "200"]);
}

/// Strangers who keep connections open cost others nothing.
#[test]
fn refused_peers_make_room_for_others() {
    let setup = Setup::new(&[("callback_allow", "127.0.0.8")]);
    let idle: Vec<_> = (0..8).map(|_| connect_from(local(8), setup.address)).collect();
    let strangers: Vec<_> = (0..600).map(|_| connect_from(local(1), setup.address)).collect();
    let body = json!({ "id": ID, "secret": SECRET }).to_string();
    assert_eq!(ask(local(8), setup.address, &callback(body)), 200);
    assert!(idle.iter().all(is_open), "idle ones of those who may call stay open");
    let open = strangers.iter().filter(|stranger| is_open(stranger)).count();
    assert!((200..256).contains(&open), "{open} strangers are connected");
    drop(strangers);
}

#[test]
fn refusals_are_logged_once_in_a_while() {
    support::alone("access::refusals_are_logged_once_in_a_while", || {
        let options = [("callback_allow", "192.0.2.7"), ("trusted_proxies", "127.0.0.2")];
        let setup = Setup::new(&options);
        for _ in 0..20 {
            assert_eq!(ask_both(local(1), setup.address, ""), [403; 2]);
            assert_eq!(ask_both(local(2), setup.address, "x-forwarded-for: 192.0.2.8\r\n"), [403; 2]);
            assert_eq!(ask_both(local(2), setup.address, "x-forwarded-for: forged\r\n"), [403; 2]);
        }
        setup.node.stop(GUARD).expect("stops");
        let logged = support::logged();
        let warnings = logged.iter().filter(|record| record.level == Level::Warn);
        let warnings: Vec<_> = warnings
            .filter(|record| record.target.ends_with("::http"))
            .map(|record| &record.message)
            .collect();
        let allowed = "was refused: callback_allow does not contain the address";
        assert_eq!(
            warnings,
            [
                &format!("a request from 127.0.0.1 {allowed}"),
                "a request through the proxy 127.0.0.2 was refused: an address in its X-Forwarded-For is malformed",
            ]
        );
        let via = format!("a request from 192.0.2.8 through the proxy 127.0.0.2 {allowed}");
        assert!(logged.iter().any(|record| record.message.starts_with(&via)), "{logged:?}");
        assert!(!logged.iter().any(|record| record.message.contains("forged")), "{logged:?}");
    });
}

#[test]
fn options_without_effect_are_reported() {
    support::alone("access::options_without_effect_are_reported", || {
        let dds = posemesh_dev_dds::DevDds::start().expect("a DDS");
        support::logged();
        let node = support::start(
            &dds,
            &[("callback_path", "/node"), ("callback_allow", "::1"), ("trusted_proxies", "::1")],
        );
        node.stop(GUARD).expect("stops");
        let node = support::start(&dds, &[("callback_bind", "127.0.0.1:0"), ("trusted_proxies", "::1")]);
        node.stop(GUARD).expect("stops");
        let logged = support::logged();
        let warnings: Vec<_> = logged
            .iter()
            .filter(|record| record.level == Level::Warn && record.message.contains("no effect"))
            .map(|record| record.message.to_string())
            .collect();
        assert_eq!(
            warnings,
            [
                "callback_path has no effect, because callback_bind is not set",
                "callback_allow has no effect, because callback_bind is not set",
                "trusted_proxies has no effect, because callback_allow is not set",
            ]
        );
    });
}
