//! The requests that nodes have sent, for assertions.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use crate::endpoint::Endpoint;

/// The oldest requests are dropped when there are more.
const KEPT: usize = 10_000;

/// A request that arrived. Requests to `/_dev/` are not recorded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// 1 for the first request of this server, 2 for the second…
    pub number: u64,
    /// Its endpoint, if it is a request of the protocol.
    pub endpoint: Option<Endpoint>,
    /// `POST`, `GET` or another.
    pub method: String,
    /// The path, and the query if there is one.
    pub path: String,
    /// Names and values. Names are in lowercase.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// When it had arrived completely.
    pub at: SystemTime,
    /// The same on the monotonic clock, since the server started, to measure the time between requests.
    pub since_start: Duration,
    /// The status of the answer. `None`: no answer yet, or none in HTTP (a reset, for example).
    pub status: Option<u16>,
}

impl Request {
    /// The value of a header. `name` must be in lowercase.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON, if it is JSON.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

#[derive(Default)]
pub(crate) struct Record {
    requests: VecDeque<Request>,
    last_number: u64,
}

impl Record {
    /// Adds a request and returns its number.
    pub(crate) fn add(&mut self, request: Request) -> u64 {
        self.last_number += 1;
        if self.requests.len() == KEPT {
            self.requests.pop_front();
        }
        self.requests.push_back(Request { number: self.last_number, ..request });
        self.last_number
    }

    pub(crate) fn answered(&mut self, number: u64, status: u16) {
        // It may have been cleared in the meantime.
        if let Some(request) = self.requests.iter_mut().rev().find(|request| request.number == number) {
            request.status = Some(status);
        }
    }

    pub(crate) fn all(&self) -> Vec<Request> {
        self.requests.iter().cloned().collect()
    }

    pub(crate) fn clear(&mut self) {
        self.requests.clear();
    }
}
