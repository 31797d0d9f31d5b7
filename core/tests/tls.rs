//! The network between a node and DDS: TLS with several roots of trust, and proxies.
#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

#[path = "support/closing.rs"]
mod closing;

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use closing::{Close, ClosingDds};
use posemesh_dev_dds::{DevDds, Endpoint};
use posemesh_node_registration::config::Config;
use posemesh_node_registration::error::{Error, ErrorCode};
use posemesh_node_registration::event::EventKind;
use posemesh_node_registration::node::{Node, Wait};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::json;
use tokio_rustls::TlsAcceptor;

const GUARD: Duration = Duration::from_secs(60);

/// TLS in front of a local DDS, with a certificate authority that only this test knows.
struct TlsFront {
    address: SocketAddr,
    ca_file: PathBuf,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl TlsFront {
    fn start(name: &str, host: &str, dds: &DevDds) -> Self {
        Self::before(name, &[host], dds.authority().parse().unwrap())
    }

    /// With a certificate for these hosts, in front of the server at this address.
    fn before(name: &str, hosts: &[&str], behind: SocketAddr) -> Self {
        Self::with(name, hosts, behind, |_| {})
    }

    /// As `before`, with changes to the certificate.
    fn with(
        name: &str,
        hosts: &[&str],
        behind: SocketAddr,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new([]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let key = KeyPair::generate().unwrap();
        let mut certificate = CertificateParams::new([]).unwrap();
        certificate.subject_alt_names = hosts
            .iter()
            .map(|host| match host.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*host).try_into().unwrap()),
            })
            .collect();
        change(&mut certificate);
        let certificate = certificate.signed_by(&key, &Issuer::new(ca, &ca_key)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = forward(listener, TlsAcceptor::from(Arc::new(config)), behind) => {}
                    _ = stopped => {}
                }
            });
        });
        let ca_file = std::env::temp_dir().join(format!("posemesh-{name}-{}.pem", std::process::id()));
        std::fs::write(&ca_file, ca_pem).unwrap();
        Self { address, ca_file, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
        std::fs::remove_file(&self.ca_file).unwrap();
    }
}

async fn forward(listener: TcpListener, acceptor: TlsAcceptor, behind: SocketAddr) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A client that does not trust this certificate ends the handshake.
            let Ok(mut tls) = acceptor.accept(stream).await else { return };
            let mut plain = tokio::net::TcpStream::connect(behind).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut tls, &mut plain).await;
        });
    }
}

fn config(dds_base_url: &str, siwe_domain: &str) -> Config {
    let mut config = Config::new();
    for (name, value) in [
        ("dds_base_url", dds_base_url),
        ("siwe_domain", siwe_domain),
        ("reg_secret", "credentials"),
        ("secp256k1_privhex", "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90"),
        ("node_version", "1.0.0"),
        ("capabilities", "/example/v1"),
    ] {
        config.set(name, value).unwrap();
    }
    config
}

/// The error of a node's first attempt.
fn first_failure(config: &Config) -> Error {
    let node = Node::start(config).unwrap();
    let (failed, failures) = std::sync::mpsc::channel();
    node.set_event_callback(move |event| {
        if let EventKind::AttemptFailed { code, message, .. } = &event.kind {
            let _ = failed.send(Error::new(*code, message.clone()));
        }
    })
    .unwrap();
    // A failure before the callback was set is not reported again.
    node.rearm().unwrap();
    let failure = failures.recv_timeout(GUARD).unwrap();
    node.stop(GUARD).unwrap();
    failure
}

