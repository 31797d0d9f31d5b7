//! Random secrets in random texts, in every pair of encodings, cut and wrapped.

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::*;

type Encoding = (&'static str, fn(&str) -> String);

fn each(text: &str, encode: impl Fn(char) -> String) -> String {
    text.chars().map(encode).collect()
}

fn bytes(text: &str, encode: impl Fn(u8) -> String) -> String {
    text.bytes().map(encode).collect()
}

fn utf16(text: &str, encode: impl Fn(u16) -> String) -> String {
    text.encode_utf16().map(encode).collect()
}

fn wrapped(text: &str, width: usize, line_break: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let lines: Vec<String> = chars.chunks(width).map(|line| line.iter().collect()).collect();
    lines.join(line_break)
}

const ENCODINGS: &[Encoding] = &[
    ("as it is", |text| text.into()),
    ("uppercase", |text| text.to_uppercase()),
    ("lowercase", |text| text.to_lowercase()),
    ("percent", |text| {
        url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
    }),
    ("percent, all", |text| bytes(text, |byte| format!("%{byte:02X}"))),
    ("percent, lowercase", |text| bytes(text, |byte| format!("%{byte:02x}"))),
    ("HTML", |text| {
        each(text, |c| match c {
            '&' => "&amp;".into(),
            '<' => "&lt;".into(),
            '>' => "&gt;".into(),
            '"' => "&quot;".into(),
            '\'' => "&#39;".into(),
            c => c.into(),
        })
    }),
    ("HTML, decimal", |text| each(text, |c| format!("&#{};", u32::from(c)))),
    ("HTML, hex", |text| each(text, |c| format!("&#x{:X};", u32::from(c)))),
    ("JSON", |text| serde_json::Value::from(text).to_string()),
    ("JSON, slashes", |text| serde_json::Value::from(text).to_string().replace('/', "\\/")),
    ("JSON, of Go", |text| {
        let json = serde_json::Value::from(text).to_string();
        json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
    }),
    ("JSON, all", |text| utf16(text, |unit| format!("\\u{unit:04x}"))),
    ("Rust", |text| format!("{text:?}")),
    ("Rust, all", |text| each(text, |c| c.escape_unicode().to_string())),
    ("base64", |text| STANDARD.encode(text)),
    ("base64, unpadded", |text| STANDARD_NO_PAD.encode(text)),
    ("base64, URL", |text| URL_SAFE.encode(text)),
    ("base64, URL, unpadded", |text| URL_SAFE_NO_PAD.encode(text)),
    ("base64, one off", |text| STANDARD.encode(format!(":{text}:"))),
    ("base64, two off", |text| URL_SAFE.encode(format!("id{text}"))),
    ("hex", |text| hex::encode(text)),
    ("hex, uppercase", |text| hex::encode_upper(text)),
    ("hex, one off", |text| format!("a{}", hex::encode(text))),
    ("hex, bytes", |text| bytes(text, |byte| format!("0x{byte:02x}, "))),
    ("hex, colons", |text| bytes(text, |byte| format!("{byte:02X}:"))),
    ("decimal, bytes", |text| bytes(text, |byte| format!("{byte},"))),
    ("octal, escaped", |text| bytes(text, |byte| format!("\\{byte:03o}"))),
    ("wrapped", |text| wrapped(text, 19, "\n")),
    ("wrapped, indented", |text| wrapped(text, 7, "\r\n  ")),
    ("wrapped, HTML", |text| wrapped(text, 11, "<br />")),
];

fn secret(random: &mut StdRng) -> String {
    let alphabets: [Vec<char>; 4] = [
        ('a'..='z').chain('A'..='Z').chain('0'..='9').collect(),
        "0123456789abcdef".chars().collect(),
        ('!'..='~').collect(),
        "abcXYZ123éÉжЖ€漢🔑+/=&<>\"'%".chars().collect(),
    ];
    let alphabet = alphabets.choose(random).expect("some");
    let length = random.gen_range(24..48);
    (0..length).map(|_| *alphabet.choose(random).expect("some")).collect()
}

/// Cuts a text at the front, in the middle or at the end, and leaves at least half of it in one piece.
fn cut(random: &mut StdRng, text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let most = chars.len() * 2 / 5;
    let removed = random.gen_range(0..=most);
    let start = match random.gen_range(0..4) {
        0 => return text.into(),
        1 => 0,
        2 => chars.len() - removed,
        _ => random.gen_range(chars.len() * 3 / 5..=chars.len()).min(chars.len() - removed),
    };
    let left: [String; 2] = [chars[..start].iter().collect(), chars[start + removed..].iter().collect()];
    left.join("…")
}

fn kept(text: &str) -> [Zeroizing<Vec<u8>>; 1] {
    [Zeroizing::new(text.as_bytes().to_vec())]
}

#[test]
fn no_pair_of_encodings_hides_a_secret() {
    let mut random = StdRng::seed_from_u64(20_261_125);
    for (inner, first) in ENCODINGS {
        for (outer, second) in ENCODINGS {
            let secret = secret(&mut random);
            let encoded = cut(&mut random, &second(&first(&secret)));
            let text = format!("invalid credentials: {encoded} (try again)");
            assert!(repeats(&text, &kept(&secret)), "{secret:?} as {inner}, then {outer}: {text:?}");
        }
    }
}

#[test]
fn no_encoding_without_a_standard_hides_a_secret() {
    let secret = "S3cr3t&<reg>/pass\"word+%20";
    let encodings: [Encoding; 4] = [
        ("JavaScript's escape", |text| utf16(text, |unit| format!("%u{unit:04x}"))),
        ("HTML without semicolons", |text| each(text, |c| format!("&#{} ", u32::from(c)))),
        ("quoted lines", |text| wrapped(text, 5, "\r\n> ")),
        ("spaced out", |text| each(text, |c| format!("{c} . "))),
    ];
    for (name, encode) in encodings {
        assert!(repeats(&format!("bad {} tail", encode(secret)), &kept(secret)), "{name}");
    }
}

#[test]
fn eight_characters_are_enough() {
    let mut random = StdRng::seed_from_u64(8);
    for _ in 0..1000 {
        let secret = secret(&mut random);
        let chars: Vec<char> = secret.chars().collect();
        let start = random.gen_range(0..=chars.len() - 8);
        let run: String = chars[start..start + 8].iter().collect();
        assert!(repeats(&format!("bad \u{fffd}{run}…"), &kept(&secret)), "{run} of {secret}");
    }
}

#[test]
fn eight_characters_of_an_encoded_secret_are_enough() {
    let secret = "zO1kd93hsgeTa9wMQpx7Vb2e";
    for encoded in [STANDARD.encode(secret), STANDARD.encode(&secret[1..]), hex::encode_upper(secret)] {
        for run in encoded.as_bytes().windows(8) {
            let run = std::str::from_utf8(run).expect("ASCII").to_lowercase();
            assert!(repeats(&format!("bad {run}"), &kept(secret)), "{run} of {encoded}");
        }
    }
}

#[test]
fn a_text_without_a_secret_stays_readable() {
    let mut random = StdRng::seed_from_u64(15);
    for _ in 0..200 {
        let secrets = kept(&secret(&mut random));
        for text in [
            "node 0b5e4f2a-1111-4222-8333-444455556666 not found",
            "wallet 0xfdbb6caf01414300c16ea14859fec7736d95355f is not on the list",
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center>nginx</center>",
            r#"{"error":"invalid nonce","code":"nonce_used","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#,
        ] {
            assert!(!repeats(text, &secrets), "{text}");
        }
    }
}

#[test]
fn a_short_secret_is_hidden_as_a_whole() {
    assert!(repeats("no S3cr3t here", &kept("s3cr3t")));
    assert!(!repeats("no s3cr3 here", &kept("s3cr3t")));
    assert!(!repeats("a text", &kept("a")), "it is in every text");
    assert!(!repeats("a text", &kept("")));
}

#[test]
fn a_hostile_text_and_a_long_secret_take_no_time() {
    let secret = "long-".repeat(1000);
    for text in [
        "%25".repeat(170),
        "\\\\".repeat(256),
        "41".repeat(256),
        "QUFB".repeat(128),
        "&amp;".repeat(100),
        "52 ".repeat(170),
    ] {
        assert!(!repeats(&text, &kept(&secret)));
    }
}
