//! Text from outside the library: responses of DDS, names in certificates, messages of the operating system, file
//! contents.
//!
//! Such a text can have any length and any control characters. [`foreign`] truncates and escapes it for a message.
//! [`one_line`] and [`Line`] do the same to every error and log record as a whole, so a text that was not passed
//! through [`foreign`] cannot forge a line or fill a disk either.

use std::error::Error;
use std::fmt::{self, Write};

/// The longest foreign text in a message, in bytes after escaping.
pub(crate) const MAX_FOREIGN: usize = 512;
/// The longest error or log record: a few foreign texts, and the library's own words around them.
pub(crate) const MAX_LINE: usize = 4096;

/// Returns a foreign text with control characters escaped, truncated at a character boundary.
pub(crate) fn foreign(text: impl fmt::Display) -> String {
    escaped(text, MAX_FOREIGN)
}

/// Returns a foreign error with its causes.
pub(crate) fn foreign_error(error: &dyn Error) -> String {
    foreign(Chain(error))
}

/// Returns the whole text of an error on one line.
pub(crate) fn one_line(text: Box<str>) -> Box<str> {
    if text.len() <= MAX_LINE && !text.contains(is_invisible) { text } else { escaped(text, MAX_LINE).into() }
}

/// The text of a log record, on one line.
pub(crate) struct Line<'a>(pub(crate) fmt::Arguments<'a>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The library's own literals have neither control characters nor such a length.
        match self.0.as_str() {
            Some(text) => f.write_str(text),
            None => write_escaped(f, self.0, MAX_LINE),
        }
    }
}

/// Control characters, and characters that break a line or change its direction in a terminal or a log viewer.
pub(crate) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Writes an error and its causes, but no cause that the error before it repeats.
struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = bounded(self.0);
        f.write_str(&shown)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = bounded(error);
            if !shown.ends_with(&text) {
                write!(f, ": {text}")?;
                shown = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

fn bounded(error: &dyn Error) -> String {
    escaped(error, MAX_FOREIGN)
}

fn escaped(text: impl fmt::Display, max: usize) -> String {
    let mut out = String::new();
    write_escaped(&mut out, text, max).expect("writing to a String does not fail");
    out
}

fn write_escaped(out: &mut dyn Write, text: impl fmt::Display, max: usize) -> fmt::Result {
    let mut escaper = Escaper { out, left: max, truncated: false };
    match write!(escaper, "{text}") {
        // Formatting ended where the text was truncated.
        Err(_) if escaper.truncated => escaper.out.write_char('…'),
        result => result,
    }
}

struct Escaper<'a> {
    out: &'a mut dyn Write,
    left: usize,
    truncated: bool,
}

impl Write for Escaper<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.left && !text.contains(is_invisible) {
            self.left -= text.len();
            return self.out.write_str(text);
        }
        for c in text.chars() {
            let invisible = is_invisible(c);
            let length = if invisible { c.escape_default().len() } else { c.len_utf8() };
            if length > self.left {
                self.truncated = true;
                return Err(fmt::Error);
            }
            self.left -= length;
            if invisible {
                write!(self.out, "{}", c.escape_default())?;
            } else {
                self.out.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_is_escaped_and_truncated_at_a_character() {
        assert_eq!(foreign("no\r\nX: \u{1b}[0m\0\u{85}\u{202e}"), r"no\r\nX: \u{1b}[0m\u{0}\u{85}\u{202e}");
        assert_eq!(foreign("b".repeat(512)), "b".repeat(512));
        // A character of three bytes, and an escape, that would cross the limit.
        for last in ["€", "\u{1b}"] {
            assert_eq!(
                foreign(format!("{}{last} and more", "a".repeat(511))),
                format!("{}…", "a".repeat(511))
            );
        }
        assert!(foreign("\u{1b}".repeat(100_000)).len() <= MAX_FOREIGN + '…'.len_utf8());
    }

    #[test]
    fn formatting_ends_where_a_text_is_truncated() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("without end ")?;
                }
            }
        }
        assert_eq!(foreign(Endless).len(), MAX_FOREIGN + '…'.len_utf8());
        assert_eq!(Line(format_args!("{Endless}")).to_string().len(), MAX_LINE + '…'.len_utf8());
    }

    #[test]
    fn a_cause_that_the_error_repeats_is_written_once() {
        let inner = std::io::Error::other("connection\nreset");
        let outer = std::io::Error::other(inner);
        assert_eq!(foreign_error(&outer), r"connection\nreset");
    }

    #[test]
    fn errors_and_log_records_are_one_bounded_line() {
        for bad in ["\r\nforged", &"\u{1b}".repeat(100_000)] {
            let shown = [one_line(bad.into()).into(), Line(format_args!("{bad}")).to_string()];
            for text in shown {
                assert!(text.len() <= MAX_LINE + 3 && !text.contains(is_invisible), "{text}");
            }
        }
        assert_eq!(&*one_line("as it is".into()), "as it is");
    }
}
