//! The callback server with TLS: real handshakes, and files that are replaced while it runs.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use posemesh_dev_dds::DevDds;
use posemesh_node_registration::error::ErrorCode;
use posemesh_node_registration::log::Level;
use posemesh_node_registration::node::Node;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use serde_json::json;

use crate::place::{Place, free_port};
use crate::support::{self, GUARD};
use crate::worker::{Worker, leader_of};
use crate::{ID, SECRET, Setup, callback, connect, exchange, get, is_open, parse};

/// A certificate authority that only a test knows.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate and its key.
struct Pair {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn issue(&self) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { certificate, key }
    }
}

impl Pair {
    fn write(&self, directory: &Path) {
        fs::create_dir_all(directory).expect("a directory");
        fs::write(directory.join("tls.crt"), self.certificate.pem()).expect("written");
        fs::write(directory.join("tls.key"), self.key.serialize_pem()).expect("written");
    }

    fn der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }
}

/// A directory of a test, with a certificate authority.
struct Files {
    place: Place,
    authority: Authority,
}

impl Files {
    /// With a pair in `tls.crt` and `tls.key`.
    fn new() -> (Self, Pair) {
        let files = Self { place: Place::new(), authority: Authority::new("a test") };
        let pair = files.authority.issue();
        pair.write(&files.place.0);
        (files, pair)
    }

    fn path(&self, name: &str) -> String {
        self.place.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Writes a file, and replaces another one with it in one step.
    fn replace(&self, name: &str, content: &str) {
        let new = self.path("new");
        fs::write(&new, content).expect("written");
        fs::rename(new, self.path(name)).expect("replaced");
    }

    fn client_ca(&self, authority: &Authority) -> String {
        let path = self.path("ca.crt");
        fs::write(&path, authority.certificate.pem()).expect("written");
        path
    }

    fn client(&self) -> Client {
        Client::new(&self.authority, rustls::ALL_VERSIONS, None)
    }

    /// A node with TLS, with this directory's files or those in a directory of it.
    fn setup(&self, directory: &str, options: &[(&str, &str)]) -> Setup {
        let (cert, key) = (self.path(directory) + "/tls.crt", self.path(directory) + "/tls.key");
        let tls = [("callback_tls_cert", cert.as_str()), ("callback_tls_key", key.as_str())];
        Setup::new(&[&tls[..], options].concat())
    }
}

struct Client(Arc<ClientConfig>);

impl Client {
    fn new(
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        pair: Option<&Pair>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.der().clone()).expect("a certificate");
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("supported")
            .with_root_certificates(roots);
        let config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivatePkcs8KeyDer::from(pair.key.serialize_der()).into();
                builder.with_client_auth_cert(vec![pair.der().clone()], key).expect("a pair")
            }
        };
        Self(Arc::new(config))
    }

    fn offering(mut self, protocols: &[&str]) -> Self {
        let config = Arc::get_mut(&mut self.0).expect("not in use");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config.resumption = rustls::client::Resumption::disabled();
        self
    }

    fn connect(&self, address: SocketAddr) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::from(address.ip());
        let tls = ClientConnection::new(Arc::clone(&self.0), name).expect("a good configuration");
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(GUARD))?;
        let mut stream = StreamOwned::new(tls, socket);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(stream)
    }

    fn ask(&self, address: SocketAddr, bytes: &[u8]) -> io::Result<u16> {
        let mut stream = self.connect(address)?;
        stream.write_all(bytes)?;
        let mut received = Vec::new();
        // It ends with close_notify, else this fails.
        stream.read_to_end(&mut received)?;
        Ok(parse(&received).status)
    }

    fn send_secret(&self, address: SocketAddr, secret: &str) -> io::Result<u16> {
        self.ask(address, &callback(json!({ "id": ID, "secret": secret }).to_string()))
    }

    /// The certificate that the server presents.
    fn sees(&self, address: SocketAddr) -> io::Result<CertificateDer<'static>> {
        let stream = self.connect(address)?;
        Ok(stream.conn.peer_certificates().expect("a certificate")[0].clone().into_owned())
    }

    fn until_it_sees(&self, pair: &Pair, address: SocketAddr) {
        let deadline = Instant::now() + GUARD;
        while self.sees(address).expect("no connection is refused") != *pair.der() {
            assert!(Instant::now() < deadline, "the new certificate is not in use");
            thread::yield_now();
        }
    }
}

