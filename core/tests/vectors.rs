//! Keys, addresses and signatures against vectors that another implementation made. That the signed messages
//! are composed to the byte is tested where they are composed, in `siwe`.

use posemesh_node_registration::crypto::{
    derive_eth_address, load_secp256k1_privhex, sign_eip191, sign_eip191_recoverable_hex,
};
use serde_json::Value;

fn vectors() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/siwe.json");
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
fn addresses() {
    for vector in vectors() {
        let key = load_secp256k1_privhex(text(&vector, "secp256k1_privhex")).expect("a good key");
        assert_eq!(derive_eth_address(&key), text(&vector, "address_lowercase"));
    }
}

#[test]
fn signatures_of_both_message_forms() {
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
