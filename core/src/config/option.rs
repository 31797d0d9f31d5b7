//! What one option is: its names, what its values look like, and how a bad value is reported.

use std::fmt;

use crate::error::{Error, Result};

/// One option of a node.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConfigOption {
    /// Its name, as [`Config::set`](crate::Config::set), C and Python know it.
    pub name: &'static str,
    /// The environment variable that [`Config::load_env`](crate::Config::load_env) reads.
    pub env: &'static str,
    /// For secrets: the environment variable that names a file to read the value from.
    pub env_file: Option<&'static str>,
    /// What its values are.
    pub kind: OptionKind,
    /// The value when it is not set.
    pub default: Option<&'static str>,
    /// Whether it must be set.
    pub required: bool,
    /// Whether its value must never be shown.
    pub secret: bool,
    /// What a value must look like; completes the sentence "expected …".
    pub expects: &'static str,
    /// One line of help.
    pub help: &'static str,
}

/// The type of an option's values, for languages that have more than text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionKind {
    /// Any text.
    Text,
    /// A path of the file system.
    Path,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A list of texts, separated by commas where it is one text.
    List,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl ConfigOption {
    /// The text of a value without what was left around it by accident: spaces and line breaks. The text of a secret
    /// is returned as it is.
    ///
    /// `shown_as` is the name under which the user gave the value.
    pub(super) fn text<'a>(&self, shown_as: &str, value: &'a [u8]) -> Result<&'a str> {
        let text = std::str::from_utf8(value)
            .map_err(|_| self.error(shown_as, &Invalid::value("is not UTF-8"), ""))?;
        let problem = if text.trim().is_empty() {
            "is empty"
        } else if text.contains('\0') {
            "contains a NUL character"
        } else {
            return Ok(if self.secret { text } else { text.trim() });
        };
        Err(self.error(shown_as, &Invalid::value(problem), text))
    }

    /// The error for a bad value. It repeats the value unless the value may be or hold a secret.
    pub(super) fn error(&self, shown_as: &str, invalid: &Invalid, value: &str) -> Error {
        if invalid.complete {
            return Error::invalid_config(format!("{shown_as}: {}", invalid.what));
        }
        // A URL may hold a password.
        let hidden = self.secret || invalid.hidden || value.is_empty() || value.contains('@');
        let shown: String = if hidden { String::new() } else { format!(" {:?}", cut(value)) };
        Error::invalid_config(format!("{shown_as}{shown} {}; expected {}", invalid.what, self.expects))
    }
}

/// The start of a text, for an error message.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Why a value is refused. Never holds the value of a secret.
pub(super) struct Invalid {
    what: String,
    /// Whether `what` is a whole sentence that already says what is expected.
    complete: bool,
    /// Whether the value is not to be shown.
    hidden: bool,
}

impl Invalid {
    /// `what` continues a sentence that begins with the option and its value.
    pub(super) fn value(what: impl Into<String>) -> Self {
        Self { what: what.into(), complete: false, hidden: false }
    }

    /// As [`Invalid::value`], for a value that is not to be shown.
    pub(super) fn hidden(what: impl Into<String>) -> Self {
        Self { hidden: true, ..Self::value(what) }
    }

    /// `sentence` already says what is expected.
    pub(super) fn because(sentence: &str) -> Self {
        Self { what: sentence.to_owned(), complete: true, hidden: true }
    }

    /// The value of a choice that does not exist.
    pub(super) fn choice() -> Self {
        Self::value("is not an allowed value")
    }
}

impl fmt::Debug for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