#[test]
fn callbacks_and_probes_arrive_over_tls() {
    let (files, _) = Files::new();
    let setup = files.setup("", &[]);
    for version in rustls::ALL_VERSIONS {
        let client = Client::new(&files.authority, &[version], None);
        assert_eq!(client.send_secret(setup.address, SECRET).expect("an answer"), 200, "{version:?}");
        let probe = get("/health", "user-agent: DDS v1\r\n");
        assert_eq!(client.ask(setup.address, &probe).expect("an answer"), 200);
        assert_eq!(client.ask(setup.address, &get("/", "")).expect("an answer"), 404);
    }
    assert_eq!(setup.secret().as_deref(), Some(SECRET));
    assert!(setup.node.status().expect("this process").last_healthcheck.is_some());
    assert!(rustls::crypto::CryptoProvider::get_default().is_none(), "the provider is the host's to choose");
}

#[test]
fn http_1_1_is_the_only_protocol() {
    let (files, _) = Files::new();
    let setup = files.setup("", &[]);
    let stream = files.client().offering(&["h2", "http/1.1"]).connect(setup.address).expect("a protocol");
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    files.client().offering(&["h2"]).connect(setup.address).expect_err("no protocol");
    assert_eq!(files.client().send_secret(setup.address, SECRET).expect("an answer"), 200);
}

#[test]
fn a_large_callback_arrives_over_tls() {
    let (files, _) = Files::new();
    let setup = files.setup("", &[]);
    let body = |length| json!({ "id": ID, "secret": SECRET, "domains": "x".repeat(length) }).to_string();
    let ask = |length| files.client().ask(setup.address, &callback(body(length)));
    assert_eq!(ask(150 * 1024).expect("an answer"), 200);
    // The connection is closed with what was not read.
    assert!(ask(300 * 1024).is_ok_and(|status| status == 413) || setup.version() == 1);
}

/// Callers who know the server from its log or its command line see these.
#[test]
fn common_programs_can_call() {
    let (files, _) = Files::new();
    let setup = files.setup("", &[]);
    let ca = files.client_ca(&files.authority);
    let url = format!("https://{}/health", setup.address);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--cacert", &ca, &url]);
    let address = setup.address.to_string();
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", &address, "-CAfile", &ca, "-verify_return_error", "-brief"]);
    for mut program in [curl, openssl] {
        match program.stdin(Stdio::null()).output() {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(error) => println!("SKIPPED: {:?}: {error}", program.get_program()),
        }
    }
}

#[test]
fn a_request_without_tls_is_answered_with_400() {
    let (files, _) = Files::new();
    let setup = files.setup("", &[]);
    for request in [
        get("/health", "user-agent: DDS v1\r\n"),
        callback(json!({ "id": ID, "secret": SECRET }).to_string()),
    ] {
        let answer = exchange(setup.address, &request).expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (400, "this port expects TLS: use https"));
    }
    let status = setup.node.status().expect("this process");
    assert_eq!((status.has_secret, status.last_healthcheck), (false, None));
    // A connection that is closed before the handshake, and one that sends bytes of no protocol.
    drop(connect(setup.address));
    let mut garbage = connect(setup.address);
    garbage.write_all(&[22, 3, 1, 255, 255, 1, 2, 3]).expect("sent");
    crate::read_to_end(&mut garbage);
    assert_eq!(files.client().send_secret(setup.address, SECRET).expect("an answer"), 200);
}

#[test]
fn only_clients_of_the_authority_may_connect() {
    let (files, _) = Files::new();
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let ca = files.client_ca(&ours);
    let setup = files.setup("", &[("callback_tls_client_ca", &ca)]);
    let [dds, stranger] = [&ours, &others].map(Authority::issue);
    let ask = |version: &'static SupportedProtocolVersion, pair: Option<&Pair>| {
        Client::new(&files.authority, &[version], pair).send_secret(setup.address, SECRET)
    };
    for version in rustls::ALL_VERSIONS {
        ask(version, None).expect_err("no certificate");
        ask(version, Some(&stranger)).expect_err("a certificate of another authority");
        assert_eq!(setup.secret().is_some(), *version != &rustls::version::TLS13 && setup.version() > 0);
        assert_eq!(ask(version, Some(&dds)).expect("an answer"), 200);
    }
    // The authority is replaced too.
    let client = Client::new(&files.authority, rustls::ALL_VERSIONS, Some(&stranger));
    files.replace("ca.crt", &others.certificate.pem());
    let deadline = Instant::now() + GUARD;
    while client.send_secret(setup.address, SECRET).ok() != Some(200) {
        assert!(Instant::now() < deadline, "the new authority is not in use");
        thread::yield_now();
    }
    ask(&rustls::version::TLS13, Some(&dds)).expect_err("the former authority");
}