/// Runs one test of this file again in a process of its own, with these variables.
fn in_a_process_of_its_own(test: &str, variables: &[(&str, &str)]) {
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("POSEMESH_TEST_CHILD", "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{shown}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(shown.contains("1 passed"), "{shown}");
}

fn is_child() -> bool {
    std::env::var_os("POSEMESH_TEST_CHILD").is_some()
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

// scenario: untrusted-certificate
#[test]
fn a_private_authority_is_trusted_only_with_ca_file() {
    let dds = DevDds::start().unwrap();
    let front = TlsFront::start("ca", "127.0.0.1", &dds);
    let mut config = config(&format!("https://{}", front.address), &dds.authority());

    let failure = first_failure(&config);
    assert_eq!(failure.code(), ErrorCode::Unavailable);
    let says = "; if a private CA issued it, set ca_file to that CA's certificate";
    assert!(failure.message().contains("certificate") && failure.message().ends_with(says), "{failure}");
    assert!(dds.requests().is_empty());

    config.set("ca_file", front.ca_file.to_str().unwrap()).unwrap();
    let node = Node::start(&config).unwrap();
    node.wait(Wait::Registered, Some(GUARD)).unwrap();
    node.stop(GUARD).unwrap();
    assert!(CryptoProvider::get_default().is_none(), "the process's TLS provider is the host's to choose");
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let dds = DevDds::start().unwrap();
    let front = TlsFront::start("host", "dds.example", &dds);
    let mut config = config(&format!("https://{}", front.address), &dds.authority());
    config.set("secp256k1_privhex", &"1".repeat(64)).unwrap();
    config.set("ca_file", front.ca_file.to_str().unwrap()).unwrap();
    let failure = first_failure(&config);
    let says = "; check the host in dds_base_url, and that nothing else answers in its place";
    assert!(failure.message().contains("certificate") && failure.message().ends_with(says), "{failure}");
    assert!(dds.requests().is_empty());
}

#[test]
fn the_error_of_an_unusable_certificate_says_what_to_do() {
    const CHECK_CLOCK: &str = "; check the clock of this machine, or have the certificate renewed";
    let dds = DevDds::start().unwrap();
    type Change = fn(&mut CertificateParams);
    let cases: [(&str, Change, &str); 3] = [
        ("expired", |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1), CHECK_CLOCK),
        ("early", |params| params.not_before = rcgen::date_time_ymd(4000, 1, 1), CHECK_CLOCK),
        (
            "authority",
            |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            "; the server presents a CA certificate, and needs one that the CA issued",
        ),
    ];
    for (wallet, (name, change, says)) in cases.into_iter().enumerate() {
        let front = TlsFront::with(name, &["127.0.0.1"], dds.authority().parse().unwrap(), change);
        let mut config = config(&format!("https://{}", front.address), &dds.authority());
        config.set("secp256k1_privhex", &format!("{:064x}", wallet + 100)).unwrap();
        config.set("ca_file", front.ca_file.to_str().unwrap()).unwrap();
        let failure = first_failure(&config);
        assert!(failure.message().contains("certificate") && failure.message().ends_with(says), "{failure}");
    }
    assert!(dds.requests().is_empty());
}

#[test]
fn the_error_of_a_server_without_tls_says_so() {
    let dds = DevDds::start().unwrap();
    let failure = first_failure(&config(&format!("https://{}", dds.authority()), "any"));
    assert_eq!(failure.code(), ErrorCode::Unavailable);
    let says = "(the server does not use TLS at this port, or a proxy responds in its place)";
    assert!(failure.message().ends_with(says), "{failure}");
}

#[test]
fn long_names_in_a_certificate_are_cut_in_errors() {
    let dds = DevDds::start().unwrap();
    let many: Vec<_> = (0..1500).map(|number| format!("name-{number}.example")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let front = TlsFront::before("names", &many, dds.authority().parse().unwrap());
    let mut config = config(&format!("https://{}", front.address), &dds.authority());
    config.set("secp256k1_privhex", &"2".repeat(64)).unwrap();
    config.set("ca_file", front.ca_file.to_str().unwrap()).unwrap();
    let failure = first_failure(&config);
    assert!(failure.message().contains("not valid for name"), "{failure}");
    assert!(failure.message().len() < 1024, "{} bytes", failure.message().len());
}

#[test]
fn a_node_registers_when_dds_closes_each_tls_connection() {
    for close in [Close::Silent, Close::Reset, Close::Half, Close::Announced] {
        let dds = ClosingDds::start(close);
        let front = TlsFront::before(&format!("{close:?}"), &["127.0.0.1"], dds.address);
        let mut config = config(&format!("https://{}", front.address), &dds.address.to_string());
        config.set("ca_file", front.ca_file.to_str().unwrap()).unwrap();
        for wallet in 3..23 {
            config.set("secp256k1_privhex", &format!("{wallet:064x}")).unwrap();
            let node = Node::start(&config).unwrap();
            node.wait(Wait::Registered, Some(GUARD)).unwrap();
            node.access_token(Some(GUARD)).unwrap();
            let status = node.status().unwrap();
            assert_eq!((status.attempts, status.sign_in_failures), (1, 0), "{close:?}");
            node.stop(GUARD).unwrap();
        }
        let requests = ["/siwe/request", "/register-wallet", "/siwe/verify"].map(|path| dds.requests(path));
        assert_eq!(requests, [40, 20, 20], "{close:?}");
    }
}

#[test]
fn ssl_cert_file_is_honoured() {
    if is_child() {
        let node = Node::start(&config(&variable("DDS"), &variable("DOMAIN"))).unwrap();
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        return;
    }
    let dds = DevDds::start().unwrap();
    let front = TlsFront::start("env", "127.0.0.1", &dds);
    in_a_process_of_its_own(
        "ssl_cert_file_is_honoured",
        &[
            ("SSL_CERT_FILE", front.ca_file.to_str().unwrap()),
            ("DDS", &format!("https://{}", front.address)),
            ("DOMAIN", &dds.authority()),
        ],
    );
}

/// Unix, because of the odd files.
#[cfg(unix)]
#[test]
fn ssl_cert_dir_is_honoured() {
    if is_child() {
        let node = Node::start(&config(&variable("DDS"), &variable("DOMAIN"))).unwrap();
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        return;
    }
    let dds = DevDds::start().unwrap();
    let front = TlsFront::start("dir", "127.0.0.1", &dds);
    let directory = odd_directory("certificates");
    std::fs::copy(&front.ca_file, directory.join("ca.pem")).unwrap();
    in_a_process_of_its_own(
        "ssl_cert_dir_is_honoured",
        &[
            ("SSL_CERT_DIR", &format!("/nonexistent:{}", directory.display())),
            ("DDS", &format!("https://{}", front.address)),
            ("DOMAIN", &dds.authority()),
        ],
    );
    std::fs::remove_dir_all(directory).unwrap();
}

/// A directory without certificates: a named pipe, a link to a device, a huge file, a directory.
#[cfg(unix)]
fn odd_directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("posemesh-{name}-{}", std::process::id()));
    std::fs::create_dir_all(directory.join("directory")).unwrap();
    assert!(Command::new("mkfifo").arg(directory.join("pipe")).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", directory.join("zeros")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", directory.join("dangling")).unwrap();
    std::fs::File::create(directory.join("large")).unwrap().set_len(1 << 40).unwrap();
    directory
}

