//! The error type of the library: a stable code with a stable name, and a message for people.

use std::fmt;
use std::io;

use crate::foreign::one_line;

/// A [`std::result::Result`] whose error is this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal;)+) => {
        /// What went wrong, as a number and a name that never change after a release.
        ///
        /// The C header has the same numbers as `PMN_ERR_…`, and Node.js has the same names as `Error.code`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(i32)]
        pub enum ErrorCode { $($(#[doc = $doc])+ $variant = $number,)+ }

        impl ErrorCode {
            /// Every code, ordered by number.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)+];

            /// The stable name, such as `ERR_TIMEOUT`.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorCode::$variant => $name,)+ }
            }
        }
    };
}

error_codes! {
    /// An argument is invalid: null, not UTF-8, or an unknown enum number.
    InvalidArgument = 1, "ERR_INVALID_ARGUMENT";
    /// An option is unknown, missing, or has an invalid value.
    InvalidConfig = 2, "ERR_INVALID_CONFIG";
    /// What was asked for does not exist, such as a secret or a callback server.
    NotFound = 3, "ERR_NOT_FOUND";
    /// The caller's buffer is too small. The length that it needs was returned.
    BufferTooSmall = 4, "ERR_BUFFER_TOO_SMALL";
    /// The timeout of the call expired.
    Timeout = 5, "ERR_TIMEOUT";
    /// The node was stopped.
    Stopped = 6, "ERR_STOPPED";
    /// A node with this wallet and DDS, or with this `state_dir`, is already running in this process.
    AlreadyRunning = 7, "ERR_ALREADY_RUNNING";
    /// The callback server could not bind its address.
    Bind = 8, "ERR_BIND";
    /// An operation on a file, a local socket or a thread failed.
    Io = 9, "ERR_IO";
    /// The node was started by the parent of this process, before a `fork`.
    Forked = 10, "ERR_FORKED";
    /// The call would wait for its own thread, as `stop` would inside a callback.
    WouldDeadlock = 11, "ERR_WOULD_DEADLOCK";
    /// DDS rejected the request.
    Rejected = 12, "ERR_REJECTED";
    /// DDS cannot be reached, or sent no usable response.
    Unavailable = 13, "ERR_UNAVAILABLE";
    /// A panic in this library, which was caught. It is a bug; please report it.
    Panic = 14, "ERR_PANIC";
    /// A bug in this library. Please report it.
    Internal = 15, "ERR_INTERNAL";
}

impl ErrorCode {
    /// The stable number, as in the C header.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The code with this number, if there is one.
    pub fn from_number(number: i32) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().copied().find(|code| code.number() == number)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error: a [`code`](Error::code) for programs, and a message for people that says what to do next.
///
/// No error contains a key, registration credentials, a node secret or a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: ErrorCode,
    message: Box<str>,
    os_error: Option<i32>,
}

impl Error {
    /// Makes an error. The message becomes one line of at most 4096 bytes: control characters are escaped, and a longer
    /// message is truncated.
    pub fn new(code: ErrorCode, message: impl Into<Box<str>>) -> Self {
        Self { code, message: one_line(message.into()), os_error: None }
    }

    /// Adds the number of the operating system's error, if it has one.
    pub(crate) fn with_os_error(mut self, error: &io::Error) -> Self {
        self.os_error = error.raw_os_error();
        self
    }

    /// What went wrong, for programs.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What went wrong, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The number of the operating system's error (`errno`) that caused this one, if there is one.
    pub fn os_error(&self) -> Option<i32> {
        self.os_error
    }

    pub(crate) fn invalid_config(message: impl Into<Box<str>>) -> Self {
        Self::new(ErrorCode::InvalidConfig, message)
    }

    pub(crate) fn stopped() -> Self {
        Self::new(ErrorCode::Stopped, "the node was stopped; start a new one")
    }

    #[cold]
    pub(crate) fn forked() -> Self {
        Self::new(
            ErrorCode::Forked,
            "this node belongs to the process before the fork; start a new one in this process",
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_stable() {
        let table: Vec<_> = ErrorCode::ALL.iter().map(|code| (code.number(), code.name())).collect();
        let numbers: Vec<_> = table.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=15).collect::<Vec<_>>());
        assert!(table.iter().all(|(_, name)| name.starts_with("ERR_")));
        assert_eq!(ErrorCode::from_number(5), Some(ErrorCode::Timeout));
        assert_eq!(ErrorCode::from_number(0), None);
    }
}
