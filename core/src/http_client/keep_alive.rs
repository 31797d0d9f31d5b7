//! Whether DDS, or a server in front of it, keeps connections open.
//!
//! Some servers close each connection right after the answer without announcing it. A request that reuses such a
//! connection fails, and DDS may have read it, so it must not be sent again. Connections are therefore reused only after
//! a challenge has been answered on a connection that had been open and idle for a while, or after an answer with
//! `Connection: keep-alive`, which most proxies and load balancers send. Such an announcement is believed until the first
//! request on a reused connection fails, in whatever way: from then on, only what has been seen counts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::CONNECTION;
use hyper::{HeaderMap, StatusCode};

use super::connector::LocalAddress;
use super::error::RequestError;

/// A server that closes a connection after an answer has done so by then, and the HTTP client has noticed.
const SETTLED: Duration = Duration::from_millis(100);
/// How long no connection is reused after a reused one failed.
const DISTRUST: Duration = Duration::from_secs(600);

/// What is known about one DDS.
#[derive(Debug, Default)]
pub(crate) struct KeepAlive(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    knowledge: Knowledge,
    /// A request has failed on a reused connection.
    was_misled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Knowledge {
    /// Nothing yet, except the last answer on a connection that was left open, if there was one.
    Unproven { last: Option<Answered>, probing: bool },
    /// Connections stay open.
    Proven,
    /// A reused connection failed.
    Broken { until: Instant },
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Answered {
    /// Identifies the connection.
    local: Option<LocalAddress>,
    at: Instant,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self::Unproven { last: None, probing: false }
    }
}

/// Whether a request can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// It changes nothing at DDS.
    Harmless,
    /// It must not be sent twice.
    Once,
}

/// A request that is about to be sent.
pub(super) struct Attempt<'a> {
    keep_alive: &'a KeepAlive,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// On a new connection.
    Fresh,
    /// On a kept connection, if there is one, to find out whether it still works.
    Probe { former: Option<Answered> },
    /// On a kept connection, if there is one.
    Kept,
}

impl KeepAlive {
    pub(super) fn begin(&self, request: Request, now: Instant) -> Attempt<'_> {
        let mut state = self.lock();
        if let Knowledge::Broken { until } = state.knowledge
            && now >= until
        {
            state.knowledge = Knowledge::default();
        }
        let kind = match &mut state.knowledge {
            Knowledge::Proven => Kind::Kept,
            // One at a time, so that no connection is reused right after it was used.
            Knowledge::Unproven { last, probing }
                if request == Request::Harmless
                    && !*probing
                    && last.is_none_or(|last| now.saturating_duration_since(last.at) >= SETTLED) =>
            {
                *probing = true;
                Kind::Probe { former: *last }
            }
            Knowledge::Unproven { .. } | Knowledge::Broken { .. } => Kind::Fresh,
        };
        Attempt { keep_alive: self, kind }
    }

    /// A request on a reused connection has failed.
    pub(super) fn distrust(&self, now: Instant) {
        let mut state = self.lock();
        state.knowledge = Knowledge::Broken { until: now + DISTRUST };
        state.was_misled = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// Whether the request must open a connection, and close it after the answer.
    pub(super) fn is_fresh(&self) -> bool {
        self.kind == Kind::Fresh
    }

    /// Whether the request may be sent on a connection that has been used before.
    pub(super) fn may_reuse(&self) -> bool {
        matches!(self.kind, Kind::Kept | Kind::Probe { former: Some(_) })
    }

    /// `local`: of the connection that the answer arrived on.
    pub(super) fn answered(self, status: StatusCode, headers: &HeaderMap, local: Option<LocalAddress>) {
        // What answers later requests of a connection may be something else than what answers the first.
        if self.may_reuse() && !status.is_success() {
            return self.failed(Instant::now());
        }
        self.answered_on(local, announces_keep_alive(headers), Instant::now());
    }

    fn answered_on(mut self, local: Option<LocalAddress>, announced: bool, now: Instant) {
        let former = match self.kind {
            Kind::Probe { former } => Some(former),
            Kind::Fresh | Kind::Kept => None,
        };
        self.kind = Kind::Fresh;
        let mut state = self.keep_alive.lock();
        if let Knowledge::Unproven { .. } = state.knowledge {
            let stayed_open = local.is_some() && former.flatten().is_some_and(|former| former.local == local);
            if stayed_open || announced && !state.was_misled {
                state.knowledge = Knowledge::Proven;
            } else if former.is_some() {
                state.knowledge =
                    Knowledge::Unproven { last: Some(Answered { local, at: now }), probing: false };
            }
        }
    }

    pub(super) fn failed_with(self, error: &RequestError) {
        match error {
            // This connection was not a reused one.
            RequestError::Connect(_) => {}
            RequestError::TimedOut | RequestError::Other(_) => self.failed(Instant::now()),
        }
    }

    fn failed(mut self, now: Instant) {
        if self.may_reuse() {
            self.keep_alive.distrust(now);
            self.kind = Kind::Fresh;
        }
    }
}