/// Unix, because of the odd files.
#[cfg(unix)]
#[test]
fn bundled_roots_are_used_when_the_system_has_none() {
    if is_child() {
        // Reading some of these files would never end.
        thread::spawn(|| {
            thread::sleep(GUARD);
            std::process::exit(1);
        });
        // The start reads the roots; the network is not involved.
        let mut config = config(&variable("DDS"), "any");
        config.set("request_timeout_secs", "1").unwrap();
        let failure = first_failure(&config);
        assert!(failure.message().contains("certificate"), "{failure}");
        return;
    }
    let dds = DevDds::start().unwrap();
    let front = TlsFront::start("none", "127.0.0.1", &dds);
    let directory = odd_directory("no-certificates");
    let inside = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    for (variable, path) in [
        ("SSL_CERT_FILE", "/nonexistent/roots.pem".into()),
        ("SSL_CERT_FILE", inside("")),
        ("SSL_CERT_FILE", inside("pipe")),
        ("SSL_CERT_FILE", inside("zeros")),
        ("SSL_CERT_FILE", inside("large")),
        ("SSL_CERT_DIR", inside("")),
        ("SSL_CERT_DIR", inside("pipe")),
        ("SSL_CERT_DIR", inside("zeros")),
    ] {
        in_a_process_of_its_own(
            "bundled_roots_are_used_when_the_system_has_none",
            &[(variable, &path), ("DDS", &format!("https://{}", front.address))],
        );
    }
    std::fs::remove_dir_all(directory).unwrap();
}

/// A proxy that accepts one request and answers it with 403.
fn refusing_proxy() -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        let mut first_line = String::new();
        BufReader::new(&stream).read_line(&mut first_line).unwrap();
        stream
            .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .unwrap();
        first_line
    });
    (address, seen)
}