#[test]
fn callers_are_checked_before_the_handshake() {
    let (files, _) = Files::new();
    let setup = files.setup("", &[("callback_allow", "192.0.2.7")]);
    files.client().send_secret(setup.address, SECRET).expect_err("closed");
    assert!(crate::read_to_end(&mut connect(setup.address)).is_empty(), "closed without a word");

    let setup = files.setup("", &[("callback_allow", "192.0.2.7"), ("trusted_proxies", "127.0.0.1")]);
    for (client, expected) in [("192.0.2.7", 200), ("192.0.2.8", 403)] {
        let probe = get("/health", &format!("x-forwarded-for: {client}\r\n"));
        assert_eq!(files.client().ask(setup.address, &probe).expect("an answer"), expected);
    }
}

/// Connections that send nothing, and a part of a handshake.
#[test]
fn stalled_handshakes_do_not_lock_out_dds() {
    let (files, _) = Files::new();
    let setup = files.setup("", &[]);
    let stalled: Vec<_> = (0..600)
        .map(|nth| {
            let mut stream = connect(setup.address);
            // A record of 512 bytes, of which 3 arrive.
            let part: &[u8] = if nth % 2 == 0 { &[] } else { &[22, 3, 1, 2, 0, 1, 0, 1] };
            stream.write_all(part).expect("sent");
            stream
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(files.client().send_secret(setup.address, SECRET).expect("an answer"), 200);
    }
    let open = stalled.iter().filter(|stream| is_open(stream)).count();
    assert!((200..256).contains(&open), "{open} are open");
}

/// As Kubernetes does: `tls.crt` is a link to `..data/tls.crt`, and `..data` is replaced.
#[test]
fn a_pair_is_replaced_without_a_refused_connection() {
    let (files, first) = Files::new();
    let directory = files.place.0.join("mount");
    first.write(&directory.join("..0"));
    symlink("..0", directory.join("..data")).expect("a link");
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), directory.join(name)).expect("a link");
    }
    let setup = files.setup("mount", &[]);
    let address = setup.address;
    let client = files.client().offering(&["http/1.1"]);
    assert_eq!(client.sees(address).expect("a certificate"), *first.der());

    let (stopped, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let client = files.client().offering(&["http/1.1"]);
                while !stopped.load(Ordering::Relaxed) {
                    assert_eq!(client.send_secret(address, SECRET).expect("no connection is refused"), 200);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stop = Stop(&stopped);
        for nth in 1..=3 {
            let pair = files.authority.issue();
            pair.write(&directory.join(format!("..{nth}")));
            symlink(format!("..{nth}"), directory.join("..new")).expect("a link");
            fs::rename(directory.join("..new"), directory.join("..data")).expect("replaced");
            client.until_it_sees(&pair, address);
            fs::remove_dir_all(directory.join(format!("..{}", nth - 1))).expect("removed");
        }
    });
    assert!(calls.into_inner() > 50);
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_broken_pair_leaves_the_former_one_in_use() {
    support::alone("tls::a_broken_pair_leaves_the_former_one_in_use", || {
        let (files, first) = Files::new();
        let setup = files.setup("", &[]);
        let client = files.client().offering(&["http/1.1"]);
        let next = files.authority.issue();
        let warnings = || {
            let logged = support::logged();
            let warnings = logged.iter().filter(|record| record.level == Level::Warn);
            warnings
                .map(|record| record.message.to_string())
                .filter(|message| message.ends_with("the former certificate and key stay in use"))
                .collect::<Vec<_>>()
        };
        let mut expected = Vec::new();
        let steps: [(&str, &str, Option<String>); 4] = [
            ("callback_tls_cert", "tls.crt", Some("no certificate".into())),
            ("callback_tls_cert", "tls.crt", None),
            ("callback_tls_key", "tls.crt", Some(next.certificate.pem())),
            (
                "callback_tls_key",
                "tls.key",
                Some("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".into()),
            ),
        ];
        for (option, name, content) in steps {
            match &content {
                Some(content) => files.replace(name, content),
                None => fs::remove_file(files.path(name)).expect("removed"),
            }
            expected.push(option);
            let deadline = Instant::now() + GUARD;
            while warnings().len() < expected.len() {
                assert_eq!(client.sees(setup.address).expect("no connection is refused"), *first.der());
                assert!(Instant::now() < deadline, "{name} {content:?}: {:?}", warnings());
            }
        }
        // One warning each, although the files are looked at again.
        let until = Instant::now() + std::time::Duration::from_millis(2500);
        while Instant::now() < until {
            assert_eq!(client.sees(setup.address).expect("no connection is refused"), *first.der());
        }
        files.replace("tls.key", &next.key.serialize_pem());
        client.until_it_sees(&next, setup.address);
        setup.node.stop(GUARD).expect("stops");
        let warnings = warnings();
        let options: Vec<_> =
            warnings.iter().map(|warning| warning.split(' ').next().expect("a word")).collect();
        assert_eq!(options, expected, "{warnings:?}");
        for record in support::logged() {
            assert!(!record.message.contains("BEGIN") && !record.message.contains("AAAA"), "{record:?}");
        }
    });
}