/// A probe that failed or was cancelled proves nothing.
impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if matches!(self.kind, Kind::Probe { .. }) {
            let mut state = self.keep_alive.lock();
            if let Knowledge::Unproven { .. } = state.knowledge {
                state.knowledge = Knowledge::default();
            }
        }
    }
}

/// RFC 9112, section 9.3. HTTP/1.1 keeps connections open by default, so a server that says so means it.
fn announces_keep_alive(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("keep-alive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Option<LocalAddress> =
        Some(LocalAddress(std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1)));
    const TWO: Option<LocalAddress> =
        Some(LocalAddress(std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2)));

    /// Whether a registration would open a new connection.
    fn is_fresh(keep_alive: &KeepAlive, now: Instant) -> bool {
        keep_alive.begin(Request::Once, now).is_fresh()
    }

    fn proven(now: Instant) -> KeepAlive {
        let keep_alive = KeepAlive::default();
        keep_alive.begin(Request::Harmless, now).answered_on(ONE, false, now);
        let later = now + SETTLED;
        keep_alive.begin(Request::Harmless, later).answered_on(ONE, false, later);
        assert!(!is_fresh(&keep_alive, later));
        keep_alive
    }

    #[test]
    fn an_answer_on_an_idle_connection_proves_that_connections_stay_open() {
        proven(Instant::now());
    }

    #[test]
    fn an_announcement_proves_it_too() {
        let now = Instant::now();
        for request in [Request::Harmless, Request::Once] {
            let keep_alive = KeepAlive::default();
            keep_alive.begin(request, now).answered_on(ONE, true, now);
            assert!(!is_fresh(&keep_alive, now));
        }
        let keep_alive = KeepAlive::default();
        let probe = keep_alive.begin(Request::Harmless, now);
        keep_alive.begin(Request::Once, now).answered_on(TWO, true, now);
        drop(probe);
        assert!(!is_fresh(&keep_alive, now), "a probe that ends later changes nothing");
        keep_alive.begin(Request::Once, now).failed(now);
        keep_alive.begin(Request::Harmless, now).answered_on(ONE, true, now);
        assert!(is_fresh(&keep_alive, now), "it is not believed after a failure");
        let later = now + DISTRUST;
        keep_alive.begin(Request::Harmless, later).answered_on(ONE, true, later);
        assert!(is_fresh(&keep_alive, later), "and never again");
        let later = later + SETTLED;
        keep_alive.begin(Request::Harmless, later).answered_on(ONE, true, later);
        assert!(!is_fresh(&keep_alive, later), "but what has been seen is");
    }

    #[test]
    fn an_announcement_is_an_option_of_the_connection() {
        let announces = |value: &'static str| {
            announces_keep_alive(&HeaderMap::from_iter([(CONNECTION, value.parse().expect("a value"))]))
        };
        assert!(announces("keep-alive") && announces("Keep-Alive") && announces("foo , keep-alive"));
        assert!(!announces("close") && !announces("keep-alive2") && !announces(""));
        assert!(!announces_keep_alive(&HeaderMap::new()));
    }

    #[test]
    fn nothing_else_proves_it() {
        let now = Instant::now();
        for (second, after) in [(TWO, SETTLED), (None, SETTLED)] {
            let keep_alive = KeepAlive::default();
            keep_alive.begin(Request::Harmless, now).answered_on(ONE, false, now);
            keep_alive.begin(Request::Harmless, now + after).answered_on(second, false, now + after);
            assert!(is_fresh(&keep_alive, now + after));
        }
        let keep_alive = KeepAlive::default();
        for _ in 0..2 {
            keep_alive.begin(Request::Harmless, now + SETTLED).answered_on(None, false, now);
        }
        assert!(is_fresh(&keep_alive, now), "connections without an address cannot be identified");
    }

    #[test]
    fn a_connection_is_not_reused_right_after_an_answer() {
        let now = Instant::now();
        let keep_alive = KeepAlive::default();
        let first = keep_alive.begin(Request::Harmless, now);
        assert!(!first.is_fresh());
        assert!(keep_alive.begin(Request::Harmless, now).is_fresh(), "one probe at a time");
        first.answered_on(ONE, false, now);
        assert!(keep_alive.begin(Request::Harmless, now + SETTLED / 2).is_fresh());
        assert!(!keep_alive.begin(Request::Harmless, now + SETTLED).is_fresh());
    }

    #[test]
    fn no_connection_is_reused_for_a_while_after_a_reused_one_failed() {
        let now = Instant::now();
        let keep_alive = proven(now);
        keep_alive.begin(Request::Once, now).failed(now);
        for request in [Request::Harmless, Request::Once] {
            assert!(keep_alive.begin(request, now + DISTRUST / 2).is_fresh());
        }
        assert!(!keep_alive.begin(Request::Harmless, now + DISTRUST).is_fresh(), "probed again");
        assert!(is_fresh(&keep_alive, now + DISTRUST), "but not proven yet");
    }

    #[test]
    fn a_cancelled_probe_proves_nothing_and_blocks_nothing() {
        let now = Instant::now();
        let keep_alive = KeepAlive::default();
        drop(keep_alive.begin(Request::Harmless, now));
        assert!(!keep_alive.begin(Request::Harmless, now).is_fresh());
    }
}
