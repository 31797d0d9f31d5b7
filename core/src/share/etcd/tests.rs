//! Against real servers, which `tests/run` installs.
#![cfg(target_os = "linux")]

use std::time::Duration;

use tokio::time::timeout;

use super::EtcdKey;
use crate::config::StateUrl;
use crate::error::Error;
use crate::share::remote::{RemoteKey as _, Swap};
use certificate::Certificate;
use etcd::Etcd;
use relay::Relay;
use support::GUARD;

#[path = "../../../tests/support/certificate.rs"]
mod certificate;
#[path = "../../../tests/support/etcd.rs"]
mod etcd;
#[path = "../../../tests/support/place.rs"]
mod place;
#[path = "../../../tests/support/relay.rs"]
mod relay;
#[path = "../../../tests/support/server_process.rs"]
mod server_process;
mod support {
    pub(crate) const GUARD: std::time::Duration = std::time::Duration::from_secs(60);
}

/// Long enough for an event of a server on this machine.
const SOON: Duration = Duration::from_millis(500);

fn key(url: &str) -> EtcdKey {
    EtcdKey::new(&StateUrl::for_test(url), "name", None).expect("no certificates")
}

async fn put(key: &EtcdKey, expected: Option<&str>, value: &str) {
    let swapped = key.swap(expected.map(str::as_bytes), value.as_bytes()).await;
    assert_eq!(swapped.expect("it responds"), Swap::Done, "{expected:?} → {value}");
}

async fn get(key: &EtcdKey) -> Option<String> {
    let value = key.read().await.expect("it responds");
    value.map(|value| String::from_utf8(value).expect("as it was put"))
}

/// As [`get`], while the members of a cluster may be busy with an election.
async fn get_in_the_end(key: &EtcdKey) -> Option<String> {
    let read = async {
        loop {
            if let Ok(value) = key.read().await {
                return value.map(|value| String::from_utf8(value).expect("as it was put"));
            }
        }
    };
    timeout(GUARD, read).await.expect("a majority of the members runs")
}

async fn changes(key: &EtcdKey) {
    timeout(GUARD, key.changed()).await.expect("a change");
}

async fn does_not_change(key: &EtcdKey) {
    assert!(timeout(SOON, key.changed()).await.is_err(), "nothing has changed");
}

/// Why the first read fails.
async fn refusal(key: &EtcdKey) -> Error {
    key.read().await.expect_err("it is refused")
}

#[tokio::test]
async fn a_value_is_swapped_if_it_is_unchanged() {
    let etcd = Etcd::start(&[]);
    let (one, other) = (key(&etcd.url()), key(&etcd.url()));
    assert_eq!(get(&one).await, None);
    assert_eq!(one.swap(Some(b"old"), b"new").await.expect("it responds"), Swap::Changed(None));
    put(&one, None, "first").await;
    assert_eq!(get(&other).await.as_deref(), Some("first"));
    for expected in [None, Some(&b"second"[..]), Some(b"")] {
        let swapped = other.swap(expected, b"third").await.expect("it responds");
        assert_eq!(swapped, Swap::Changed(Some(b"first".to_vec())));
    }
    put(&other, Some("first"), "\0\u{ff}").await;
    assert_eq!(get(&one).await.as_deref(), Some("\0\u{ff}"));
    let prefixed = key(&format!("{}/a/b", etcd.url()));
    assert_eq!(get(&prefixed).await, None);
    put(&prefixed, None, "apart").await;
    assert_eq!(etcd.keys(), ["a/b/name", "name"]);
}

#[tokio::test]
async fn changes_of_others_are_pushed_and_own_ones_are_not() {
    let etcd = Etcd::start(&[]);
    let (one, other) = (key(&etcd.url()), key(&etcd.url()));
    does_not_change(&one).await;
    assert_eq!(get(&one).await, None);
    // Before the watch begins, and while nobody awaits it.
    for (expected, value) in [(None, "a"), (Some("a"), "b")] {
        put(&other, expected, value).await;
        changes(&one).await;
        assert_eq!(get(&one).await.as_deref(), Some(value));
        does_not_change(&one).await;
    }
    put(&one, Some("b"), "mine").await;
    does_not_change(&one).await;
    etcd.ask(&["put", "another key", "x"]);
    does_not_change(&one).await;
    etcd.ask(&["del", "name"]);
    changes(&one).await;
    assert_eq!(get(&one).await, None);
}

