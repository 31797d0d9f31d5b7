//! Why a request to the store failed, in words that help an operator.

use std::io;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::config::StateUrl;
use crate::error::{Error, ErrorCode};
use crate::foreign::foreign_error;
use crate::share::remote::{OPERATION_TIMEOUT, presentable};

pub(super) enum Failure {
    Unreachable(io::Error),
    Tls(io::Error),
    /// No response came in time.
    Silent,
    /// The server is a copy of another one.
    Replica,
    Server(RedisError),
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self::Server(error)
    }
}

impl Failure {
    pub(super) fn to_error(&self, url: &StateUrl, key: &str) -> Error {
        let why = match self {
            Self::Unreachable(error) => format!("cannot connect: {}", foreign_error(error)),
            Self::Tls(error) => {
                format!(
                    "TLS failed: {}; check the scheme of the URL, its port, and ca_file",
                    foreign_error(error)
                )
            }
            Self::Silent => format!("no response within {} s", OPERATION_TIMEOUT.as_secs()),
            Self::Replica => "the server is a read-only replica; name the primary".into(),
            Self::Server(error) => in_words(error, url, key),
        };
        let failed = Error::new(ErrorCode::Io, format!("state_url {url}: {why}"));
        match self {
            Self::Unreachable(error) => failed.with_os_error(error),
            _ => failed,
        }
    }
}

fn in_words(error: &RedisError, url: &StateUrl, key: &str) -> String {
    let words = presentable(url, error);
    let advice = match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => {
            "check the user and the password"
        }
        _ if is_forbidden(error) => {
            "the user needs ~posemesh-node/* &posemesh-node/* +getrange +set +publish +subscribe +eval +evalsha +script|load"
        }
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => {
            "the server is a read-only replica; name the primary"
        }
        (_, Some("WRONGTYPE")) => {
            return format!("{words}; another program has written the key {key}: rename or delete it");
        }
        (_, Some("OOM")) => "its memory is full",
        (ErrorKind::RESP3NotSupported, _) => "Redis 6 or newer is needed",
        _ => return words,
    };
    format!("{words}; {advice}")
}

/// Whether the user lacks a permission. Since Redis 7, a script that runs into that has no code of its own for it.
pub(super) fn is_forbidden(error: &RedisError) -> bool {
    let in_script = "The user executing the script can't";
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
        || error.detail().is_some_and(|detail| detail.starts_with(in_script))
}
