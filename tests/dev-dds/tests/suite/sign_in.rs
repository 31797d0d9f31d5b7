//! Who is let in, and who is not.

use std::time::Duration;

use posemesh_dev_dds::{DevDds, Endpoint, Form, verify_sign_in};
use serde_json::{Value, json};

use crate::client::{Wallet, post};

fn vectors() -> Vec<Value> {
    let file: Value =
        serde_json::from_str(include_str!("../../../../core/tests/vectors/siwe.json")).expect("JSON");
    file["vectors"].as_array().expect("a list").clone()
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().expect("a string")
}

const FORMS: [(Form, &str, &str); 2] = [
    (Form::Posemesh, "message_posemesh", "signature_posemesh"),
    (Form::Eip4361, "message_eip4361", "signature_eip4361"),
];

#[test]
fn every_vector_verifies_in_both_forms() {
    assert_eq!(vectors().len(), 24);
    for vector in vectors() {
        for (form, message, signature) in FORMS {
            let sign_in = verify_sign_in(text(&vector, message), text(&vector, signature)).unwrap();
            let challenge = &vector["challenge"];
            assert_eq!(sign_in.form, form);
            assert_eq!(sign_in.wallet, text(&vector, "address_eip55"));
            assert_eq!(sign_in.domain, text(challenge, "domain"));
            assert_eq!(sign_in.uri, text(challenge, "uri"));
            assert_eq!(sign_in.version, text(challenge, "version"));
            assert_eq!(sign_in.chain_id, challenge["chainId"].to_string());
            assert_eq!(sign_in.nonce, text(challenge, "nonce"));
            assert_eq!(sign_in.issued_at, text(challenge, "issuedAt"));
        }
    }
}

#[test]
fn every_vector_registers_over_http() {
    let dds = DevDds::start().unwrap();
    for vector in vectors() {
        dds.set_challenge(Some(vector["challenge"].clone()));
        for (_, message, signature) in FORMS {
            let wallet = json!({ "wallet": vector["address_lowercase"] });
            assert_eq!(post(&dds, Endpoint::Challenge, &wallet).json(), vector["challenge"]);
            let registration = json!({
                "message": vector[message],
                "signature": vector[signature],
                "registration_credentials": "credentials",
                "capabilities": ["/reconstruction/v1"],
                "version": "1.0.0",
            });
            let answer = post(&dds, Endpoint::Register, &registration);
            assert_eq!((answer.status, answer.text()), (200, String::new()));
        }
    }
    assert_eq!(dds.nodes().iter().map(|node| node.registrations).sum::<u64>(), 48);
}

#[test]
fn the_form_of_the_relay_verifies_too() {
    let dds = DevDds::start().unwrap();
    let wallet = Wallet::new(1);
    let message = wallet.message(&wallet.challenge(&dds), Form::Relay);
    let sign_in = verify_sign_in(&message, &wallet.sign(&message)).unwrap();
    assert_eq!((sign_in.form, sign_in.wallet), (Form::Relay, wallet.address()));
}

#[test]
fn no_other_form_verifies() {
    let dds = DevDds::start().unwrap();
    let wallet = Wallet::new(1);
    let challenge = wallet.challenge(&dds);
    let good = wallet.message(&challenge, Form::Eip4361);
    for bad in [
        good.to_lowercase(),
        good.replace("\n\n\n", "\n"),
        good.replace("\n\n\n", "\n\n\n\n"),
        good.replace("\n\n\n", "\n\nA statement\n\n"),
        good.replace('\n', "\r\n"),
        good.replace("Version: 1\n", ""),
        good.replace(&wallet.address(), &wallet.address().to_uppercase().replace("0X", "0x")),
        good.replace(&wallet.address(), &wallet.address().to_lowercase()),
        format!("{good}\n"),
        format!("{good}\nExpiration Time: 2030-01-01T00:00:00Z"),
        wallet.message(&challenge, Form::Posemesh) + "\n",
        String::new(),
    ] {
        assert!(verify_sign_in(&bad, &wallet.sign(&bad)).is_err(), "accepted {bad:?}");
    }
}

#[test]
fn a_flipped_bit_does_not_verify() {
    for (_, message, signature) in FORMS {
        let vector = &vectors()[0];
        let (message, signature) = (text(vector, message), text(vector, signature));
        let good = hex::decode(&signature[2..]).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let bad = format!("0x{}", hex::encode(bad));
            assert!(verify_sign_in(message, &bad).is_err(), "accepted with bit {bit} flipped");
        }
    }
}

