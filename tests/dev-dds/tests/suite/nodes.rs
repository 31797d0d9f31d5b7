//! Registration and access tokens of nodes with a wallet.

use std::time::{Duration, SystemTime};

use posemesh_dev_dds::{DevDds, Endpoint};
use serde_json::{Value, json};

use crate::client::{Answer, Wallet, post};

/// base64 of `01234567-89ab-cdef-0123-456789abcdef:secret`
const CREDENTIALS: &str = "MDEyMzQ1NjctODlhYi1jZGVmLTAxMjMtNDU2Nzg5YWJjZGVmOnNlY3JldA==";

fn time(value: &Value) -> SystemTime {
    let stamp: siwe::TimeStamp = value.as_str().and_then(|text| text.parse().ok()).expect("a time");
    (*stamp.as_ref()).into()
}

#[test]
fn a_challenge_names_this_server_and_the_time() {
    let dds = DevDds::start().unwrap();
    let before = SystemTime::now();
    let challenge = Wallet::new(1).challenge(&dds);
    assert!((before..=SystemTime::now()).contains(&time(&challenge["issuedAt"])));
    assert_eq!(challenge["domain"], dds.authority());
    assert_eq!(challenge["uri"], dds.url());
    assert_eq!(challenge["version"], "1");
    assert_eq!(challenge["chainId"], 8453);
    assert_ne!(challenge["nonce"], Wallet::new(1).challenge(&dds)["nonce"]);
}

#[test]
fn the_clock_has_an_offset() {
    let dds = DevDds::builder().clock_offset_secs(-3600).start().unwrap();
    let hour = Duration::from_secs(3600);
    let before = SystemTime::now();
    let issued_at = time(&Wallet::new(1).challenge(&dds)["issuedAt"]);
    assert!((before - hour..=SystemTime::now() - hour).contains(&issued_at));

    let head = Wallet::new(1).register(&dds).head;
    let date = |seconds| httpdate::fmt_http_date(before - hour + Duration::from_secs(seconds));
    assert!((0..60).any(|late| head.contains(&date(late).to_lowercase())), "{head}");
}

#[test]
fn a_node_can_register_again() {
    let dds = DevDds::start().unwrap();
    let wallet = Wallet::new(1);
    for _ in 0..2 {
        let mut registration = wallet.registration(&wallet.challenge(&dds));
        registration["registration_credentials"] = json!(CREDENTIALS);
        registration["max_concurrency"] = json!(4);
        registration["unknown"] = json!("ignored");
        let answer = post(&dds, Endpoint::Register, &registration);
        assert_eq!((answer.status, answer.text()), (200, String::new()));
    }
    let [node] = &dds.nodes()[..] else { panic!("{:?}", dds.nodes()) };
    assert_eq!(node.wallet, Some(wallet.address()));
    assert_eq!(node.url, None);
    assert_eq!(node.node_id, "01234567-89ab-cdef-0123-456789abcdef");
    assert_eq!(node.version, "v1.2.3");
    assert_eq!(node.capabilities, ["/reconstruction/v1"]);
    assert_eq!(node.max_concurrency, Some(4));
    assert_eq!(node.registrations, 2);
    assert!(node.online);
}

#[test]
fn a_node_without_a_uuid_in_its_credentials_gets_a_stable_id() {
    let dds = DevDds::start().unwrap();
    Wallet::new(1).register(&dds);
    let first = dds.nodes()[0].node_id.clone();
    dds.forget_all();
    Wallet::new(1).register(&dds);
    Wallet::new(2).register(&dds);
    let ids: Vec<_> = dds.nodes().into_iter().map(|node| node.node_id).collect();
    assert!(ids.contains(&first), "{first} is not in {ids:?}");
    assert_ne!(ids[0], ids[1]);
    let groups: Vec<_> = first.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12]);
}

#[test]
fn malformed_requests_are_bad_requests() {
    let dds = DevDds::start().unwrap();
    let wallet = Wallet::new(1);
    for wallet in [
        json!({}),
        json!({ "wallet": "0x12" }),
        // A wrong checksum.
        json!({ "wallet": wallet.address().to_uppercase().replace("0X", "0x") }),
        json!({ "wallet": 1 }),
        json!([]),
    ] {
        assert_eq!(post(&dds, Endpoint::Challenge, &wallet).status, 400, "{wallet}");
    }
    let good = wallet.registration(&wallet.challenge(&dds));
    for (name, value) in [
        ("capabilities", json!([])),
        ("capabilities", json!("one")),
        ("version", json!("1.2")),
        ("version", json!("vv1.2.3")),
        ("max_concurrency", json!(0)),
        ("registration_credentials", json!(null)),
        ("message", json!(null)),
        ("signature", json!(null)),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        assert_eq!(post(&dds, Endpoint::Register, &bad).status, 400, "{bad}");
    }
    // None of them spent the nonce.
    assert_eq!(post(&dds, Endpoint::Register, &good).status, 200);
}

