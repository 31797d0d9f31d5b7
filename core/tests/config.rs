//! Which configurations are refused, with which messages; the environment and secret files.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use posemesh_dev_dds::{DevDds, Endpoint};
use posemesh_node_registration::config::{
    CallbackPolicy, Config, ConfigOption, Identity, OPTIONS, OptionKind, SiweFormat,
};
use posemesh_node_registration::error::{Error, ErrorCode};
use posemesh_node_registration::node::{Node, Wait};
use serde_json::json;
use support::{CREDENTIALS, GUARD, KEY, child_case, run_child};

const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Values that each option must refuse, in addition to those that every option refuses.
fn bad_values(option: &str) -> &'static [&'static str] {
    match option {
        "dds_base_url" => &[
            "dds.auki.network",
            "/base",
            "https://",
            "https://dds.auki.network:99999",
            "https://dds auki",
            "ftp://dds.auki.network",
            "file:///etc/passwd",
            "ws://127.0.0.1",
            "https://user@dds.auki.network",
            "https://user:p4ssw0rd@dds.auki.network",
            "https://:p4ssw0rd@dds.auki.network",
            "https://dds.auki.network?",
            "https://dds.auki.network/base?x=1",
            "https://dds.auki.network#",
            "https://dds.auki.network/#top",
        ],
        // Any text is sent unchanged.
        "reg_secret" | "secp256k1_keystore_password" => &[],
        "secp256k1_privhex" => &[
            "not a key at all",
            "0x",
            "0x0x4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90",
            "c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90",
            "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f9000",
            "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f9g",
            "4c0883a69102937d6231471b5dbb6204 fe5129617082798ce3f4fdf2548b6f9",
            "é4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6",
            ZERO,
            ORDER,
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ],
        "capabilities" => &[",", "/a,", ",/a", "/a,,/b", "/a, ,/b", "/a\n/b"],
        "node_version" => {
            &["1", "1.2", "v", "vv1.2.3", "Vv1.2.3", "1.2.3.4", "01.2.3", "1.2.3-", "latest", "1.2.3 4"]
        }
        "max_concurrency" | "register_interval_secs" | "request_timeout_secs" => &[
            "0",
            "-1",
            "1.0",
            "1e3",
            "0x10",
            "1_000",
            "4294967296",
            "99999999999999999999",
            "ten",
            "1 0",
            "１",
            "s",
            "1 s",
            "1d",
            "1ms",
            "-1s",
            "1h30m",
            "71582789m",
            "1193047h",
        ],
        "healthcheck_ttl_secs" | "reregister_secs" => &["-1", "1.5", "4294967296", "off", "1 0", "5 m", "m"],
        "max_retry" => &["-2", "2147483648", "-2147483649", "1.0", "--1", "many", "- 1"],
        "callback_bind" | "admin_bind" => &[
            "8080",
            "localhost",
            ":",
            ":65536",
            "localhost:",
            "localhost:65536",
            "localhost:-1",
            "localhost:http",
            "[::1]",
            "::1",
            "[::1]:",
            "[::g]:80",
            "[::1:80",
            "256.1.1.1:80",
            "a b:80",
            "http://localhost:80",
            "localhost:80/",
        ],
        "callback_policy" => &["first", "OPEN", "o pen", "per-registration"],
        "node_url" => &[
            "node.example",
            "/path",
            "https://",
            "ftp://node.example",
            "https://user:p4ssw0rd@node.example",
            "https://node.example?x",
            "https://node.example#top",
            "https://node.example/node-1/internal/v1/registrations/",
        ],
        "callback_path" => &[
            "callbacks",
            "https://node.example/",
            "/a b",
            "/a?x",
            "/a#b",
            "/%zz",
            "/a%2",
            "/%",
            "/%2/0",
            "/a//b",
            "/a//",
            "//",
            "/a/../b",
            "/./a",
            "/é",
            "/internal/v1/registrations",
        ],
        "callback_allow" | "trusted_proxies" => &[
            "*",
            "any",
            ",",
            "10.0.0.0/8,",
            "10.0.0.0/8,,10.0.0.1",
            "10.0.0.0/8 10.0.0.1",
            "10.0.0.0/8;10.0.0.1",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "10.0.0.0/255.0.0.0",
            "10.0.0.1/8",
            "10.0.0/8",
            "010.0.0.1",
            "10.0.0.1:80",
            "[::1]",
            "::1/129",
            "2001:db8::1/32",
            "::ffff:10.0.0.1/104",
            "fe80::1%eth0",
            "localhost",
            "dds.auki.network",
            "1.1.1.1,user:p4ssw0rd@proxy",
        ],
        "siwe_domain" => &[
            "not a host",
            "https://dds.auki.network",
            "user@dds.auki.network",
            "dds.auki.network/",
            ":8080",
            "dds.auki.network:",
            "dds.auki.network:99999",
            "dds.auki.network:port",
            "[::1",
            "dds\u{e9}.example",
        ],
        "identity" => &["Robot", "ROBOT", "node", "wallets", "robot wallet"],
        "siwe_format" => &["EIP4361", "eip-4361", "relay"],
        // The file is checked by the start.
        "state_dir" | "ca_file" | "secp256k1_keystore_file" => &[],
        "callback_tls_cert" | "callback_tls_key" | "callback_tls_client_ca" => &[],
        "state_url" => &[
            "localhost:6379",
            "http://p4ssw0rd@redis.example",
            "redis:///0",
            "redis://redis.example/first",
            "redis://p4ssw0rd@redis.example",
            "redis://p4ssw0rd:@redis.example",
            "redis://:p4ss/w0rd@redis.example",
            "redis://user:p4ssw0rd@redis.example?db=1",
            "redis://redis.example:65536",
            "etcd://etcd.example",
            "etcd+https://one,,two",
        ],
        "allow_insecure_http" => &["yes", "no", "TRUE", "on", "2", "-1", "t rue"],
        other => panic!("no bad values for the option {other}: add some"),
    }
}