#[test]
fn files_are_checked_at_start() {
    let (files, pair) = Files::new();
    let other = files.authority.issue();
    let dds = DevDds::start().expect("a DDS");
    let key = pair.key.serialize_pem();
    for (name, content) in [
        ("empty", ""),
        ("text", "nothing of the kind"),
        ("broken", "-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n"),
        ("no-der", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("other.key", &other.key.serialize_pem()),
        ("bad.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ("encrypted.key", &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")),
    ] {
        fs::write(files.path(name), content).expect("written");
    }
    let (cert, key) = ("callback_tls_cert", "callback_tls_key");
    for (option, bad, says) in [
        (cert, "missing", "cannot be read"),
        (cert, "", "is a directory"),
        (cert, "empty", "no certificate"),
        (cert, "text", "no certificate"),
        (cert, "tls.key", "no certificate"),
        (cert, "broken", ""),
        (cert, "no-der", ""),
        (key, "missing", "cannot be read"),
        (key, "empty", "no private key"),
        (key, "tls.crt", "no private key"),
        (key, "encrypted.key", "no private key that is not encrypted"),
        (key, "bad.key", ""),
        (key, "other.key", "is not the key of the certificate in"),
        ("callback_tls_client_ca", "missing", "cannot be read"),
        ("callback_tls_client_ca", "empty", "no certificate"),
        ("callback_tls_client_ca", "no-der", ""),
    ] {
        let bad = files.path(bad);
        let options = [
            ("callback_bind", "127.0.0.1:0"),
            (cert, &files.path("tls.crt")),
            (key, &files.path("tls.key")),
            (option, &bad),
        ];
        let error = Node::start(&support::config(&dds.url(), &options)).expect_err("a bad file");
        assert_eq!(error.code(), ErrorCode::InvalidConfig, "{error}");
        let message = error.message();
        assert!(message.starts_with(&format!("{option} {bad}: ")), "{message}");
        assert!(message.contains(says) && message.contains("expected a PEM file"), "{message}");
        assert!(!message.contains("BEGIN"), "{message}");
    }
}

/// The leader dies while the pair is replaced: the next leader has the new one.
#[test]
fn the_next_leader_serves_with_the_files_of_its_time() {
    let (files, first) = Files::new();
    let (dds, bind) = (crate::support::dds_that_calls_when_told(), free_port());
    let (state, cert, key) = (files.path("state"), files.path("tls.crt"), files.path("tls.key"));
    let options = [
        ("STATE_DIR", state.as_str()),
        ("CALLBACK_BIND", &bind),
        ("CALLBACK_TLS_CERT", &cert),
        ("CALLBACK_TLS_KEY", &key),
    ];
    let mut workers: Vec<_> = (0..2).map(|_| Worker::start(&dds.url(), &options)).collect();
    let address: SocketAddr = bind.parse().expect("an address");
    let client = files.client().offering(&["http/1.1"]);
    let leader = leader_of(&mut workers);
    assert_eq!(workers[leader].ask("registered"), "Ok(())");
    assert_eq!(client.sees(address).expect("a certificate"), *first.der());
    assert_eq!(client.send_secret(address, SECRET).expect("an answer"), 200);

    let next = files.authority.issue();
    next.write(&files.place.0);
    workers.remove(leader).kill();
    assert_eq!(leader_of(&mut workers), 0);
    let deadline = Instant::now() + GUARD;
    while !client.sees(address).is_ok_and(|seen| seen == *next.der()) {
        assert!(Instant::now() < deadline, "the new leader does not serve");
        thread::yield_now();
    }
    assert_eq!(client.send_secret(address, SECRET).expect("an answer"), 200);
    workers[0].until_answer("secret", |held| held == SECRET);
}