#[tokio::test]
async fn a_restarted_or_emptied_store_is_watched_again() {
    let etcd = Etcd::start(&[]);
    let relay = Relay::to(etcd.port);
    let (one, other) = (key(&format!("etcd+http://{}", relay.authority())), key(&etcd.url()));
    put(&one, None, "a").await;
    put(&one, Some("a"), "b").await;
    assert!(timeout(SOON, one.changed()).await.is_err());
    relay.cut();
    changes(&one).await;
    assert!(refusal(&one).await.message().contains("cannot be reached"));
    relay.pass();
    assert_eq!(get(&one).await.as_deref(), Some("b"));
    put(&other, Some("b"), "c").await;
    changes(&one).await;
    // Another store, which has had fewer changes.
    let empty = Etcd::start(&[]);
    relay.move_to(empty.port);
    changes(&one).await;
    assert_eq!(get(&one).await, None);
    put(&key(&empty.url()), None, "other").await;
    changes(&one).await;
    assert_eq!(get(&one).await.as_deref(), Some("other"));
}

#[tokio::test]
async fn a_server_that_does_not_respond_is_left_for_the_next_one() {
    let [mut first, second, third] = Etcd::start_three();
    let url = format!("etcd+http://{},{},{}", first.authority(), second.authority(), third.authority());
    let (one, other) = (key(&url), key(&third.url()));
    put(&one, None, "a").await;
    first.signal("STOP");
    assert_eq!(get_in_the_end(&one).await.as_deref(), Some("a"));
    first.kill();
    // The cluster may still be busy with its own election, and a swap that failed may have taken place.
    let mut swapped = other.swap(Some(b"a"), b"b").await;
    while swapped.is_err() {
        swapped = other.swap(Some(b"a"), b"b").await;
    }
    changes(&one).await;
    assert_eq!(get_in_the_end(&one).await.as_deref(), Some("b"));
    // One that refuses connections is left as well.
    let fresh = key(&url);
    assert_eq!(get_in_the_end(&fresh).await.as_deref(), Some("b"));
}

#[tokio::test]
async fn a_user_signs_in_again_when_the_token_is_not_valid_any_more() {
    let mut etcd = Etcd::start(&[]);
    let url = |user: &str| format!("etcd+http://{user}@{}", etcd.authority());
    let (mine, wrong, weak) =
        (url("root:a%20p%40ssword"), url("root:wrong-password"), url("bob:bobs-password"));
    let anonymous = etcd.url();
    // Users are optional, as long as the store has none.
    let one = key(&mine);
    put(&one, None, "a").await;
    for command in
        [&["user", "add", "root:a p@ssword"][..], &["user", "add", "bob:bobs-password"], &["auth", "enable"]]
    {
        etcd.ask(command);
    }
    etcd.set_access("root:a p@ssword");
    assert_eq!(get(&one).await.as_deref(), Some("a"));
    for _ in 0..2 {
        put(&one, Some("a"), "b").await;
        put(&one, Some("b"), "a").await;
        // Forgets every token.
        etcd.ask(&["auth", "disable"]);
        etcd.ask(&["auth", "enable"]);
    }
    put(&key(&mine), Some("a"), "c").await;
    changes(&one).await;
    for (url, why) in [
        (&wrong, "the user or the password is wrong"),
        (&weak, "no permission to read and write"),
        (&anonymous, "expects a user and a password"),
    ] {
        let error = refusal(&key(url)).await;
        assert!(error.message().contains(why), "{error}");
        assert!(!error.message().contains("wrong-password") && !error.message().contains("bob"), "{error}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_used_says_why() {
    let (plain, certificate) = (Etcd::start(&["--quota-backend-bytes", "16384"]), Certificate::new());
    let tls = Etcd::start_tls(&certificate);
    let trusting = |url: &str, ca: &str| {
        EtcdKey::new(&StateUrl::for_test(url), "name", Some(ca.as_ref())).expect("a CA")
    };
    let tls_url = format!("etcd+https://{}", tls.authority());
    put(&trusting(&tls_url, &certificate.ca_file()), None, "a").await;
    let stranger = Certificate::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    for (key, why) in [
        (trusting(&tls_url, &stranger.ca_file()), "invalid peer certificate"),
        (key(&format!("etcd+http://{}", tls.authority())), "if it expects TLS, use etcd+https://"),
        (
            trusting(&format!("etcd+https://{}", plain.authority()), &stranger.ca_file()),
            "if it does not use TLS, use etcd+http://",
        ),
        (
            trusting(&format!("etcd+https://{}", silent.local_addr().expect("bound")), &stranger.ca_file()),
            "did not respond in time; if it does not use TLS, use etcd+http://",
        ),
        (key("etcd+http://127.0.0.1:1"), "cannot be reached"),
    ] {
        let error = refusal(&key).await;
        assert!(error.message().contains(why), "{error}");
    }
    let filler = "x".repeat(20_000);
    let full = key(&plain.url());
    let error = loop {
        match full.swap(None, filler.as_bytes()).await {
            Ok(Swap::Changed(_)) => drop(full.swap(Some(filler.as_bytes()), filler.as_bytes()).await),
            Ok(Swap::Done) => {}
            Err(error) => break error,
        }
    };
    assert!(error.message().contains("space is exhausted"), "{error}");
}