#[test]
fn only_the_expected_credentials_are_accepted() {
    let dds = DevDds::builder().credentials("something else".to_owned()).start().unwrap();
    assert_eq!(Wallet::new(1).register(&dds).status, 403);
    let dds = DevDds::builder().credentials("credentials".to_owned()).start().unwrap();
    assert_eq!(Wallet::new(1).register(&dds).status, 200);
}

#[test]
fn a_wallet_that_is_online_elsewhere_is_a_conflict() {
    let dds = DevDds::start().unwrap();
    let wallet = Wallet::new(1);
    dds.set_online_elsewhere(&wallet.address().to_lowercase(), true);
    assert_eq!(wallet.register(&dds).status, 409);
    assert!(dds.nodes().is_empty());
    assert_eq!(Wallet::new(2).register(&dds).status, 200);
    dds.set_online_elsewhere(&wallet.address(), false);
    assert_eq!(wallet.register(&dds).status, 200);
}

#[test]
fn a_registered_node_gets_a_token() {
    let dds = DevDds::builder().token_lifetime(Duration::from_secs(2)).start().unwrap();
    let wallet = Wallet::new(1);
    wallet.register(&dds);
    let before = SystemTime::now();
    let answer = wallet.token(&dds);
    assert_eq!(answer.status, 200);
    let token = answer.json();
    let lifetime = Duration::from_secs(2);
    let expiry = time(&token["access_expires_at"]);
    assert!((before + lifetime..=SystemTime::now() + lifetime).contains(&expiry));
    assert_eq!(token["wallet"], wallet.address());
    assert_eq!(token["node_id"], dds.nodes()[0].node_id);
    assert_ne!(token["access_token"], wallet.token(&dds).json()["access_token"]);
}

#[test]
fn an_unknown_or_forgotten_node_gets_no_token() {
    let dds = DevDds::start().unwrap();
    let wallet = Wallet::new(1);
    let not_found = |answer: Answer| {
        assert_eq!((answer.status, answer.text().as_str()), (403, "node not found"));
    };
    not_found(wallet.token(&dds));
    wallet.register(&dds);
    dds.forget(&wallet.address());
    not_found(wallet.token(&dds));
    wallet.register(&dds);
    assert_eq!(wallet.token(&dds).status, 200);
    assert_eq!(dds.nodes()[0].registrations, 1);
}

#[test]
fn a_token_is_valid_until_it_expires_or_its_node_is_forgotten() {
    let dds = DevDds::start().unwrap();
    let wallets = [Wallet::new(1), Wallet::new(2)];
    let token = |dds: &DevDds, wallet: &Wallet| {
        wallet.register(dds);
        wallet.token(dds).json()["access_token"].as_str().unwrap().to_owned()
    };
    let tokens = wallets.each_ref().map(|wallet| token(&dds, wallet));
    let valid = || tokens.each_ref().map(|token| dds.accepts_token(token));
    assert_eq!(valid(), [true, true]);
    dds.forget(&wallets[0].address());
    assert_eq!(valid(), [false, true]);
    wallets[0].register(&dds);
    assert_eq!(valid(), [false, true]);
    dds.forget_all();
    assert_eq!(valid(), [false, false]);
    assert!(!dds.accepts_token("made up"));

    let short = DevDds::builder().token_lifetime(Duration::ZERO).start().unwrap();
    assert!(!short.accepts_token(&token(&short, &wallets[0])));
}

#[test]
fn a_token_is_for_the_wallet_that_signed() {
    let dds = DevDds::start().unwrap();
    let wallet = Wallet::new(1);
    wallet.register(&dds);
    let challenge = wallet.challenge(&dds);
    let mut body = wallet.registration(&challenge);
    body["address"] = json!(Wallet::new(2).address());
    assert_eq!(post(&dds, Endpoint::Verify, &body).status, 401);
}
