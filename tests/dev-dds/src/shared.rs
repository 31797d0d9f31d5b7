//! The state that the server's thread shares with the owner of a [`DevDds`](crate::DevDds).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hyper::header::HeaderValue;
use rand::Rng;
use rand::distributions::Alphanumeric;
use rand::rngs::OsRng;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::builder::Settings;
use crate::callback::NodeUrl;
use crate::challenge::Challenges;
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::fault::{Fault, Faults};
use crate::identity::Identity;
use crate::peer_challenge::PeerChallenges;
use crate::record::Record;
use crate::registry::Registry;
use crate::tokens::Tokens;

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// `127.0.0.1:PORT`
    pub(crate) authority: String,
    pub(crate) started: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

pub(crate) struct State {
    pub(crate) challenges: Challenges,
    pub(crate) peer_challenges: PeerChallenges,
    pub(crate) registry: Registry,
    pub(crate) tokens: Tokens,
    pub(crate) faults: Faults,
    pub(crate) record: Record,
    node: NodePlace,
    /// The secret of every callback. `None`: another one for each registration.
    pub(crate) secret: Option<String>,
    pub(crate) last_secret: Option<String>,
    changes: u64,
}

/// The URL of the callback servers of nodes that did not register with one.
#[derive(Clone)]
enum NodePlace {
    /// [`Settings::find_node`] returns it.
    Found,
    At(NodeUrl),
    /// No node is called, even if it registered with a URL.
    Nowhere,
}

impl State {
    /// The secret of future callbacks. `None`: a new one for each registration.
    pub(crate) fn set_secret(&mut self, secret: Option<String>) {
        self.secret = secret;
        self.registry.forget_secrets();
    }

    /// Removes a node, and revokes its tokens.
    pub(crate) fn forget(&mut self, node: Identity) {
        self.registry.forget(node);
        self.tokens.revoke(node);
    }

    pub(crate) fn forget_all(&mut self) {
        self.registry.forget_all();
        self.tokens = Tokens::default();
    }
}

impl Shared {
    pub(crate) fn new(settings: Settings, authority: String, node_url: Option<NodeUrl>) -> Self {
        let state = State {
            challenges: Challenges::default(),
            peer_challenges: PeerChallenges::default(),
            registry: Registry::default(),
            tokens: Tokens::default(),
            faults: Faults::default(),
            record: Record::default(),
            node: node_url.map_or(NodePlace::Found, NodePlace::At),
            secret: settings.secret.clone(),
            last_secret: None,
            changes: 0,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Self { settings, authority, started: Instant::now(), state, changed }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock())
    }

    /// Changes the state and wakes every waiter.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        state.changes += 1;
        let result = change(&mut state);
        self.changed.notify_all();
        result
    }

    /// Waits until `condition` holds. It is called again after every change, without the lock, so it may read the
    /// state.
    pub(crate) fn wait_for(&self, timeout: Duration, condition: impl Fn() -> bool) -> bool {
        let started = Instant::now();
        loop {
            let seen = self.read(|state| state.changes);
            if condition() {
                return true;
            }
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return false;
            }
            let unchanged = |state: &mut State| state.changes == seen;
            drop(self.changed.wait_timeout_while(self.lock(), left, unchanged));
        }
    }

    pub(crate) fn emit(&self, event: Event) {
        if let Some(on_event) = &self.settings.on_event {
            on_event(&event);
        }
    }

    pub(crate) fn inject(&self, endpoint: Endpoint, fault: Fault, times: u32) -> Result<(), String> {
        fault.answer()?;
        self.change(|state| state.faults.inject(endpoint, fault, times));
        Ok(())
    }

    pub(crate) fn set_challenge(&self, overrides: Option<Value>) -> Result<(), String> {
        let overrides: Option<Map<String, Value>> = match overrides {
            None | Some(Value::Null) => None,
            Some(Value::Object(fields)) => Some(fields),
            Some(other) => return Err(format!("{other} is not a JSON object")),
        };
        self.change(|state| state.challenges.overrides = overrides);
        Ok(())
    }

    pub(crate) fn set_node_url(&self, url: Option<String>) -> Result<(), String> {
        let url: Option<NodeUrl> = url.map(|url| url.parse()).transpose()?;
        self.change(|state| state.node = url.map_or(NodePlace::Nowhere, NodePlace::At));
        Ok(())
    }

    /// The URL of the callback server of a node.
    pub(crate) fn node_url(&self, node: Option<Identity>) -> Option<NodeUrl> {
        let (place, own) =
            self.read(|state| (state.node.clone(), node.and_then(|node| state.registry.url(node).cloned())));
        match place {
            NodePlace::Nowhere => None,
            _ if own.is_some() => own,
            NodePlace::At(url) => Some(url),
            // Without the lock, because this calls code of the host.
            NodePlace::Found => {
                let url = self.settings.find_node.as_ref()?(&node?.to_string(), &self.url())?;
                url.parse().map_err(|why| self.emit(Event::NodeUnreachable { why })).ok()
            }
        }
    }

    /// The time on this server's clock.
    pub(crate) fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + time::Duration::seconds(self.settings.clock_offset_secs.into())
    }

    /// The time on this server's clock, `ahead` from now, in RFC 3339.
    pub(crate) fn timestamp(&self, ahead: Duration) -> String {
        let ahead = time::Duration::try_from(ahead).unwrap_or(time::Duration::MAX);
        let time = self.now().saturating_add(ahead);
        time.format(&Rfc3339).expect("a year that RFC 3339 can express")
    }

    /// The `Date` header of an answer, on this server's clock.
    pub(crate) fn date(&self) -> HeaderValue {
        let offset = Duration::from_secs(self.settings.clock_offset_secs.unsigned_abs().into());
        let now = SystemTime::now();
        let now = if self.settings.clock_offset_secs < 0 { now - offset } else { now + offset };
        HeaderValue::from_str(&httpdate::fmt_http_date(now)).expect("a date is visible ASCII")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Letters and digits, for nonces, secrets and tokens.
pub(crate) fn random_text(length: usize) -> String {
    OsRng.sample_iter(Alphanumeric).take(length).map(char::from).collect()
}
