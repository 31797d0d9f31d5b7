//! Every request of the nodes, for assertions.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use crate::endpoint::Endpoint;

/// The oldest ones go when there are more.
const KEPT: usize = 10_000;

/// A request that arrived. Requests to `/_dev/` are not recorded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// 1 for the first request of this server, 2 for the second…
    pub number: u64,
    /// Which of the three it is, if any.
    pub endpoint: Option<Endpoint>,
    /// `POST`, `GET`…
    pub method: String,
    /// The path, with the query if there is one.
    pub path: String,
    /// Names are in lowercase.
    pub headers: Vec<(String, String)>,
    /// The body, as it came.
    pub body: Vec<u8>,
    /// When it had arrived.
    pub at: SystemTime,
    /// The same on the monotonic clock, since the server started: for the gap between two requests.
    pub since_start: Duration,
    /// What was answered. `None`: nothing yet, or no HTTP (a reset, say).
    pub status: Option<u16>,
}

impl Request {
    /// A header's value; `name` in lowercase.
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
    /// Numbers the request and keeps it.
    pub(crate) fn add(&mut self, request: Request) -> u64 {
        self.last_number += 1;
        if self.requests.len() == KEPT {
            self.requests.pop_front();
        }
        self.requests.push_back(Request { number: self.last_number, ..request });
        self.last_number
    }

    pub(crate) fn answered(&mut self, number: u64, status: u16) {
        // It may be gone: cleared in the meantime.
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
