//! Times as DDS and the records of a state write them: RFC 3339.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The time since 1970, which is zero for earlier ones. `None`: the text is not a time.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    // Between date and time, the parser of the time crate accepts any byte.
    if !matches!(text.as_bytes().get("1970-01-01".len()), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let since_1970 = OffsetDateTime::parse(text, &Rfc3339).ok()? - OffsetDateTime::UNIX_EPOCH;
    Some(Duration::try_from(since_1970).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_fractions_and_other_separators_are_times() {
        for (text, nanos) in [
            ("1970-01-01T00:00:01Z", 1_000_000_000),
            ("1970-01-01T00:00:01.000000002Z", 1_000_000_002),
            ("1970-01-01T02:00:01.5+02:00", 1_500_000_000),
            ("1969-12-31T23:00:00-01:00", 0),
            ("1970-01-01t00:00:00z", 0),
            // RFC 3339, section 5.6, permits a space.
            ("1970-01-01 00:00:01Z", 1_000_000_000),
            ("1500-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        let last = parse("9999-12-31T23:59:59Z").expect("a time");
        assert_eq!(last.as_secs(), 253_402_300_799);
    }

    #[test]
    fn anything_else_is_not_a_time() {
        for text in [
            "",
            "now",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-01-02 03:04:05 UTC",
            "2026-01-02T03:04:05+0000",
            "2026-01-02X03:04:05Z",
            "2026-01-02\n03:04:05Z",
            "2026-01-02é03:04:05Z",
            "2026-01-02T03:04:60Z",
            "2026-1-2T3:4:5Z",
            "2026-13-02T03:04:05Z",
            "2026-02-30T03:04:05Z",
            "2026-01-02T03:04:05Z ",
            "1767323045",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
