//! Faults on demand.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::{Response, StatusCode};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::answer::Answer;
use crate::endpoint::Endpoint;

/// What goes wrong with a request. The request has no effect: nothing is registered, no nonce is spent. The exceptions
/// are [`Delay`](Fault::Delay), [`Patch`](Fault::Patch) and [`StaleNonce`](Fault::StaleNonce).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// An answer with this status.
    Status {
        /// 200 to 999.
        code: u16,
        /// The `Retry-After` header: seconds, a date, or anything else.
        #[serde(default)]
        retry_after: Option<String>,
        /// The body.
        #[serde(default, deserialize_with = "text")]
        body: Vec<u8>,
    },
    /// An answer with any status, headers and body.
    Answer {
        /// 200 to 999.
        code: u16,
        /// Names and values.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// The body.
        #[serde(default, deserialize_with = "text")]
        body: Vec<u8>,
    },
    /// The normal answer, with other fields: these are added or replaced, and those that are `null` are removed. A
    /// refusal is not changed.
    Patch {
        /// The fields.
        fields: Map<String, Value>,
    },
    /// The normal answer, after this delay.
    #[serde(deserialize_with = "millis")]
    Delay(Duration),
    /// The connection is reset (TCP RST) without an answer.
    Reset,
    /// The connection ends before the body is as long as `Content-Length` says.
    HalfBody,
    /// 200, and a body that is not JSON.
    Garbage,
    /// Bytes that are not HTTP, then the end of the connection.
    NotHttp,
    /// 200, and JSON with a string that is not valid UTF-8.
    InvalidUtf8,
    /// 200, and a body that continues until the client disconnects, at most 64 MiB or 30 seconds.
    EndlessBody,
    /// A redirect.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        code: u16,
        /// The `Location` header.
        location: String,
    },
    /// At [`Endpoint::Challenge`]: a nonce that has already been used, so the registration is refused. Other endpoints
    /// answer normally.
    StaleNonce,
    /// No answer until the client disconnects or the server stops.
    Hang,
}

impl Fault {
    /// [`Fault::Status`] without a `Retry-After` and without a body.
    pub fn status(code: u16) -> Self {
        Self::Status { code, retry_after: None, body: Vec::new() }
    }

    /// The answer that replaces the normal one, if this fault has one. An error says what HTTP does not allow in it.
    pub(crate) fn answer(&self) -> Result<Option<Answer>, String> {
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let (code, headers, body) = match self {
            Self::Status { code, retry_after, body } => (
                *code,
                retry_after.iter().flat_map(|value| header("retry-after", value)).collect(),
                body.clone(),
            ),
            Self::Answer { code, headers, body } => (*code, headers.clone(), body.clone()),
            Self::Redirect { code, location } => (*code, header("location", location), Vec::new()),
            Self::Garbage => {
                (200, header("content-type", "application/json"), b"<html>not JSON</html>".to_vec())
            }
            Self::InvalidUtf8 => {
                (200, header("content-type", "application/json"), b"{\"nonce\":\"\xC3\x28\"}".to_vec())
            }
            _ => return Ok(None),
        };
        let status = StatusCode::from_u16(code).ok().filter(|status| !status.is_informational());
        let mut answer = Response::builder()
            .status(status.ok_or_else(|| format!("{code} is not the status of an answer"))?);
        for (name, value) in headers {
            answer = answer.header(name, value);
        }
        answer.body(body.into()).map(Some).map_err(|error| error.to_string())
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Answer { .. } => "answer",
            Self::Patch { .. } => "patch",
            Self::Delay(_) => "delay",
            Self::Reset => "reset",
            Self::HalfBody => "half body",
            Self::Garbage => "garbage",
            Self::NotHttp => "not HTTP",
            Self::InvalidUtf8 => "invalid UTF-8",
            Self::EndlessBody => "endless body",
            Self::Redirect { .. } => "redirect",
            Self::StaleNonce => "stale nonce",
            Self::Hang => "hang",
        }
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    String::deserialize(deserializer).map(String::into_bytes)
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    struct Delay {
        millis: u64,
    }
    Delay::deserialize(deserializer).map(|delay| Duration::from_millis(delay.millis))
}

/// The injected faults, in the order of injection.
#[derive(Default)]
pub(crate) struct Faults {
    queue: VecDeque<Injected>,
}

struct Injected {
    endpoint: Endpoint,
    fault: Fault,
    /// `u32::MAX`: until cleared.
    times: u32,
}

impl Faults {
    pub(crate) fn inject(&mut self, endpoint: Endpoint, fault: Fault, times: u32) {
        if times > 0 {
            self.queue.push_back(Injected { endpoint, fault, times });
        }
    }

    /// The fault for a request to `endpoint` that has just arrived.
    pub(crate) fn next(&mut self, endpoint: Endpoint) -> Option<Fault> {
        let at = self.queue.iter().position(|injected| injected.endpoint == endpoint)?;
        let injected = &mut self.queue[at];
        match injected.times {
            u32::MAX => Some(injected.fault.clone()),
            1 => self.queue.remove(at).map(|injected| injected.fault),
            _ => {
                injected.times -= 1;
                Some(injected.fault.clone())
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }
}