fn refused<T>(result: Result<T, Error>, what: &dyn std::fmt::Debug) -> Error {
    let Err(error) = result else { panic!("{what:?} was accepted") };
    assert_eq!(error.code(), ErrorCode::InvalidConfig, "{what:?}: {error}");
    error
}

fn debug(config: &Config) -> String {
    format!("{config:?}{config:#?}")
}

// scenario: start-refused
#[test]
fn a_bad_value_is_refused_and_changes_nothing() {
    let dds = "http://127.0.0.1:1";
    let mut config = support::config(dds, &[("max_concurrency", "7"), ("callback_bind", "127.0.0.1:0")]);
    let before = debug(&config);
    for option in OPTIONS {
        let everyones = ["", " ", "\t\n", "nul\0inside"];
        for value in everyones.iter().chain(bad_values(option.name)) {
            let error = refused(config.set(option.name, value).map(drop), &(option.name, value));
            let message = error.message();
            assert!(message.starts_with(option.name), "{message}");
            assert!(message.contains("expected "), "{message}");
            assert!(!message.contains('\0') && !message.contains('\n'), "{message:?}");
            assert!(!message.contains("p4ssw0rd"), "{message}");
            if option.secret {
                // The message itself contains "0x" and spaces.
                assert!(value.trim().len() <= 2 || !message.contains(value), "{value:?} in {message}");
            } else {
                assert!(message.ends_with(option.expects), "{message}");
            }
        }
    }
    assert_eq!(debug(&config), before);
}

#[test]
fn error_messages_cut_long_values() {
    for option in OPTIONS.iter().filter(|option| !bad_values(option.name).is_empty()) {
        let long = format!("{} ,,\u{1b}[2J\r\n", "é".repeat(100_000));
        let error = refused(Config::new().set(option.name, &long).map(drop), &option.name);
        assert!(error.message().len() < 1024, "{}: {} bytes", option.name, error.message().len());
        assert!(!error.message().contains(char::is_control), "{}", option.name);
    }
}

#[test]
fn an_unknown_option_is_reported_with_the_known_ones() {
    for (unknown, meant) in [
        ("dds_base_urls", "dds_base_url"),
        ("DDS_BASE_URL", "dds_base_url"),
        ("ddsBaseUrl", "dds_base_url"),
        (" node_version", "node_version"),
        ("node-version", "node_version"),
        ("max_concurency", "max_concurrency"),
    ] {
        let error = refused(Config::new().set(unknown, "1").map(drop), &unknown);
        assert!(
            error.message().starts_with(&format!("unknown option {unknown:?}; the options are ")),
            "{error}"
        );
        assert!(error.message().ends_with(&format!("; did you mean {meant}?")), "{error}");
        assert!(OPTIONS.iter().all(|option| error.message().contains(option.name)), "{error}");
    }
    for unknown in ["", "password"] {
        let error = refused(Config::new().set(unknown, "1").map(drop), &unknown);
        assert!(
            error.message().starts_with(&format!("unknown option {unknown:?}; the options are")),
            "{error}"
        );
        assert!(OPTIONS.iter().all(|option| error.message().contains(option.name)), "{error}");
    }
    let error = refused(Config::new().set(&"x".repeat(100_000), "1").map(drop), &"a long name");
    assert!(error.message().len() < 1024);
}

