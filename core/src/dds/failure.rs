//! Failed requests to DDS, and what each failure means.

use std::time::{Duration, SystemTime};

use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, StatusCode};

use crate::error::{Error, ErrorCode};
use crate::foreign::one_line;
use crate::metrics::counters::{AttemptOutcome, RequestOutcome, SignInOutcome};

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) class: FailureClass,
    /// What happened, with DDS's own words.
    pub(crate) text: String,
    /// How long DDS asks the node to wait (`Retry-After`).
    pub(crate) retry_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureClass {
    /// Another online node holds the wallet.
    Conflict,
    /// DDS cannot be reached, or its response is unusable.
    Retryable,
    /// DDS refused the request.
    Refused,
    /// DDS refused the signed challenge, because it does not know its nonce.
    UnknownNonce,
    /// DDS does not know the node that signs in, so it has to register again.
    UnknownNode,
}

impl Failure {
    pub(crate) fn retryable(text: String) -> Self {
        Self { class: FailureClass::Retryable, text: one_line(text.into()).into(), retry_after: None }
    }

    pub(crate) fn refused(text: String) -> Self {
        Self { class: FailureClass::Refused, text: one_line(text.into()).into(), retry_after: None }
    }

    pub(crate) fn to_error(&self) -> Error {
        let code = match self.class {
            FailureClass::Retryable => ErrorCode::Unavailable,
            FailureClass::Conflict
            | FailureClass::Refused
            | FailureClass::UnknownNonce
            | FailureClass::UnknownNode => ErrorCode::Rejected,
        };
        Error::new(code, self.text.as_str())
    }
}

impl From<FailureClass> for AttemptOutcome {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::Conflict => Self::Conflict,
            FailureClass::Retryable => Self::Unavailable,
            FailureClass::Refused | FailureClass::UnknownNonce | FailureClass::UnknownNode => Self::Rejected,
        }
    }
}

impl From<FailureClass> for SignInOutcome {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::Conflict | FailureClass::Refused | FailureClass::UnknownNonce => Self::Rejected,
            FailureClass::UnknownNode => Self::UnknownNode,
            FailureClass::Retryable => Self::Unavailable,
        }
    }
}

impl From<FailureClass> for RequestOutcome {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::Conflict
            | FailureClass::Refused
            | FailureClass::UnknownNonce
            | FailureClass::UnknownNode => Self::Rejected,
            FailureClass::Retryable => Self::Unavailable,
        }
    }
}

/// Classifies the status of a response that is not a success.
pub(super) fn classify(status: StatusCode) -> FailureClass {
    match status {
        StatusCode::CONFLICT => FailureClass::Conflict,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => FailureClass::Retryable,
        status if status.is_server_error() => FailureClass::Retryable,
        _ => FailureClass::Refused,
    }
}

/// Returns whether the refusal of a sign-in means that DDS does not know the node, or no longer knows it.
pub(super) fn is_unknown_node(status: StatusCode, words: &str) -> bool {
    status == StatusCode::NOT_FOUND
        || status == StatusCode::FORBIDDEN && words.to_ascii_lowercase().contains("node not found")
}

/// Returns whether a refusal means that DDS does not know the nonce of the challenge, as after a restart of DDS.
pub(super) fn is_unknown_nonce(status: StatusCode, words: &str) -> bool {
    status == StatusCode::UNAUTHORIZED && words.to_ascii_lowercase().contains("nonce")
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds, or an HTTP date.
pub(crate) fn parse_retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(value).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn headers(retry_after: &str) -> HeaderMap {
        HeaderMap::from_iter([(RETRY_AFTER, retry_after.parse().expect("a header value"))])
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let parse = |value| parse_retry_after(&headers(value), now);
        assert_eq!(parse("120"), Some(Duration::from_secs(120)));
        assert_eq!(parse(" 0 "), Some(Duration::ZERO));
        assert_eq!(parse("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:48:37 GMT"), None, "a date that is over");
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("-5"), None);
        assert_eq!(parse_retry_after(&HeaderMap::new(), now), None);
    }
}
