//! Detects whether a text repeats a secret, in any encoding.
//!
//! A response may repeat the credentials encoded, cut or wrapped, so a search for one form of them is not enough.
//! Instead, the text is decoded in every known way, and the secrets are also encoded in the encodings that cannot be
//! decoded after a change of case. If both have eight consecutive bytes in common, the text is not shown at all.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use zeroize::Zeroizing;

use crate::foreign::is_invisible;

/// This many consecutive bytes of a secret must not be shown.
const RUN: usize = 8;
/// A shorter secret is not searched for, because it occurs in texts by chance.
const MIN_SECRET: usize = 4;
/// How many nested encodings are decoded.
const MAX_LAYERS: usize = 3;

/// Decodes base64 that was cut anywhere.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Returns whether `text` contains [`RUN`] consecutive bytes of a secret, or the whole of a shorter secret.
///
/// `text` is the text that will be shown, already shortened.
pub(crate) fn repeats(text: &str, secrets: &[Zeroizing<Vec<u8>>]) -> bool {
    let mut readings = Readings::default();
    readings.add(text.as_bytes(), MAX_LAYERS);
    secrets.iter().any(|secret| readings.have(secret))
}

/// A text and everything it decodes to, in lowercase and without line wrapping.
#[derive(Default)]
struct Readings {
    texts: HashSet<Vec<u8>>,
    runs: HashSet<[u8; RUN]>,
}

impl Readings {
    fn add(&mut self, text: &[u8], layers: usize) {
        for reading in [lowercase(text), unwrap(text), alphanumeric(text)] {
            if self.texts.insert(reading.clone()) {
                self.runs
                    .extend(reading.windows(RUN).map(|run| <[u8; RUN]>::try_from(run).expect("its length")));
            }
        }
        if layers == 0 {
            return;
        }
        let on_one_line: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        for escaped in [text, &on_one_line] {
            let unescaped = unescape(escaped);
            if unescaped != escaped {
                self.add(&unescaped, layers - 1);
            }
        }
        let numbers = [8, 10, 16].into_iter().flat_map(|radix| {
            [text, &on_one_line].into_iter().flat_map(move |text| decode_numbers(text, radix))
        });
        for decoded in decode_hex(text).into_iter().chain(decode_base64(text)).chain(numbers) {
            // Anything shorter cannot contain a secret.
            if decoded.len() >= MIN_SECRET {
                self.add(&decoded, layers - 1);
            }
        }
    }

    fn have(&self, secret: &[u8]) -> bool {
        if secret.len() < RUN {
            let secret = Zeroizing::new(lowercase(secret));
            return secret.len() >= MIN_SECRET
                && self.texts.iter().any(|text| text.windows(secret.len()).any(|part| part == *secret));
        }
        let has_run = |form: &[u8]| {
            form.windows(RUN).any(|run| self.runs.contains(&<[u8; RUN]>::try_from(run).expect("its length")))
        };
        forms(secret).iter().any(|form| has_run(form))
    }
}

/// A secret and its encodings in base64 and hex, which cannot be decoded from a text whose case was changed.
fn forms(secret: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    /// A longer secret is encoded only once, because the second encoding costs more than it is likely to find.
    const MAX_TWICE: usize = 1024;
    let readings = |text: &[u8]| [lowercase(text), unwrap(text), alphanumeric(text)].map(Zeroizing::new);
    let mut forms = Vec::from(readings(secret));
    for once in encodings(secret) {
        forms.extend(readings(&once));
        if secret.len() <= MAX_TWICE {
            forms.extend(encodings(&once).iter().map(|twice| Zeroizing::new(unwrap(twice))));
        }
    }
    forms
}

/// Base64 at each of the three alignments that a secret can have in a longer text, and hex.
fn encodings(secret: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let base64 = (0..3.min(secret.len())).map(|skipped| STANDARD.encode(&secret[skipped..]));
    let upper = hex::encode_upper(secret);
    base64.chain([hex::encode(secret), upper]).map(|form| Zeroizing::new(form.into_bytes())).collect()
}

/// Converts to lowercase, also beyond ASCII.
fn lowercase(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().to_lowercase().as_bytes());
        out.extend_from_slice(chunk.invalid());
    }
    out
}