#[test]
fn every_option_accepts_its_good_values() {
    for (name, values) in [
        (
            "dds_base_url",
            &["https://dds.auki.network", "https://DDS.auki.network/base/", "http://[::1]:80"][..],
        ),
        ("reg_secret", &["x", " as it is\n", "{\"json\":true}"]),
        ("secp256k1_privhex", &[KEY, &format!("0x{KEY}"), &KEY.to_uppercase(), &format!(" {KEY}\n")]),
        ("secp256k1_keystore_file", &["/run/secrets/keystore.json", "relative path"]),
        ("secp256k1_keystore_password", &["x", " with spaces "]),
        ("capabilities", &["/a", "/a,/b", " /a , /b \n"]),
        ("node_version", &["1.2.3", "v1.2.3", "V1.2.3", "0.0.0", "v1.2.3-rc.1+build.5", " 1.2.3\n"]),
        ("max_concurrency", &["1", "4294967295", " 1 "]),
        ("register_interval_secs", &["1", "4294967295", "1s", "5m", "1h"]),
        ("max_retry", &["-1", "0", "2147483647"]),
        ("request_timeout_secs", &["1", "4294967295", "1s", "5m", "1h"]),
        (
            "callback_bind",
            &["0.0.0.0:8080", "[::1]:0", "[::]:65535", "localhost:0", "my-host.example:80", ":8080"],
        ),
        ("callback_policy", &["per_registration", "open", "open "]),
        ("healthcheck_ttl_secs", &["0", "1", "4294967295", "0s", "90m"]),
        ("reregister_secs", &["0", "1", "1h"]),
        ("node_url", &["https://node.example", "http://10.0.0.1:8080/node-1/", "https://[2001:db8::1]/a/b"]),
        ("callback_path", &["/", "/node-1", "/a/b/", "/%20~$&'()*+,;=:@!"]),
        (
            "callback_allow",
            &["192.0.2.7", "10.0.0.0/8, ::1", "0.0.0.0/0,::/0", " 2001:db8::/32\n", "10.0.0.1/32"],
        ),
        ("trusted_proxies", &["127.0.0.1", "::ffff:10.0.0.0/104,fd00::/8"]),
        ("callback_tls_cert", &["/tls/tls.crt", "relative path"]),
        ("callback_tls_key", &["/tls/tls.key", "relative path"]),
        ("callback_tls_client_ca", &["/tls/ca.crt", "relative path"]),
        ("admin_bind", &["127.0.0.1:9090", "[::1]:0", ":9090"]),
        ("siwe_domain", &["dds.auki.network", "dds.auki.network:8443", "[::1]:9000", "127.0.0.1", "any"]),
        ("identity", &["wallet", "robot", " robot\n"]),
        ("siwe_format", &["posemesh", "eip4361"]),
        ("state_dir", &["/var/lib/node", "relative path"]),
        (
            "state_url",
            &[
                "redis://localhost",
                "rediss://user:p%40ss@redis.example:6380/15",
                "etcd+http://[::1]",
                "etcd+https://one,two:2380/prefix",
                " redis://localhost\n",
            ],
        ),
        ("ca_file", &["/etc/ssl/ca.pem", "relative path"]),
        ("allow_insecure_http", &["true", "false", "1", "0", " true"]),
    ] {
        for value in values {
            Config::new().set(name, value).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn the_option_table_is_consistent() {
    for option in OPTIONS {
        let ConfigOption { name, env, env_file, default, required, secret, .. } = option;
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'));
        assert!(env.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'));
        assert!(OPTIONS.iter().filter(|other| other.name == *name || other.env == *env).count() == 1);
        // A secret can be read from a file and has no default. No other option can be read from a file.
        assert_eq!(*env_file, secret.then(|| format!("{env}_FILE")).as_deref());
        assert!(!(*required && default.is_some()), "{name}");
        assert!(!option.help.is_empty() && !option.help.contains('\n'), "{name}");
        if let Some(default) = default {
            Config::new().set(name, default).unwrap_or_else(|error| panic!("{error}"));
        }
        if let OptionKind::Choice(words) = option.kind {
            assert!(words.iter().all(|word| Config::new().set(name, word).is_ok()), "{name}");
        }
    }
}

fn start_error(config: &Config) -> Error {
    match Node::start(config) {
        Ok(_) => panic!("started"),
        Err(error) => error,
    }
}

#[test]
fn one_error_names_every_missing_option() {
    let error = start_error(&Config::new());
    assert_eq!(error.code(), ErrorCode::InvalidConfig);
    for option in OPTIONS {
        if option.name.starts_with("secp256k1_") {
            continue;
        }
        assert_eq!(error.message().contains(option.name), option.required, "{error}");
        assert_eq!(error.message().contains(option.env), option.required, "{error}");
        if let Some(file) = option.env_file.filter(|_| option.required) {
            assert!(error.message().contains(file), "{error}");
        }
    }
    // A wallet needs one of them.
    for name in [
        "secp256k1_privhex",
        "SECP256K1_PRIVHEX",
        "SECP256K1_PRIVHEX_FILE",
        "secp256k1_keystore_file",
        "SECP256K1_KEYSTORE_FILE",
        "a signer",
        "a robot",
    ] {
        assert!(error.message().contains(name), "{error}");
    }
    let mut config = Config::new();
    config.set("node_version", "1.2.3").expect("a version").set("capabilities", "/a").expect("a list");
    let message = start_error(&config).to_string();
    assert!(message.contains("reg_secret") && message.contains("secp256k1_privhex"), "{message}");
    assert!(!message.contains("node_version") && !message.contains("capabilities"), "{message}");
}

#[test]
fn the_error_for_an_address_names_the_part_that_is_missing() {
    let message = |option, value| refused(Config::new().set(option, value), &value).message().to_owned();
    for (option, port) in [("callback_bind", "8080"), ("admin_bind", "9090")] {
        let example = format!(
            "; expected host:port, such as 127.0.0.1:{port} or [::1]:0, or :{port} for all interfaces"
        );
        let no_host = message(option, port);
        assert!(
            no_host.starts_with(&format!("{option} {port:?} is a port without a host{example}")),
            "{no_host}"
        );
        let no_port = message(option, "localhost");
        assert!(no_port.starts_with(&format!("{option} \"localhost\" has no port{example}")), "{no_port}");
    }
}

#[test]
fn a_certificate_needs_its_key() {
    let (cert, key, ca) = ("callback_tls_cert", "callback_tls_key", "callback_tls_client_ca");
    for (set, message) in [
        (&[cert][..], "callback_tls_cert is set without callback_tls_key; set both"),
        (&[cert, ca], "callback_tls_cert is set without callback_tls_key; set both"),
        (&[key], "callback_tls_key is set without callback_tls_cert; set both"),
        (&[key, ca], "callback_tls_key is set without callback_tls_cert; set both"),
        (&[ca], "callback_tls_client_ca is set without callback_tls_cert and callback_tls_key; set both"),
    ] {
        let options: Vec<_> = set.iter().map(|option| (*option, "/tls/file.pem")).collect();
        let error = start_error(&support::config("http://127.0.0.1:1", &options));
        assert_eq!((error.code(), error.message()), (ErrorCode::InvalidConfig, message));
    }
}

#[test]
fn http_is_refused_for_other_machines() {
    // 192.0.2.0/24 and .example are for documentation; nothing is sent there anyway.
    for remote in [
        "http://192.0.2.1",
        "http://dds.example",
        "http://0.0.0.0",
        "http://127.0.0.1.example",
        "http://localhost.example",
        "http://[2001:db8::1]",
        "http://[::ffff:192.0.2.1]",
    ] {
        let error = start_error(&support::config(remote, &[]));
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert!(error.message().starts_with("dds_base_url"), "{error}");
        assert!(error.message().contains("allow_insecure_http"), "{error}");
    }
    for loopback in ["http://127.0.0.1:1", "http://127.255.255.254:1", "http://[::1]:1", "http://localhost:1"]
    {
        // Another test of this process starts the same node with another path.
        let dds = format!("{loopback}/loopback");
        let node = Node::start(&support::config(&dds, &[])).unwrap_or_else(|error| panic!("{error}"));
        node.stop(GUARD).expect("stops");
    }
}

#[test]
fn a_host_name_in_other_letters_is_written_as_dns_has_it() {
    for option in ["dds_base_url", "node_url"] {
        let error = Config::new().set(option, "https://b\u{fc}cher.example").map(drop).expect_err("refused");
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert!(error.message().starts_with(option) && error.message().contains("xn--"), "{error}");
    }
    let own_server = [("node_url", "https://xn--bcher-kva.example/node"), ("callback_bind", "127.0.0.1:0")];
    let node = Node::start(&support::config("http://127.0.0.1:1/names", &own_server)).expect("a valid name");
    node.stop(GUARD).expect("stops");
}

/// 0.0.0.0 is not a loopback address, but it reaches this machine.
#[test]
fn allow_insecure_http_permits_http_to_other_machines() {
    // In a process without proxy variables.
    support::alone("allow_insecure_http_permits_http_to_other_machines", || {
        let dds = DevDds::start().expect("a DDS");
        let url = dds.url().replace("127.0.0.1", "0.0.0.0");
        dds.set_challenge(Some(json!({ "domain": url.replace("http://", ""), "uri": url })));
        let node = Node::start(&support::config(&url, &[("allow_insecure_http", "true")])).expect("starts");
        node.wait(Wait::Registered, Some(GUARD)).unwrap_or_else(|error| panic!("{error}"));
        node.stop(GUARD).expect("stops");
    });
}

#[test]
fn the_registration_request_contains_the_configured_values() {
    let dds = DevDds::start().expect("a DDS");
    let options = [
        ("reg_secret", " as it is\n"),
        ("capabilities", " /b/v1 , /a/v1,/b/v1"),
        ("node_version", "v1.2.3-rc.1+build.5"),
        ("max_concurrency", "4294967295"),
    ];
    let node = Node::start(&support::config(&dds.url(), &options)).expect("starts");
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    node.stop(GUARD).expect("stops");
    let mut sent = dds.requests_to(Endpoint::Register)[0].json().expect("JSON");
    let sent = sent.as_object_mut().expect("an object");
    assert!(sent.remove("message").is_some() && sent.remove("signature").is_some());
    assert_eq!(
        *sent,
        *json!({
            "registration_credentials": " as it is\n",
            "capabilities": ["/b/v1", "/a/v1", "/b/v1"],
            "version": "v1.2.3-rc.1+build.5",
            "max_concurrency": 4_294_967_295_u32,
        })
        .as_object()
        .expect("an object")
    );

    let node = Node::start(&support::config(&dds.url(), &[])).expect("starts");
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    node.stop(GUARD).expect("stops");
    let sent = dds.requests_to(Endpoint::Register)[1].json().expect("JSON");
    assert_eq!(sent.get("max_concurrency"), None, "not sent unless it is set");
}

// scenario: already-running
#[test]
fn a_second_node_with_the_same_wallet_and_dds_is_refused() {
    let dds = DevDds::start().expect("a DDS");
    let base = format!("{}/base", dds.url());
    let node = Node::start(&support::config(&base, &[])).expect("starts");
    for same in [base.clone(), format!("{base}/"), format!("{base}//"), base.replace("http", "HTTP")] {
        let error = start_error(&support::config(&same, &[("node_version", "2.0.0")]));
        assert_eq!(error.code(), ErrorCode::AlreadyRunning, "{same}: {error}");
    }
    let other = Node::start(&support::config(&format!("{base}/other"), &[])).expect("another DDS");
    other.stop(GUARD).expect("stops");
    node.stop(GUARD).expect("stops");
    let again = Node::start(&support::config(&base, &[])).expect("the first one has stopped");
    again.stop(GUARD).expect("stops");
}

#[test]
#[cfg(unix)]
fn a_ca_file_without_certificates_is_refused() {
    let files = Files::new();
    let missing = files.path("missing");
    let empty = files.write("empty", "");
    let no_pem = files.write("no-pem", "certificates, but not yet");
    let key_only = files.write("key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let broken =
        files.write("broken", "-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n");
    let no_der = files.write("no-der", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let directory = files.0.clone();
    let fifo = files.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo is in POSIX");
    assert!(made.success());
    let large = files.path("large");
    fs::File::create(&large).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    let device = PathBuf::from("/dev/zero");
    for path in [missing, empty, no_pem, key_only, broken, no_der, directory, fifo, large, device] {
        let path = path.to_str().expect("UTF-8");
        let error = start_error(&support::config("http://127.0.0.1:1", &[("ca_file", path)]));
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert!(error.message().contains(path) && error.message().contains("PEM"), "{error}");
    }
}

#[test]
fn debug_output_contains_no_secrets() {
    let config = support::config("http://127.0.0.1:1", &[]);
    let shown = debug(&config);
    assert!(shown.contains("[redacted]") && shown.contains("/example/v1"), "{shown}");
    for secret in [CREDENTIALS, KEY, &KEY.to_uppercase()] {
        assert!(!shown.contains(secret), "{shown}");
    }
    // Also not as a list of bytes.
    assert!(!shown.contains("76, 8, 131") && !shown.contains("110, 111, 116"), "{shown}");
}

/// A directory of the test's own, removed at its end.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("posemesh-config-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("written");
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const LOADED: &str = "LOADED ";
const REFUSED: &str = "REFUSED ";

/// Loads these environment variables in a new process. Returns the error, or the debug text.
fn load(environment: &[(&str, &OsStr)]) -> Result<String, String> {
    let output = run_child("environment_child", "load", environment);
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let line =
        |prefix| stdout.lines().find_map(|line| line.split_once(prefix)).map(|(_, rest)| rest.to_owned());
    match line(LOADED) {
        Some(debug) => Ok(debug),
        None => Err(line(REFUSED).unwrap_or_else(|| panic!("neither loaded nor refused: {stdout}"))),
    }
}

/// The other side of [`load`] and of [`sent_credentials`].
#[test]
fn environment_child() {
    let Some(case) = child_case() else {
        // In the process of the tests: without load_env, its environment must not matter.
        return assert_eq!(debug(&Config::new()), debug(&Config::default()));
    };
    let mut config = Config::new();
    let before = debug(&config);
    match config.load_env() {
        Err(error) => {
            assert_eq!(error.code(), ErrorCode::InvalidConfig);
            assert_eq!(debug(&config), before, "nothing has changed");
            println!("{REFUSED}{error}");
        }
        Ok(loaded) if case == "load" => println!("{LOADED}{loaded:?}"),
        Ok(loaded) => {
            let node = Node::start(loaded).expect("starts");
            node.wait(Wait::Registered, Some(GUARD)).expect("registers");
            node.stop(GUARD).expect("stops");
            println!("{LOADED}");
        }
    }
}

// scenario: environment
#[test]
fn every_option_is_loaded_from_its_variable() {
    let values = [
        ("DDS_BASE_URL", "http://127.0.0.1:4321/base"),
        ("IDENTITY", "robot"),
        ("REG_SECRET", CREDENTIALS),
        ("SECP256K1_PRIVHEX", KEY),
        ("SECP256K1_KEYSTORE_FILE", "/from/env/keystore.json"),
        ("SECP256K1_KEYSTORE_PASSWORD", "from env"),
        ("CAPABILITIES", "/from/env/v1, /from/env/v2"),
        ("NODE_VERSION", "v9.8.7"),
        ("MAX_CONCURRENCY", "31"),
        ("REGISTER_INTERVAL_SECS", "1234"),
        ("REGISTER_MAX_RETRY", "17"),
        ("REQUEST_TIMEOUT_SECS", "4242"),
        ("CALLBACK_BIND", "127.0.0.1:7654"),
        ("CALLBACK_POLICY", "open"),
        ("HEALTHCHECK_TTL_SECS", "77"),
        ("REREGISTER_SECS", "777"),
        ("NODE_URL", "https://node.example/from-env"),
        ("CALLBACK_PATH", "/from-env"),
        ("CALLBACK_ALLOW", "192.0.2.1, 192.0.2.128/25"),
        ("TRUSTED_PROXIES", "::1"),
        ("CALLBACK_TLS_CERT", "/from/env/tls.crt"),
        ("CALLBACK_TLS_KEY", "/from/env/tls.key"),
        ("CALLBACK_TLS_CLIENT_CA", "/from/env/ca.crt"),
        ("ADMIN_BIND", "127.0.0.1:7655"),
        ("SIWE_DOMAIN", "sign.example"),
        ("SIWE_FORMAT", "eip4361"),
        ("STATE_DIR", "/from/env/state"),
        ("STATE_URL", "redis://from-env"),
        ("CA_FILE", "/from/env/ca.pem"),
        ("ALLOW_INSECURE_HTTP", "true"),
    ];
    // Setting each option has the same result, so each variable belongs to its option.
    let mut same = Config::new();
    for option in OPTIONS {
        let (_, value) = values.iter().find(|(name, _)| *name == option.env).expect(option.env);
        same.set(option.name, value).expect("a good value");
    }
    let environment: Vec<_> = values.iter().map(|(name, value)| (*name, OsStr::new(*value))).collect();
    assert_eq!(load(&environment), Ok(format!("{same:?}")));
    assert_eq!(load(&[]), Ok(format!("{:?}", Config::new())));
    assert_eq!(load(&[("UNRELATED", OsStr::new("x"))]), Ok(format!("{:?}", Config::new())));
}

#[test]
fn errors_name_the_environment_variable() {
    for option in OPTIONS {
        // One for each option, because each starts a process.
        let Some(bad) = bad_values(option.name).iter().find(|bad| **bad != "0") else { continue };
        let error = load(&[(option.env, OsStr::new(bad))]).expect_err(option.env);
        assert!(error.starts_with(option.env), "{error}");
        assert!(!option.secret || bad.is_empty() || !error.contains(bad), "{error}");
    }
}

#[test]
fn a_secret_in_both_of_its_variables_is_refused() {
    let files = Files::new();
    let file = files.write("secret", CREDENTIALS);
    for (name, name_file, value) in [
        ("REG_SECRET", "REG_SECRET_FILE", CREDENTIALS),
        ("SECP256K1_PRIVHEX", "SECP256K1_PRIVHEX_FILE", KEY),
        ("POSEMESH_REG_SECRET", "POSEMESH_REG_SECRET_FILE", CREDENTIALS),
    ] {
        let both = [(name, OsStr::new(value)), (name_file, file.as_os_str())];
        let error = load(&both).expect_err("both are set");
        assert!(error.contains(&format!("{name} and {name_file} are both set")), "{error}");
        assert!(!error.contains(value), "{error}");
    }
}

#[test]
#[cfg(unix)]
fn a_variable_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    for option in OPTIONS {
        let error = load(&[(option.env, OsStr::from_bytes(b"visible\xff"))]).expect_err(option.env);
        assert!(error.starts_with(option.env) && error.contains("not UTF-8"), "{error}");
        assert!(!error.contains("visible"), "{error}");
    }
}

#[test]
#[cfg(unix)]
fn unusable_secret_files_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let files = Files::new();
    let fifo = files.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo is in POSIX");
    assert!(made.success());
    let mut cases = vec![
        (files.path("missing"), "cannot be read"),
        (files.write("empty", ""), "is empty"),
        (files.write("newline", "\n"), "is empty"),
        (files.write("blank", " \t\r\n"), "is empty"),
        (files.0.clone(), "is a directory, not a regular file"),
        (fifo, "is a named pipe, not a regular file"),
        (PathBuf::from("/dev/zero"), "is a device, not a regular file"),
        (files.write("large", "x".repeat(64 * 1024 + 1)), "is larger than"),
        (files.write("latin-1", b"hidd\xe9n"), "is not UTF-8"),
        (files.write("nul", "hid\0den"), "NUL"),
    ];
    let unreadable = files.write("unreadable", CREDENTIALS);
    fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o000)).expect("our own file");
    if fs::File::open(&unreadable).is_err() {
        cases.push((unreadable, "cannot be read"));
    } else {
        println!("skipped the unreadable file: this user (root?) can read it");
    }
    for (path, says) in cases {
        for variable in ["REG_SECRET_FILE", "SECP256K1_PRIVHEX_FILE"] {
            let error = load(&[(variable, path.as_os_str())]).expect_err(says);
            assert!(error.starts_with(variable) && error.contains(says), "{error}");
            assert!(says == "NUL" || error.contains(path.to_str().expect("UTF-8")), "{error}");
            assert!(!error.contains("hid"), "{error}");
        }
    }
}

/// Asserts that a process with these variables loads the same as `set` with these options.
fn assert_loads(environment: &[(&str, &str)], options: &[(&str, &str)]) {
    let mut same = Config::new();
    for (name, value) in options {
        same.set(name, value).expect("a good value");
    }
    let variables: Vec<_> = environment.iter().map(|(name, value)| (*name, OsStr::new(*value))).collect();
    assert_eq!(load(&variables), Ok(format!("{same:?}")), "{environment:?}");
}

#[test]
fn a_blank_variable_counts_as_unset() {
    let mut variables = Vec::new();
    for option in OPTIONS {
        variables.extend(option.variables());
    }
    for blank in ["", " ", "\t\r\n"] {
        let environment: Vec<_> = variables.iter().map(|name| (name.as_str(), blank)).collect();
        assert_loads(&environment, &[]);
    }
    assert_loads(&[("REG_SECRET_FILE", ""), ("REG_SECRET", CREDENTIALS)], &[("reg_secret", CREDENTIALS)]);
    assert_loads(&[("POSEMESH_NODE_VERSION", " "), ("NODE_VERSION", "1.2.3")], &[("node_version", "1.2.3")]);
}

#[test]
fn variables_are_trimmed() {
    assert_loads(
        &[
            ("NODE_VERSION", " V1.2.3\n"),
            ("CALLBACK_BIND", "\t:8080 "),
            ("REGISTER_INTERVAL_SECS", " 5m "),
            ("ALLOW_INSECURE_HTTP", "true\r\n"),
            ("DDS_BASE_URL", " https://dds.example "),
            ("REG_SECRET", "secret\n"),
            ("SECP256K1_PRIVHEX", &format!("0x{KEY}\n")),
            // The spaces may be part of the password.
            ("SECP256K1_KEYSTORE_PASSWORD", " pass word \r\n"),
        ],
        &[
            ("node_version", "v1.2.3"),
            ("callback_bind", ":8080"),
            ("register_interval_secs", "300"),
            ("allow_insecure_http", "true"),
            ("dds_base_url", "https://dds.example"),
            ("reg_secret", "secret"),
            ("secp256k1_privhex", KEY),
            ("secp256k1_keystore_password", " pass word "),
        ],
    );
}

/// The official Docker images of Node.js set `NODE_VERSION` to Node's own version.
#[test]
fn a_prefixed_variable_takes_precedence() {
    let files = Files::new();
    let file = files.write("secret", "from the file");
    let file = file.to_str().expect("UTF-8");
    assert_loads(
        &[
            ("NODE_VERSION", "20.20.2"),
            ("POSEMESH_NODE_VERSION", "1.2.3"),
            ("REG_SECRET", "plain"),
            ("POSEMESH_REG_SECRET_FILE", file),
            ("SECP256K1_PRIVHEX_FILE", "/nowhere"),
            ("POSEMESH_SECP256K1_PRIVHEX", KEY),
            ("POSEMESH_MAX_RETRY", "3"),
            ("POSEMESH_REGISTER_MAX_RETRY", "4"),
            ("REGISTER_MAX_RETRY", "5"),
        ],
        &[
            ("node_version", "1.2.3"),
            ("reg_secret", "from the file"),
            ("secp256k1_privhex", KEY),
            ("max_retry", "3"),
        ],
    );
    assert_loads(&[("POSEMESH_REGISTER_MAX_RETRY", "4"), ("REGISTER_MAX_RETRY", "5")], &[("max_retry", "4")]);
    let error = load(&[("POSEMESH_MAX_RETRY", OsStr::new("many"))]).expect_err("no number");
    assert!(error.starts_with("POSEMESH_MAX_RETRY"), "{error}");
}

#[test]
fn the_error_for_a_bad_key_file_does_not_show_its_content() {
    let files = Files::new();
    let file = files.write("key", "not-a-key-but-still-secret");
    let error = load(&[("SECP256K1_PRIVHEX_FILE", file.as_os_str())]).expect_err("no key");
    assert!(error.starts_with("SECP256K1_PRIVHEX_FILE") && error.contains("hex"), "{error}");
    assert!(!error.contains("still"), "{error}");
}

/// The credentials that a node sends after it read them from this file.
fn sent_credentials(file: &Path) -> String {
    let dds = DevDds::start().expect("a DDS");
    let url = dds.url();
    let environment = [
        ("DDS_BASE_URL", OsStr::new(&url)),
        ("SECP256K1_PRIVHEX", OsStr::new(KEY)),
        ("CAPABILITIES", OsStr::new("/a")),
        ("NODE_VERSION", OsStr::new("1.2.3")),
        ("REG_SECRET_FILE", file.as_os_str()),
    ];
    let output = run_child("environment_child", "register", &environment);
    assert!(output.status.success(), "{output:?}");
    let request = &dds.requests_to(Endpoint::Register)[0];
    request.json().expect("JSON")["registration_credentials"].as_str().expect("a text").to_owned()
}

#[test]
fn only_one_line_break_at_the_end_of_a_secret_file_is_ignored() {
    let files = Files::new();
    for (content, secret) in [
        ("secret", "secret"),
        ("secret\n", "secret"),
        ("secret\r\n", "secret"),
        ("secret\n\n", "secret\n"),
        ("secret\r\n\r\n", "secret\r\n"),
        ("secret\r", "secret\r"),
        (" secret \n", " secret "),
        ("two\nlines\n", "two\nlines"),
    ] {
        assert_eq!(sent_credentials(&files.write("secret", content)), secret, "{content:?}");
    }
    let longest = "x".repeat(64 * 1024);
    assert_eq!(sent_credentials(&files.write("longest", &longest)), longest);
}

/// The first two keystores of the vectors: the wallet's address, the password and the path.
fn keystores(files: &Files) -> Vec<(String, String, PathBuf)> {
    let vectors = include_str!("vectors/keystore.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_str(vectors).expect("a list");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    vectors[..2]
        .iter()
        .enumerate()
        .map(|(number, vector)| {
            let file = files.write(&format!("keystore-{number}"), vector["keystore"].to_string());
            (text(&vector["address"]), text(&vector["password"]), file)
        })
        .collect()
}

/// Every required option except the key.
fn keyless(dds_base_url: &str, options: &[(&str, &str)]) -> Config {
    let mut config = Config::new();
    let required = [
        ("dds_base_url", dds_base_url),
        ("reg_secret", CREDENTIALS),
        ("capabilities", "/example/v1"),
        ("node_version", "1.2.3"),
    ];
    for (name, value) in required.iter().chain(options) {
        config.set(name, value).expect("a good option");
    }
    config
}

#[test]
fn a_keystore_replaces_the_private_key() {
    let (dds, files) = (DevDds::start().expect("a DDS"), Files::new());
    for (address, password, file) in keystores(&files) {
        let path = file.to_str().expect("UTF-8");
        let options = [("secp256k1_keystore_file", path), ("secp256k1_keystore_password", &password)];
        let node = Node::start(&keyless(&dds.url(), &options)).expect("starts");
        node.wait(Wait::Registered, Some(GUARD)).expect("registers");
        assert_eq!(node.wallet_address().expect("no fork"), address.to_lowercase());
        node.stop(GUARD).expect("stops");
    }
}

#[test]
fn unusable_keystores_are_refused() {
    let files = Files::new();
    let (_, password, file) = keystores(&files).remove(0);
    let file = file.to_str().expect("UTF-8").to_owned();
    let text = files.write("text", "p4ssw0rd");
    let latin = files.write("latin-1", b"{\"\xe9\":1}");
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let set = |file: &str, password: &str| {
        vec![
            ("secp256k1_keystore_file", file.to_owned()),
            ("secp256k1_keystore_password", password.to_owned()),
        ]
    };
    // Windows has no file of this kind.
    let device = if cfg!(windows) { "cannot be read" } else { "regular file" };
    for (options, says) in [
        (set(&file, "p4ssw0rd"), "the password is wrong"),
        (set(&path(&text), &password), "is not a keystore"),
        (set(&path(&latin), &password), "is not a keystore"),
        (set("/nowhere/keystore.json", &password), "cannot be read"),
        (set("/dev/zero", &password), device),
        (set(&path(&files.0), &password), "regular file"),
        (vec![("secp256k1_keystore_file", file.clone())], "secp256k1_keystore_password"),
        (vec![("secp256k1_keystore_password", password.clone())], "secp256k1_keystore_file"),
        ([set(&file, &password), vec![("secp256k1_privhex", KEY.to_owned())]].concat(), "set one of them"),
    ] {
        let options: Vec<_> = options.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let error = start_error(&keyless("http://127.0.0.1:1", &options));
        assert_eq!(error.code(), ErrorCode::InvalidConfig, "{error}");
        assert!(error.message().contains(says), "{error}");
        assert!(!error.message().contains("p4ssw0rd") && !error.message().contains(&password), "{error}");
    }
}

#[test]
fn a_port_without_a_host_binds_all_interfaces() {
    let node =
        Node::start(&support::config("http://127.0.0.1:1/all", &[("callback_bind", ":0")])).expect("starts");
    let address = node.callback_address().expect("no fork").expect("a server");
    assert!(address.ip().is_unspecified(), "{address}");
    for host in ["127.0.0.1", "[::1]"] {
        if host == "[::1]" && !address.is_ipv6() {
            println!("skipped {host}: this machine has no IPv6");
            continue;
        }
        std::net::TcpStream::connect(format!("{host}:{}", address.port())).expect(host);
    }
    node.stop(GUARD).expect("stops");
}

#[test]
fn likely_mistakes_are_warned_about() {
    support::alone("likely_mistakes_are_warned_about", || {
        support::logged();
        let warnings = |credentials: &str| {
            let before = support::logged().len();
            let mut config = support::config("http://127.0.0.1:1", &[("reg_secret", credentials)]);
            let environment = [("REQUEST_TIMEOUT_SECS", "0"), ("POSEMESH_REGISTER_INTERVAL_SECS", " 0s ")];
            config
                .load_env_from(|name| {
                    environment.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into())
                })
                .expect("good values");
            Node::start(&config).expect("starts").stop(GUARD).expect("stops");
            let logged = support::logged();
            let warnings = logged[before..].iter().filter(|record| record.target == "posemesh_node::config");
            warnings.map(|record| record.message.clone()).collect::<Vec<_>>().join("\n")
        };
        let of_zero = "POSEMESH_REGISTER_INTERVAL_SECS is 0s; using 1 second, the shortest possible time\n\
                       REQUEST_TIMEOUT_SECS is 0; using 1 second, the shortest possible time";
        let said = warnings("the-raw-secret");
        assert!(said.starts_with(of_zero), "{said}");
        assert!(said.contains("base64(<node id>:<secret>)") && !said.contains("the-raw-secret"), "{said}");
        // base64("123e4567-e89b-12d3-a456-426614174000:secret")
        assert_eq!(warnings("MTIzZTQ1NjctZTg5Yi0xMmQzLWE0NTYtNDI2NjE0MTc0MDAwOnNlY3JldA=="), of_zero);
    });
}

#[test]
fn the_builder_sets_the_same_values_as_text() {
    use std::time::Duration;
    let built = Config::builder()
        .dds_base_url("https://dds.example/base")
        .reg_secret(" as it is\n")
        .secp256k1_privhex(KEY)
        .secp256k1_keystore_file("keystore.json")
        .secp256k1_keystore_password("password")
        .capabilities(["/a", "/b"])
        .node_version("V1.2.3")
        .max_concurrency(7)
        .register_interval(Duration::from_secs(60))
        .max_retry(-1)
        .request_timeout(Duration::from_secs(30))
        .callback_bind(":8080")
        .callback_policy(CallbackPolicy::Open)
        .healthcheck_ttl(Duration::from_secs(90))
        .reregister_interval(Duration::from_secs(3600))
        .node_url("https://node.example/")
        .callback_path("/node-1/")
        .admin_bind("127.0.0.1:9090")
        .siwe_domain("any")
        .identity(Identity::Robot)
        .siwe_format(SiweFormat::Eip4361)
        .state_dir(Path::new("state"))
        .state_url("redis://localhost")
        .ca_file("ca.pem")
        .allow_insecure_http(true)
        .build()
        .expect("good values");
    let mut set = Config::new();
    for (name, value) in [
        ("dds_base_url", "https://dds.example/base"),
        ("reg_secret", " as it is\n"),
        ("secp256k1_privhex", KEY),
        ("secp256k1_keystore_file", "keystore.json"),
        ("secp256k1_keystore_password", "password"),
        ("capabilities", "/a,/b"),
        ("node_version", "v1.2.3"),
        ("max_concurrency", "7"),
        ("register_interval_secs", "1m"),
        ("max_retry", "-1"),
        ("request_timeout_secs", "30"),
        ("callback_bind", ":8080"),
        ("callback_policy", "open"),
        ("healthcheck_ttl_secs", "90"),
        ("reregister_secs", "1h"),
        ("node_url", "https://node.example"),
        ("callback_path", "/node-1"),
        ("admin_bind", "127.0.0.1:9090"),
        ("siwe_domain", "any"),
        ("identity", "robot"),
        ("siwe_format", "eip4361"),
        ("state_dir", "state"),
        ("state_url", "redis://localhost"),
        ("ca_file", "ca.pem"),
        ("allow_insecure_http", "true"),
    ] {
        set.set(name, value).expect("a good value");
    }
    assert_eq!(debug(&built), debug(&set));
}

#[test]
fn the_builder_reports_the_first_bad_value() {
    use std::time::Duration;
    let empty: [&str; 0] = [];
    for (builder, option) in [
        (Config::builder().register_interval(Duration::from_millis(999)), "register_interval_secs"),
        (Config::builder().healthcheck_ttl(Duration::from_millis(1)), "healthcheck_ttl_secs"),
        (Config::builder().max_concurrency(0), "max_concurrency"),
        (Config::builder().max_retry(-2), "max_retry"),
        (Config::builder().capabilities(empty), "capabilities"),
        (Config::builder().capabilities(["/a,/b"]), "capabilities"),
        (Config::builder().ca_file(""), "ca_file"),
        (Config::builder().node_version("latest").max_concurrency(0), "node_version"),
        (Config::builder().set("max_retry", "many").max_concurrency(0), "max_retry"),
    ] {
        let error = refused(builder.allow_insecure_http(true).build(), &option);
        assert!(error.message().starts_with(option) && error.message().contains("expected "), "{error}");
    }
}

#[test]
fn a_state_is_in_one_place() {
    let state = [("state_dir", "state"), ("state_url", "redis://user:p4ssw0rd@localhost")];
    let error = refused(support::config("http://127.0.0.1:1", &state).check(), &state);
    assert!(error.message().starts_with("state_dir and state_url are both set"), "{error}");
    assert!(!error.message().contains("p4ssw0rd"), "{error}");
}

#[test]
fn a_robot_has_no_node_url() {
    let mut config = Config::new();
    for (name, value) in [
        ("identity", "robot"),
        ("reg_secret", CREDENTIALS),
        ("node_version", "1.2.3"),
        ("callback_bind", "127.0.0.1:0"),
        ("node_url", "https://node.example"),
    ] {
        config.set(name, value).expect("a good option");
    }
    let error = start_error(&config);
    assert_eq!(error.code(), ErrorCode::InvalidConfig);
    assert!(error.message().contains("node_url") && error.message().contains("robot"), "{error}");
}

#[test]
fn the_paths_of_the_callbacks_are_not_shown() {
    let mut config = Config::new();
    config.set("node_url", "https://node.example/s3cr3t").expect("a URL");
    config.set("callback_path", "/s3cr3t").expect("a path");
    let shown = debug(&config);
    assert!(shown.contains("https://node.example/[redacted]") && !shown.contains("s3cr3t"), "{shown}");
    for (option, value) in [
        ("node_url", "node.example/s3cr3t"),
        ("node_url", "https://node.example/s3cr3t?x"),
        ("callback_path", "s3cr3t"),
        ("callback_path", "/s3cr3t path"),
        ("callback_path", "/s3cr3t%zz"),
    ] {
        let error = refused(config.set(option, value).map(drop), &option);
        assert!(!error.message().contains("s3cr3t"), "{error}");
    }
}
