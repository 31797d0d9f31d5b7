//! Whether a text repeats a secret, in whatever form.
//!
//! An answer may repeat the credentials in an encoding of its own, cut or wrapped, so there is no form to search
//! for. Instead the text is decoded in every way that is known, and the secrets are encoded in the ways that lose
//! something when the case is changed. If eight bytes in a row are in both, the text is not shown at all.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use zeroize::Zeroizing;

use crate::foreign::is_invisible;

/// As many bytes of a secret in a row must not be shown.
const RUN: usize = 8;
/// A shorter secret is in every text by chance.
const MIN_SECRET: usize = 4;
/// How many encodings of a text are undone, one after the other.
const MAX_LAYERS: usize = 3;

/// Reads base64 that was cut anywhere.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Whether `text` has [`RUN`] bytes in a row of one of the secrets, or the whole of a shorter one.
///
/// `text` is what will be shown: short, and cut already.
pub(crate) fn repeats(text: &str, secrets: &[Zeroizing<Vec<u8>>]) -> bool {
    let mut readings = Readings::default();
    readings.add(text.as_bytes(), MAX_LAYERS);
    secrets.iter().any(|secret| readings.have(secret))
}

/// Everything that a text may say, in lowercase and without what wraps lines.
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
            // What is shorter than a run was no encoding of one.
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

/// A secret, and what two encodings make of it that cannot be undone once their case was changed.
fn forms(secret: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    /// The second encoding of a long secret would cost more than it is likely to find.
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

/// Lowercase, also beyond ASCII.
fn lowercase(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().to_lowercase().as_bytes());
        out.extend_from_slice(chunk.invalid());
    }
    out
}

/// Lowercase, without white space, control characters and the padding and the other alphabet of base64.
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

/// Lowercase, and nothing but letters and digits: whatever lines are wrapped or quoted with.
fn alphanumeric(text: &[u8]) -> Vec<u8> {
    let text = text.utf8_chunks().flat_map(|chunk| chunk.valid().chars());
    text.filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>().into_bytes()
}

/// The text as numbers, one for each byte: `83, 51`, `0x53 0x33`, `53:33`, `%u0053%u0033`, `\123\063`, `&#83 &#51`.
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

/// The text as hex, from each of the two digits on that can be the first one of a byte.
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

/// The text as base64 of either alphabet, from each of the four digits on that can be the first one of a group.
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
            // One digit alone is no byte.
            let end = if groups.len() % 4 == 1 { groups.len() - 1 } else { groups.len() };
            found.extend(LENIENT.decode(&groups[..end]));
        }
    }
    found
}

/// Undoes percent-encoding alone.
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

/// Undoes percent-encoding, the character references of HTML, and the escapes of JSON and of Rust. HTML's tags
/// for a line break are left out.
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

/// What stands for a character, and how many bytes of the text that takes.
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
        // An escaped backslash may begin another escape: one layer at a time.
        other @ (b'"' | b'\\' | b'/' | b'\'') => *other,
        _ => return None,
    };
    Some((vec![c], 1))
}

/// `00e9`, `d83d\ude00` or, as Rust writes it, `{1f600}`.
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
        // A sign, which the parser of numbers would accept.
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests;