#[test]
fn a_signature_has_one_spelling() {
    let vector = &vectors()[0];
    let (message, good) = (text(vector, "message_posemesh"), text(vector, "signature_posemesh"));
    let (r, v) = (&good[2..66], u8::from_str_radix(&good[130..], 16).unwrap());
    // The same signature with n - s instead of s: as true, but not what Ethereum takes.
    let s = k256::ecdsa::Signature::from_slice(&hex::decode(&good[2..130]).unwrap()).unwrap();
    let high_s = format!("0x{r}{}{:x}", hex::encode((-*s.s()).to_bytes()), 55 - v);
    let why = verify_sign_in(message, &high_s).unwrap_err();
    assert!(why.contains("low-s"), "{why}");
    for bad in [
        good.to_uppercase().replace("0X", "0x"),
        good[2..].to_owned(),
        format!("{}{:02x}", &good[..130], v - 27),
        format!("{good}00"),
        String::new(),
    ] {
        assert!(verify_sign_in(message, &bad).is_err(), "accepted {bad}");
    }
}

#[test]
fn another_address_does_not_verify() {
    let vector = &vectors()[0];
    let (message, signature) = (text(vector, "message_posemesh"), text(vector, "signature_posemesh"));
    let other = Wallet::new(2).address().to_lowercase();
    let message = message.replace(text(vector, "address_lowercase"), &other);
    assert!(verify_sign_in(&message, signature).is_err());

    // The same message, signed by another wallet.
    let why = verify_sign_in(&message, &Wallet::new(1).sign(&message)).unwrap_err();
    assert!(why.contains(&Wallet::new(1).address()), "{why}");
}

#[test]
fn every_field_must_be_as_in_the_challenge() {
    let dds = DevDds::start().unwrap();
    let wallet = Wallet::new(1);
    for (name, value) in [
        ("domain", json!("evil.example")),
        ("uri", json!("http://evil.example")),
        ("version", json!("2")),
        ("chainId", json!(1)),
        ("issuedAt", json!("2020-01-01T00:00:00Z")),
        ("nonce", json!("abcdefgh12345678")),
    ] {
        let mut challenge = wallet.challenge(&dds);
        challenge[name] = value;
        let answer = post(&dds, Endpoint::Register, &wallet.registration(&challenge));
        assert_eq!(answer.status, 401);
        assert!(answer.text().contains(name), "{name}: {}", answer.text());
    }
    assert!(dds.nodes().is_empty());
}

#[test]
fn a_nonce_can_be_used_once() {
    let dds = DevDds::start().unwrap();
    let wallet = Wallet::new(1);
    let registration = wallet.registration(&wallet.challenge(&dds));
    assert_eq!(post(&dds, Endpoint::Register, &registration).status, 200);
    let again = post(&dds, Endpoint::Register, &registration);
    assert_eq!((again.status, again.text().as_str()), (401, "the nonce was used before"));
}

#[test]
fn a_nonce_expires() {
    let dds = DevDds::builder().nonce_lifetime(Duration::ZERO).start().unwrap();
    let answer = Wallet::new(1).register(&dds);
    assert_eq!((answer.status, answer.text().as_str()), (401, "the nonce has expired"));
}

#[test]
fn a_nonce_belongs_to_one_wallet() {
    let dds = DevDds::start().unwrap();
    let challenge = Wallet::new(1).challenge(&dds);
    let answer = post(&dds, Endpoint::Register, &Wallet::new(2).registration(&challenge));
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("issued to"), "{}", answer.text());
}

#[test]
fn a_challenge_can_be_changed() {
    let dds = DevDds::start().unwrap();
    let wallet = Wallet::new(1);
    dds.set_challenge(Some(json!({ "domain": "evil.example", "chainId": 0, "issuedAt": null })));
    let challenge = wallet.challenge(&dds);
    assert_eq!(challenge["domain"], "evil.example");
    assert_eq!(challenge["chainId"], 0);
    assert!(challenge.get("issuedAt").is_none());
    assert_eq!(challenge["uri"], dds.url());

    // The message must repeat the changed challenge.
    dds.set_challenge(Some(json!({ "domain": "evil.example" })));
    assert_eq!(wallet.register(&dds).status, 200);

    dds.set_challenge(None);
    assert_eq!(wallet.challenge(&dds)["domain"], dds.authority());
}
