//! Replays the inputs that the fuzzers of `tests/fuzz` have found, and variations of them, on stable Rust. The
//! properties are in `fuzzing.rs`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use posemesh_node_registration::fuzzing;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// How long each target receives variations. They are the same in every run.
const TIME: Duration = Duration::from_secs(2);

fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let mut files: Vec<_> =
        fs::read_dir(&directory).expect("a corpus").map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 5, "{} has a corpus", directory.display());
    let corpus: Vec<_> = files.iter().map(|file| fs::read(file).expect("a file")).collect();
    let check = |input: &[u8]| {
        let checked = catch_unwind(AssertUnwindSafe(|| check(input)));
        assert!(checked.is_ok(), "the input is {}", input.escape_ascii());
    };
    corpus.iter().for_each(|input| check(input));
    let (mut random, began) = (StdRng::seed_from_u64(1), Instant::now());
    while began.elapsed() < TIME {
        check(&variation(&corpus, &mut random));
    }
}

/// An input of the corpus with a few changes.
fn variation(corpus: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut input = corpus[random.gen_range(0..corpus.len())].clone();
    for _ in 0..random.gen_range(1..4) {
        let at = random.gen_range(0..=input.len());
        match random.gen_range(0..5) {
            0 => input.truncate(at),
            1 => input.insert(at, random.r#gen()),
            2 if at < input.len() => input[at] ^= 1 << random.gen_range(0..8),
            3 => {
                let end = random.gen_range(at..=input.len());
                drop(input.drain(at..end));
            }
            _ => {
                let other = &corpus[random.gen_range(0..corpus.len())];
                let start = random.gen_range(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[start..]);
            }
        }
    }
    input
}

#[test]
fn callback() {
    replay("callback", fuzzing::callback);
}

#[test]
fn challenge() {
    replay("challenge", fuzzing::challenge);
}

#[test]
fn record() {
    replay("record", fuzzing::record);
}

#[test]
fn frames() {
    replay("frames", fuzzing::frames);
}

#[test]
fn redaction() {
    replay("redaction", fuzzing::redaction);
}

#[test]
fn headers() {
    replay("headers", fuzzing::headers);
}

#[test]
fn options() {
    replay("options", fuzzing::options);
}
