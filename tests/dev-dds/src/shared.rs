//! What the server's thread and the owner of a [`DevDds`](crate::DevDds) share.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hyper::header::HeaderValue;
use rand::Rng;
use rand::distributions::Alphanumeric;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::builder::Settings;
use crate::callback::NodeUrl;
use crate::challenge::Challenges;
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::fault::{Fault, Faults};
use crate::record::Record;
use crate::registry::Registry;
use crate::tokens::Tokens;
use crate::wallet::Wallet;

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
    pub(crate) registry: Registry,
    pub(crate) tokens: Tokens,
    pub(crate) faults: Faults,
    pub(crate) record: Record,
    node: NodePlace,
    /// The secret of every callback; `None`: one for each registration.
    pub(crate) secret: Option<String>,
    pub(crate) last_secret: Option<String>,
    changes: u64,
}

/// Where the callback servers of nodes are.
#[derive(Clone)]
enum NodePlace {
    /// Where [`Settings::find_node`] finds them.
    Found,
    At(NodeUrl),
    /// No node is called.
    Nowhere,
}

impl State {
    /// The secret of the callbacks to come; `None`: a new one, and another one with each registration.
    pub(crate) fn set_secret(&mut self, secret: Option<String>) {
        self.secret = secret;
        self.registry.forget_secrets();
    }

    /// Loses a node, and with it what it was given.
    pub(crate) fn forget(&mut self, wallet: Wallet) {
        self.registry.forget(wallet);
        self.tokens.revoke(wallet);
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

    /// Changes the state and wakes those who wait for a change.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        state.changes += 1;
        let result = change(&mut state);
        self.changed.notify_all();
        result
    }

    /// Waits until `condition` holds. It is asked again after every change, without the lock, so that it
    /// may read whatever it likes.
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
            Some(other) => return Err(format!("{other} is no JSON object")),
        };
        self.change(|state| state.challenges.overrides = overrides);
        Ok(())
    }

    pub(crate) fn set_node_url(&self, url: Option<String>) -> Result<(), String> {
        let url: Option<NodeUrl> = url.map(|url| url.parse()).transpose()?;
        self.change(|state| state.node = url.map_or(NodePlace::Nowhere, NodePlace::At));
        Ok(())
    }

    /// Where the callback server of the node with this wallet is.
    pub(crate) fn node_url(&self, wallet: Option<Wallet>) -> Option<NodeUrl> {
        let place = self.read(|state| state.node.clone());
        match place {
            NodePlace::At(url) => Some(url),
            NodePlace::Nowhere => None,
            // Not under the lock: it is the host's code.
            NodePlace::Found => {
                let url = self.settings.find_node.as_ref()?(&wallet?.to_string(), &self.url())?;
                url.parse().map_err(|why| self.emit(Event::NodeUnreachable { why })).ok()
            }
        }
    }

    /// RFC 3339, on this server's clock, `ahead` from now.
    pub(crate) fn timestamp(&self, ahead: Duration) -> String {
        let offset = time::Duration::seconds(self.settings.clock_offset_secs.into());
        let ahead = time::Duration::try_from(ahead).unwrap_or(time::Duration::MAX);
        let time = OffsetDateTime::now_utc() + offset;
        let time = time.saturating_add(ahead);
        time.format(&Rfc3339).expect("within the years of RFC 3339")
    }

    /// The `Date` of an answer, on this server's clock.
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
    rand::thread_rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}