/// Converts to lowercase and to the standard alphabet of base64. Removes white space, control characters and padding.
fn unwrap(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars().flat_map(char::to_lowercase) {
            match c {
                '=' | '\\' | '\u{fffd}' => {}
                '-' => out.push(b'+'),
                '_' => out.push(b'/'),
                c if c.is_whitespace() || is_invisible(c) => {}
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out.extend_from_slice(chunk.invalid());
    }
    out
}

/// Keeps only letters and digits, in lowercase, however the lines are wrapped or quoted.
fn alphanumeric(text: &[u8]) -> Vec<u8> {
    let text = text.utf8_chunks().flat_map(|chunk| chunk.valid().chars());
    text.filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>().into_bytes()
}

/// Decodes numbers, one for each byte: `83, 51`, `0x53 0x33`, `53:33`, `%u0053%u0033`, `\123\063`, `&#83 &#51`.
fn decode_numbers(text: &[u8], radix: u32) -> Vec<Vec<u8>> {
    let mut found = vec![Vec::new()];
    let words = text.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    for word in words {
        let digits = match word {
            [b'0', b'x' | b'X', digits @ ..] | [b'x' | b'X' | b'u' | b'U', digits @ ..] => digits,
            digits => digits,
        };
        match number(digits, radix).map(u8::try_from) {
            Some(Ok(byte)) => found.last_mut().expect("never empty").push(byte),
            _ => found.push(Vec::new()),
        }
    }
    found
}

/// Decodes hex, starting at each of the two digits that can be the first of a byte.
fn decode_hex(text: &[u8]) -> Vec<Vec<u8>> {
    let digits: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let mut found = Vec::new();
    for run in digits.split(|byte| !byte.is_ascii_hexdigit()) {
        for start in 0..2.min(run.len()) {
            let pairs = &run[start..];
            found.extend(hex::decode(&pairs[..pairs.len() / 2 * 2]));
        }
    }
    found
}

/// Decodes base64 of either alphabet, starting at each of the four digits that can be the first of a group.
fn decode_base64(text: &[u8]) -> Vec<Vec<u8>> {
    let digits: Vec<u8> = text
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace() && **byte != b'=')
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    let mut found = Vec::new();
    for run in digits.split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))) {
        for start in 0..4.min(run.len()) {
            let groups = &run[start..];
            // A single remaining digit does not encode a byte.
            let end = if groups.len() % 4 == 1 { groups.len() - 1 } else { groups.len() };
            found.extend(LENIENT.decode(&groups[..end]));
        }
    }
    found
}

/// Decodes percent-encoding only.
pub(super) fn percent_decode(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let decoded = if first == b'%' { percent(after) } else { None };
        let (bytes, length) = decoded.unwrap_or_else(|| (vec![first], 0));
        out.extend_from_slice(&bytes);
        rest = &after[length..];
    }
    out
}

/// Decodes percent-encoding, HTML's character references, and the escapes of JSON and Rust. Removes HTML's tags for
/// line breaks.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let unescaped = match first {
            b'%' => percent(after),
            b'&' => reference(after),
            b'\\' => backslash(after),
            b'<' => line_break(after),
            _ => None,
        };
        match unescaped {
            Some((bytes, length)) => {
                out.extend_from_slice(&bytes);
                rest = &after[length..];
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

/// The decoded bytes, and the length of the escape after its first byte.
type Unescaped = Option<(Vec<u8>, usize)>;

fn percent(after: &[u8]) -> Unescaped {
    Some((vec![u8::try_from(number(after.get(..2)?, 16)?).ok()?], 2))
}

fn reference(after: &[u8]) -> Unescaped {
    const LONGEST: usize = 12;
    let length = after.iter().take(LONGEST).position(|byte| *byte == b';')?;
    let name = after[..length].to_ascii_lowercase();
    let c = match name.as_slice() {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        b"sol" => '/',
        b"plus" => '+',
        b"equals" => '=',
        b"nbsp" => ' ',
        b"newline" => '\n',
        b"shy" => '\u{ad}',
        [b'#', b'x', digits @ ..] => char::from_u32(number(digits, 16)?)?,
        [b'#', digits @ ..] => char::from_u32(number(digits, 10)?)?,
        _ => return None,
    };
    Some((c.to_string().into_bytes(), length + 1))
}

fn backslash(after: &[u8]) -> Unescaped {
    let c = match after.first()? {
        b'u' | b'U' => return unicode(&after[1..]).map(|(c, length)| (c, length + 1)),
        b'x' | b'X' => return percent(&after[1..]).map(|(byte, _)| (byte, 3)),
        b'n' | b'r' | b't' | b'b' | b'f' => b' ',
        // An escaped backslash may begin another escape, which the next layer decodes.
        other @ (b'"' | b'\\' | b'/' | b'\'') => *other,
        _ => return None,
    };
    Some((vec![c], 1))
}

/// Decodes `00e9`, `d83d\ude00` or, as Rust writes it, `{1f600}`.
fn unicode(after: &[u8]) -> Unescaped {
    if let Some(braced) = after.strip_prefix(b"{") {
        let length = braced.iter().take(7).position(|byte| *byte == b'}')?;
        let c = char::from_u32(number(&braced[..length], 16)?)?;
        return Some((c.to_string().into_bytes(), length + 2));
    }
    let first = number(after.get(..4)?, 16)?;
    if let Some(c) = char::from_u32(first) {
        return Some((c.to_string().into_bytes(), 4));
    }
    let second = after.get(4..10)?;
    let second = second.strip_prefix(b"\\u").or_else(|| second.strip_prefix(b"\\U"))?;
    let units = [u16::try_from(first).ok()?, u16::try_from(number(second, 16)?).ok()?];
    Some((String::from_utf16(&units).ok()?.into_bytes(), 10))
}

fn line_break(after: &[u8]) -> Unescaped {
    const LONGEST: usize = 8;
    let length = after.iter().take(LONGEST).position(|byte| *byte == b'>')?;
    let name = after[..length].to_ascii_lowercase();
    (name.starts_with(b"br") || name.starts_with(b"wbr")).then(|| (Vec::new(), length + 1))
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    if !digits.first()?.is_ascii_alphanumeric() {
        // `from_str_radix` would accept a sign.
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests;
