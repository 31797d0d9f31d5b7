//! Keys, addresses and signatures, compared with vectors of another implementation. The bytes of the signed messages
//! are tested in the module `siwe`.

mod support;

use posemesh_dev_dds::{DevDds, Endpoint, Form, verify_sign_in};
use posemesh_node_registration::crypto::{
    derive_eth_address, load_secp256k1_privhex, sign_eip191, sign_eip191_recoverable_hex,
};
use posemesh_node_registration::node::Wait;
use serde_json::{Value, json};
use support::GUARD;

fn vectors() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/siwe.json");
    let text = std::fs::read_to_string(path).expect("the vectors");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    let vectors = file["vectors"].as_array().expect("a list of vectors").clone();
    assert!(!vectors.is_empty());
    vectors
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_else(|| panic!("{field} of {vector}"))
}

#[test]
fn addresses_match_the_vectors() {
    for vector in vectors() {
        let key = load_secp256k1_privhex(text(&vector, "secp256k1_privhex")).expect("a good key");
        assert_eq!(derive_eth_address(&key), text(&vector, "address_lowercase"));
    }
}

#[test]
fn signatures_match_the_vectors_in_both_message_forms() {
    for vector in vectors() {
        let key = load_secp256k1_privhex(text(&vector, "secp256k1_privhex")).expect("a good key");
        for form in ["posemesh", "eip4361"] {
            let message = text(&vector, &format!("message_{form}"));
            let signature = text(&vector, &format!("signature_{form}"));
            assert_eq!(sign_eip191_recoverable_hex(&key, message), signature, "{message}");
            assert_eq!(sign_eip191(&key, message.as_bytes()), signature, "{message}");
        }
    }
}

#[test]
fn a_node_signs_the_configured_message_form() {
    for vector in vectors() {
        let challenge = &vector["challenge"];
        for (format, form) in [("posemesh", Form::Posemesh), ("eip4361", Form::Eip4361)] {
            let dds = DevDds::start().expect("a DDS");
            // All fields of the vector but the time.
            let mut fields = challenge.clone();
            fields.as_object_mut().expect("an object").remove("issuedAt");
            dds.set_challenge(Some(fields));
            let key = text(&vector, "secp256k1_privhex");
            let options = [("siwe_format", format), ("siwe_domain", "any"), ("secp256k1_privhex", key)];
            let node = support::start(&dds, &options);
            node.wait(Wait::Registered, Some(GUARD)).expect("registers");
            assert_eq!(node.wallet_address(), Ok(text(&vector, "address_lowercase")));
            let message = text(&vector, &format!("message_{format}"));
            assert_eq!(
                node.sign(message.as_bytes()).as_deref(),
                Ok(text(&vector, &format!("signature_{format}")))
            );
            node.stop(GUARD).expect("stops");

            let sent = dds.requests_to(Endpoint::Register)[0].json().expect("JSON");
            let signed =
                verify_sign_in(text(&sent, "message"), text(&sent, "signature")).expect("a good sign-in");
            assert_eq!(signed.form, form);
            assert_eq!(signed.wallet, text(&vector, "address_eip55"));
            assert_eq!(
                json!([signed.domain, signed.uri, signed.nonce, signed.chain_id]),
                json!([
                    challenge["domain"],
                    challenge["uri"],
                    challenge["nonce"],
                    challenge["chainId"].to_string()
                ])
            );
        }
    }
}