#[test]
fn a_proxy_is_used_for_other_machines() {
    if is_child() {
        let mut config = config(&variable("DDS"), "any");
        config.set("allow_insecure_http", "true").unwrap();
        let node = Node::start(&config).unwrap();
        let deadline = Instant::now() + GUARD;
        while node.last_error().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the attempt fails");
            thread::sleep(Duration::from_millis(1));
        }
        return;
    }
    // Names that end in .invalid never resolve (RFC 6761), so only the proxy can be used.
    for (url, variable, first_line) in [
        (
            "http://dds.invalid",
            "http_proxy",
            "POST http://dds.invalid/internal/v1/auth/siwe/request HTTP/1.1\r\n",
        ),
        ("https://dds.invalid", "https_proxy", "CONNECT dds.invalid:443 HTTP/1.1\r\n"),
    ] {
        let (proxy, seen) = refusing_proxy();
        in_a_process_of_its_own(
            "a_proxy_is_used_for_other_machines",
            &[(variable, &format!("http://{proxy}")), ("DDS", url)],
        );
        assert_eq!(seen.join().unwrap(), first_line);
    }
}

/// A proxy that connects to `target` whatever it is asked for, and returns the head of each CONNECT request.
fn tunnelling_proxy(target: SocketAddr) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heads) = channel();
    thread::spawn(move || {
        // It ends with the test's process.
        while let Ok((mut client, _)) = listener.accept() {
            let mut head = String::new();
            let mut byte = [0];
            while !head.ends_with("\r\n\r\n") && client.read(&mut byte).unwrap() > 0 {
                head.push(byte[0].into());
            }
            sender.send(head).unwrap();
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let server = TcpStream::connect(target).unwrap();
            let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            for (mut from, mut to) in [(client, server), (server_too, client_too)] {
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (address, heads)
}

#[test]
fn a_node_registers_through_the_tunnel_of_a_proxy() {
    if is_child() {
        let mut config = config("https://dds.invalid", "dds.invalid");
        config.set("ca_file", &variable("CA")).unwrap();
        let node = Node::start(&config).unwrap();
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        return;
    }
    let dds = DevDds::start().unwrap();
    dds.set_challenge(Some(json!({ "domain": "dds.invalid", "uri": "https://dds.invalid" })));
    let front = TlsFront::start("tunnel", "dds.invalid", &dds);
    let (proxy, heads) = tunnelling_proxy(front.address);
    let tls_proxy = TlsFront::before("tls-proxy", &["127.0.0.1"], proxy);
    let both = std::env::temp_dir().join(format!("posemesh-both-{}.pem", std::process::id()));
    let pem = [&front.ca_file, &tls_proxy.ca_file].map(|file| std::fs::read_to_string(file).unwrap());
    std::fs::write(&both, pem.concat()).unwrap();
    for url in [format!("http://user:p%40ss@{proxy}"), format!("https://user:p%40ss@{}", tls_proxy.address)] {
        in_a_process_of_its_own(
            "a_node_registers_through_the_tunnel_of_a_proxy",
            &[("https_proxy", &url), ("CA", both.to_str().unwrap())],
        );
        let head = heads.recv_timeout(GUARD).unwrap();
        assert!(head.starts_with("CONNECT dds.invalid:443 HTTP/1.1\r\nHost: dds.invalid:443\r\n"), "{head}");
        // base64 of `user:p@ss`
        assert!(head.to_lowercase().contains("proxy-authorization: basic dxnlcjpwqhnz\r\n"), "{head}");
        assert!(head.to_lowercase().contains("user-agent: posemesh-node/"), "{head}");
    }
    std::fs::remove_file(both).unwrap();
    let requests = dds.requests_to(Endpoint::Register);
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(
            (request.header("host"), request.header("proxy-authorization")),
            (Some("dds.invalid"), None)
        );
    }
}

#[test]
fn a_node_registers_through_a_proxy_for_plain_http() {
    if is_child() {
        let mut config = config("http://dds.invalid", "dds.invalid");
        config.set("allow_insecure_http", "true").unwrap();
        let node = Node::start(&config).unwrap();
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        return;
    }
    // DDS plays the proxy: it accepts whole URLs, too.
    let dds = DevDds::start().unwrap();
    dds.set_challenge(Some(json!({ "domain": "dds.invalid", "uri": "http://dds.invalid" })));
    in_a_process_of_its_own(
        "a_node_registers_through_a_proxy_for_plain_http",
        &[("http_proxy", &format!("http://user:p%40ss@{}", dds.authority()))],
    );
    let requests = dds.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.path, format!("http://dds.invalid{}", request.endpoint.unwrap().path()));
        // base64 of `user:p@ss`
        assert_eq!(request.header("proxy-authorization"), Some("Basic dXNlcjpwQHNz"));
        assert_eq!(request.header("host"), Some("dds.invalid"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("accept"), Some("*/*"));
        assert!(request.header("user-agent").unwrap().starts_with("posemesh-node/"));
    }
}

/// A proxy that gives every request this answer, or none.
fn useless_proxy(answer: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        // It ends with the test's process.
        while let Ok((mut stream, _)) = listener.accept() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            while lines.next().is_some_and(|line| !line.is_empty()) {}
            match answer {
                Some(answer) => drop(stream.write_all(answer.as_bytes())),
                // Silent until the node gives up.
                None => drop(stream.read(&mut [0])),
            }
        }
    });
    address
}

