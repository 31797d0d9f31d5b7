use super::*;
use serde_json::{Value, json};

const VECTORS: &str = include_str!("../../tests/vectors/keystore.json");

fn vectors() -> Vec<Value> {
    serde_json::from_str(VECTORS).expect("a list")
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().expect("a text")
}

/// The first vector, a small scrypt one, with `change` made to its keystore.
fn changed(change: impl FnOnce(&mut Value)) -> Result<SecretKey, String> {
    let vector = &vectors()[0];
    let mut keystore = vector["keystore"].clone();
    change(&mut keystore);
    decrypt(&keystore.to_string(), text(vector, "password"))
}

fn refusal(change: impl FnOnce(&mut Value)) -> String {
    changed(change).expect_err("refused")
}

#[test]
fn keystores_of_eth_account_are_decrypted() {
    for vector in vectors() {
        let keystore = vector["keystore"].to_string();
        let key = decrypt(&keystore, text(&vector, "password")).expect("the right password");
        assert_eq!(derive_eth_address(&key), text(&vector, "address").to_lowercase());
    }
}

#[test]
fn a_wrong_password_has_its_own_error() {
    for vector in &vectors()[..2] {
        let password = text(vector, "password");
        for wrong in ["", "x", &password.to_uppercase(), &format!("{password} "), &format!("{password}\n")] {
            let why = decrypt(&vector["keystore"].to_string(), wrong).expect_err("refused");
            assert!(why.contains("the password is wrong"), "{why}");
        }
    }
}

#[test]
fn a_damaged_file_is_refused() {
    for field in ["mac", "ciphertext"] {
        let why = refusal(|keystore| {
            let digits = keystore["crypto"][field].as_str().expect("hex").to_owned();
            let flipped = if digits.starts_with('0') { '1' } else { '0' };
            keystore["crypto"][field] = json!(format!("{flipped}{}", &digits[1..]));
        });
        assert!(why.contains("damaged"), "{field}: {why}");
    }
    let why = refusal(|keystore| keystore["address"] = json!("11".repeat(20)));
    assert!(why.contains("contains another address"), "{why}");
}

#[test]
fn allowed_variants_are_decrypted() {
    assert!(
        changed(|keystore| {
            keystore.as_object_mut().expect("an object").remove("address");
        })
        .is_ok()
    );
    assert!(
        changed(|keystore| {
            let crypto =
                keystore.as_object_mut().expect("an object").remove("crypto").expect("a field crypto");
            keystore["Crypto"] = crypto;
        })
        .is_ok()
    );
    assert!(
        changed(|keystore| keystore["address"] = json!("0x2C7536E3605D9C16A7A3D7B1898E529396A65C23")).is_ok()
    );
    assert!(
        changed(|keystore| {
            let mac = format!("0x{}", keystore["crypto"]["mac"].as_str().expect("hex"));
            keystore["crypto"]["mac"] = json!(mac);
            keystore["crypto"]["kdfparams"]["dklen"] = json!(64);
        })
        .is_ok()
    );
}

#[test]
fn the_error_names_what_is_not_supported() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 7] = [
        ("version 1; expected version 3", |k| k["version"] = json!(1)),
        ("the cipher \"aes-256-gcm\"", |k| k["crypto"]["cipher"] = json!("aes-256-gcm")),
        ("the key derivation \"argon2id\"", |k| k["crypto"]["kdf"] = json!("argon2id")),
        ("\"\\u{1b}[0m\"", |k| k["crypto"]["kdf"] = json!("\u{1b}[0m")),
        ("a salt that is not hex", |k| k["crypto"]["kdfparams"]["salt"] = json!("zz")),
        ("a field iv that is not 16 bytes", |k| k["crypto"]["cipherparams"]["iv"] = json!("00")),
        ("derives a key of 16 bytes", |k| k["crypto"]["kdfparams"]["dklen"] = json!(16)),
    ];
    for (expected, change) in cases {
        let why = refusal(change);
        assert!(why.contains(expected), "{why}");
    }
    for not_a_keystore in ["", "{", "[]", "{\"version\":3}", "\u{0}"] {
        let why = decrypt(not_a_keystore, "p").expect_err("refused");
        assert!(why.contains("is not a keystore"), "{why}");
    }
}

/// The parameters are checked before the computation, which would take hours or all memory.
#[test]
fn absurd_parameters_are_refused_at_once() {
    for (n, r, p) in [
        (1_u64 << 40, 8_u32, 1_u32),
        (1 << 62, 8, 1),
        (1 << 18, u32::MAX, 1),
        (1 << 18, 8, u32::MAX),
        (1 << 14, 8, 1 << 20),
        (1 << 21, 8, 1),
        (4095, 8, 1),
        (0, 8, 1),
        (1, 8, 1),
        (4096, 0, 1),
        (4096, 8, 0),
    ] {
        let why = refusal(|k| {
            for (name, value) in [("n", json!(n)), ("r", json!(r)), ("p", json!(p))] {
                k["crypto"]["kdfparams"][name] = value;
            }
        });
        assert!(why.contains(&format!("n = {n}, r = {r}, p = {p}")), "{why}");
    }
    for c in [0, MAX_PBKDF2_ITERATIONS + 1, u32::MAX] {
        let vector = &vectors()[1];
        let mut keystore = vector["keystore"].clone();
        keystore["crypto"]["kdfparams"]["c"] = json!(c);
        let why = decrypt(&keystore.to_string(), "p").expect_err("refused");
        assert!(why.contains(&format!("{c} iterations")), "{why}");
    }
}
