//! Who may call a node's own callback server: the options `callback_allow` and `trusted_proxies`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::routes::Response;
use super::warnings::Warnings;
use crate::config::{Networks, Settings};

const FORWARDED_FOR: &str = "x-forwarded-for";
const REASON: &str = "the caller's address is not allowed";

/// Which addresses may call.
#[derive(Default)]
pub(crate) struct Access {
    /// Without it, everyone may.
    allowed: Option<Networks>,
    /// Proxies, which call for others.
    proxies: Option<Networks>,
}

impl Access {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { allowed: settings.callback_allow.clone(), proxies: settings.trusted_proxies.clone() }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.as_ref().is_some_and(|proxies| proxies.contains(address))
    }

    fn allows(&self, address: IpAddr) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.contains(address))
    }

    /// The address for which the proxy `peer` calls: the last one in `X-Forwarded-For` that is not a trusted proxy. If
    /// all are, the first one. `None` if an entry after it is not an address.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = peer;
        // Each proxy appends the address that called it, to the last line or as a line of its own.
        for line in headers.get_all(FORWARDED_FOR).iter().rev() {
            for entry in line.to_str().ok()?.rsplit(',') {
                client = parse(entry.trim())?;
                if !self.trusts(client) {
                    return Some(client);
                }
            }
        }
        Some(client)
    }
}

/// An address, which some proxies write with a port.
fn parse(entry: &str) -> Option<IpAddr> {
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    entry.parse().ok().or_else(bracketed).or_else(with_port)
}

/// The peer of one connection.
pub(super) struct Caller {
    peer: IpAddr,
    access: Arc<Access>,
    standing: Standing,
}

#[derive(PartialEq)]
enum Standing {
    Allowed,
    Refused,
    /// Each request has to be checked.
    Proxy,
}

impl Caller {
    pub(super) fn new(peer: IpAddr, access: &Arc<Access>) -> Self {
        let standing = match access.trusts(peer) {
            true if access.allowed.is_some() => Standing::Proxy,
            _ if access.allows(peer) => Standing::Allowed,
            _ => Standing::Refused,
        };
        Self { peer: peer.to_canonical(), access: Arc::clone(access), standing }
    }

    /// Whether every request on the connection is refused.
    pub(super) fn is_refused(&self) -> bool {
        self.standing == Standing::Refused
    }

    /// Logs that a connection is closed because its requests would be refused.
    pub(super) fn report_refused(&self, warnings: &Warnings) {
        self.warn(Some(self.peer), warnings);
    }

    /// The response to a request that is refused.
    pub(super) fn refuse(&self, headers: &HeaderMap, warnings: &Warnings) -> Option<Response> {
        let client = match self.standing {
            Standing::Allowed => return None,
            Standing::Refused => Some(self.peer),
            Standing::Proxy => self.access.client(self.peer, headers),
        };
        if client.is_some_and(|client| self.access.allows(client)) {
            return None;
        }
        self.warn(client, warnings);
        let mut response = Response::new(Full::from(REASON));
        *response.status_mut() = StatusCode::FORBIDDEN;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.is_refused() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Some(response)
    }

    fn warn(&self, client: Option<IpAddr>, warnings: &Warnings) {
        let peer = self.peer;
        let via = Via((self.standing == Standing::Proxy).then_some(peer));
        match client {
            Some(client) => warnings.write(
                "not allowed",
                format_args!(
                    "a request from {client}{via} was refused: callback_allow does not contain the address"
                ),
            ),
            None => warnings.write(
                "bad forwarded",
                format_args!("a request{via} was refused: an address in its X-Forwarded-For is malformed"),
            ),
        }
    }
}

/// The proxy of a request, in a sentence.
struct Via(Option<IpAddr>);

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |proxy| write!(f, " through the proxy {proxy}"))
    }
}