#[test]
fn the_error_names_the_proxy_that_failed() {
    const CHECK: &str = "; check the settings of the proxy (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY)";
    if is_child() {
        let mut config = config(&variable("DDS"), "any");
        config.set("allow_insecure_http", "true").unwrap();
        config.set("request_timeout_secs", &variable("TIMEOUT")).unwrap();
        let failure = first_failure(&config);
        let says = format!("/internal/v1/auth/siwe/request (through the proxy {})", variable("PROXY"));
        assert!(failure.message().contains(&says), "{failure}");
        assert!(failure.message().contains(&variable("WHY")), "{failure}");
        assert_eq!(failure.message().ends_with(CHECK), variable("ADVICE") == "proxy", "{failure}");
        assert!(!failure.message().contains("pa55word"), "{failure}");
        return;
    }
    let dds = DevDds::start().unwrap();
    let untrusted = TlsFront::before("untrusted-proxy", &["127.0.0.1"], dds.authority().parse().unwrap());
    // No process listens there.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = useless_proxy(None);
    let refusing = useless_proxy(Some(
        "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    ));
    let (tunnel, _heads) = tunnelling_proxy(dds.authority().parse().unwrap());
    for (variable, scheme, proxy, dds, why, advice) in [
        ("http_proxy", "http", dead, "http://dds.invalid", "onnect", "proxy"),
        ("https_proxy", "http", dead, "https://dds.invalid", "onnect", "proxy"),
        ("http_proxy", "http", refusing, "http://dds.invalid", "407", "proxy"),
        ("https_proxy", "http", refusing, "https://dds.invalid", "authorization required", "proxy"),
        // The proxy does not use TLS; its certificate is not trusted.
        ("https_proxy", "https", refusing, "https://dds.invalid", "InvalidContentType", "proxy"),
        ("https_proxy", "https", untrusted.address, "https://dds.invalid", "UnknownIssuer", "proxy"),
        ("http_proxy", "http", silent, "http://dds.invalid", "timed out", ""),
        ("https_proxy", "http", silent, "https://dds.invalid", "timed out", ""),
        // The server behind the tunnel does not use TLS.
        ("https_proxy", "http", tunnel, "https://dds.invalid", "does not use TLS", ""),
    ] {
        // The name of the user is a word of the message. Only the password is a secret.
        let url = format!("{scheme}://proxy:pa55word@{proxy}");
        // Only the silent proxy lets it pass.
        let timeout = if proxy == silent { "1" } else { "10" };
        in_a_process_of_its_own(
            "the_error_names_the_proxy_that_failed",
            &[
                (variable, &url),
                ("DDS", dds),
                ("TIMEOUT", timeout),
                ("PROXY", &proxy.to_string()),
                ("WHY", why),
                ("ADVICE", advice),
            ],
        );
    }
}

/// Even if its password is the name of its host.
#[test]
fn the_name_of_a_proxy_is_shown_whatever_its_password_is() {
    if is_child() {
        let failure = first_failure(&config("https://dds.invalid", "any"));
        let says = "(through the proxy localhost:1): ";
        assert!(failure.message().contains(says) && !failure.message().contains("[redacted]"), "{failure}");
        return;
    }
    in_a_process_of_its_own(
        "the_name_of_a_proxy_is_shown_whatever_its_password_is",
        &[("https_proxy", "http://local:localhost@localhost:1")],
    );
}

#[test]
fn no_proxy_is_honoured() {
    if is_child() {
        let mut config = config("https://dds.invalid", "any");
        config.set("request_timeout_secs", "1").unwrap();
        first_failure(&config);
        return;
    }
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    for no_proxy in ["dds.invalid", ".invalid", "*"] {
        in_a_process_of_its_own(
            "no_proxy_is_honoured",
            &[("https_proxy", &url), ("all_proxy", &url), ("no_proxy", no_proxy)],
        );
    }
    proxy.set_nonblocking(true).unwrap();
    assert_eq!(proxy.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "the proxy was used");
}

#[test]
fn a_proxy_is_never_used_for_this_machine() {
    if is_child() {
        let node = Node::start(&config(&variable("DDS"), "any")).unwrap();
        node.wait(Wait::Registered, Some(GUARD)).unwrap();
        return;
    }
    let dds = DevDds::start().unwrap();
    // No process listens there.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = format!("http://{dead}");
    in_a_process_of_its_own(
        "a_proxy_is_never_used_for_this_machine",
        &[("http_proxy", &proxy), ("https_proxy", &proxy), ("all_proxy", &proxy), ("DDS", &dds.url())],
    );
}

#[test]
fn a_malformed_proxy_variable_is_refused_at_start() {
    if is_child() {
        let mut config = config("https://dds.invalid", "any");
        let error = Node::start(&config).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        let refused = variable("REFUSED");
        // Windows ignores the case of these names, and the first one that the library reads is in capitals.
        let refused = if cfg!(windows) { refused.to_uppercase() } else { refused };
        assert!(error.message().contains(&format!("variable {refused} ")), "{error}");
        for part in ["not a url", "ftp", "pa55word", "host name"] {
            assert!(!error.message().contains(part), "{part} in {error}");
        }
        // It is never used for this machine, so it does not matter there.
        let dds = DevDds::start().unwrap();
        config.set("dds_base_url", &dds.url()).unwrap();
        Node::start(&config).unwrap().wait(Wait::Registered, Some(GUARD)).unwrap();
        return;
    }
    for (variable, value) in [
        ("HTTPS_PROXY", "not a url"),
        ("https_proxy", "ftp://proxy.example"),
        ("HTTP_PROXY", "http://user:pa55word@host name:1"),
        ("http_proxy", "socks5://user:pa55word@proxy.example"),
        ("ALL_PROXY", "http://user:pa55word@:3128"),
        ("all_proxy", "http://user:pa55word@proxy.example:port"),
    ] {
        in_a_process_of_its_own(
            "a_malformed_proxy_variable_is_refused_at_start",
            &[(variable, value), ("REFUSED", variable)],
        );
    }
}

/// A proxy that answers each request with the credentials that it received, as they were and decoded.
fn quoting_proxy() -> SocketAddr {
    use base64::Engine as _;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        // It ends with the test's process.
        while let Ok((mut stream, _)) = listener.accept() {
            let mut quoted = String::new();
            for line in BufReader::new(&stream).lines() {
                let Ok(line) = line else { break };
                if line.is_empty() {
                    break;
                }
                if let Some((_, credentials)) = line.split_once("Basic ") {
                    let decoded = base64::engine::general_purpose::STANDARD.decode(credentials).unwrap();
                    quoted = format!("{line} is {}", String::from_utf8(decoded).unwrap());
                }
            }
            if quoted.is_empty() {
                // A connection that the client opened but did not use.
                continue;
            }
            let length = quoted.len();
            let head = format!("HTTP/1.1 403 No\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            // A client that has cancelled its request may have closed the connection.
            let _ = stream.write_all((head + &quoted).as_bytes());
            // Closing with unread data would reset the connection, and the answer could be lost.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    address
}

#[test]
fn the_password_of_a_proxy_never_appears_in_an_error() {
    if is_child() {
        let mut config = config("http://dds.invalid", "any");
        config.set("allow_insecure_http", "true").unwrap();
        let failure = first_failure(&config);
        assert!(failure.message().contains("403 Forbidden: [redacted]"), "{failure}");
        return;
    }
    let proxy = quoting_proxy();
    for password in ["pa55word-of-the-proxy", "p%40ss%3aw%25rd"] {
        in_a_process_of_its_own(
            "the_password_of_a_proxy_never_appears_in_an_error",
            &[("http_proxy", &format!("http://user:{password}@{proxy}"))],
        );
    }
}
