//! What to say about the name of an option that does not exist.

use std::mem;

use super::option::cut;

/// Completes the error for an unknown name: lists the known ones, and says which of them was probably meant.
///
/// Case, `_` and `-` do not count, so that the spellings of other languages are recognized. A quarter of the other
/// characters may be wrong.
pub(crate) fn suggestion(given: &str, known: &[&str]) -> String {
    let given = plain(&cut(given));
    let near = known.iter().filter_map(|name| {
        let plain = plain(name);
        let distance = distance(&given, &plain);
        (distance * 4 <= given.len().max(plain.len())).then_some((distance, *name))
    });
    let mut text = format!("the options are {}", known.join(", "));
    if let Some((_, name)) = near.min() {
        text += &format!("; did you mean {name}?");
    }
    text
}

fn plain(name: &str) -> Vec<char> {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// How many characters must be inserted, removed or replaced to make one name the other (Levenshtein).
fn distance(from: &[char], to: &[char]) -> usize {
    // The distances between the characters of `from` so far and each start of `to`.
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, a) in from.iter().enumerate() {
        let mut diagonal = mem::replace(&mut row[0], above + 1);
        for (left, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[left + 1];
            row[left + 1] = replaced.min(diagonal + 1).min(row[left] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["reg_secret", "state_dir", "state_url", "max_concurrency"];
    const LISTED: &str = "the options are reg_secret, state_dir, state_url, max_concurrency";

    #[test]
    fn the_nearest_name_is_suggested() {
        for (given, expected) in [
            ("reg_secrets", "reg_secret"),
            ("regSecret", "reg_secret"),
            ("REG-SECRET", "reg_secret"),
            ("reg_sceret", "reg_secret"),
            ("max_concurency", "max_concurrency"),
            ("stat_url", "state_url"),
            ("reg_secr", "reg_secret"),
        ] {
            assert_eq!(suggestion(given, KNOWN), format!("{LISTED}; did you mean {expected}?"), "{given}");
        }
    }

    #[test]
    fn without_a_near_name_none_is_suggested() {
        for given in ["", "_", "s", "reg", "secret", "directory", &"reg_secret".repeat(1000)] {
            assert_eq!(suggestion(given, KNOWN), LISTED, "{given}");
        }
    }

    #[test]
    fn distances() {
        for (from, to, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(&plain(from), &plain(to)), expected, "{from} {to}");
        }
    }
}
