//! What a process and the store tell each other: the value that was last seen there, and what the process adds to it.

use std::sync::Arc;
use std::time::Duration;

use super::remote::{RemoteKey, Swap};
use super::seal::Seal;
use super::term::{Clock, SILENCE};
use super::value::{self, Header, Holder};
use crate::error::{Error, ErrorCode, Result};
use crate::state::callback::Acceptance;
use crate::state::record::{self, Owner, Record};
use crate::state::requests::Request;
use crate::state::store::Store;

/// How long a process that finds an empty store waits before it leads: a leader that is still in its term sees the claim
/// meanwhile, and gives way.
const PROBATION: Duration = Duration::from_secs(1);

pub(super) struct Exchange {
    pub(super) key: Box<dyn RemoteKey>,
    /// The store, for messages.
    place: String,
    seal: Seal,
    owner: Owner,
    pub(super) store: Arc<Store>,
    pub(super) me: Holder,
    pub(super) clock: Clock,
    /// `None` before the first look.
    seen: Option<Seen>,
    /// Since when the header is the same.
    header_since: Duration,
    /// The header to put back into a store that has lost it.
    last_header: Option<Header>,
    greatest_epoch: u64,
    /// The earliest time to lead under a header of our own.
    not_before: Duration,
    /// This process has led, or has seen another one lead.
    pub(super) met_leader: bool,
    /// The revision of the state that the store has, and that this process has from the store.
    pub(super) known: u64,
}

/// What was last seen in the store.
struct Seen {
    value: Option<Vec<u8>>,
    header: Option<Header>,
    /// `None` if there is none, or if it cannot be used.
    record: Option<Record>,
}

/// What happened to a write.
pub(super) enum Written {
    /// The store has it, or had everything already.
    Done,
    /// Another process was faster. What it wrote has been seen.
    Overtaken,
    /// Nothing, because what was last seen may be old, and with it the verdict about a callback.
    Unsure,
}

/// When to write.
#[derive(Clone, Copy, PartialEq)]
enum If {
    True,
    /// If this process knows what the store does not have. `fresh`: the value was looked at just now.
    ItDiffers {
        fresh: bool,
    },
}

impl Exchange {
    pub(super) fn new(
        key: Box<dyn RemoteKey>,
        place: String,
        seal: Seal,
        owner: Owner,
        store: Arc<Store>,
        clock: Clock,
    ) -> Self {
        Self {
            key,
            place,
            seal,
            owner,
            store,
            me: Holder::random(),
            clock,
            seen: None,
            header_since: clock.now(),
            last_header: None,
            greatest_epoch: 0,
            not_before: Duration::ZERO,
            met_leader: false,
            known: 0,
        }
    }

    /// Reads the value.
    pub(super) async fn look(&mut self) -> Result<()> {
        let value = self.key.read().await?;
        self.observe(value)
    }

    /// Takes what is new in a value of the store. Fails if its record cannot be used.
    fn observe(&mut self, value: Option<Vec<u8>>) -> Result<()> {
        if self.seen.as_ref().is_some_and(|seen| seen.value == value && seen.is_usable()) {
            return Ok(());
        }
        let (header, sealed) = match value.as_deref().map(value::decode) {
            None => (None, None),
            Some(None) => (None, Some(Err("it is not a value of this library"))),
            Some(Some((header, sealed))) => (Some(header), Some(Ok(sealed))),
        };
        self.observe_header(header);
        let record = sealed.map(|sealed| self.open(sealed?)).transpose();
        let reconciled = self.store.reconcile(record.as_ref().ok().and_then(Option::as_ref));
        if reconciled.before == self.known {
            self.known = reconciled.after;
        }
        let (record, unusable) = match record {
            Ok(record) => (record, None),
            Err(why) => (None, Some(why)),
        };
        self.seen = Some(Seen { value, header, record });
        match unusable {
            None => Ok(()),
            Some(why) => Err(self.unusable(why)),
        }
    }

    fn observe_header(&mut self, header: Option<Header>) {
        let former = self.seen.as_ref().map(|seen| seen.header);
        if former == Some(header) {
            return;
        }
        self.header_since = self.clock.now();
        if let Some(header) = header {
            self.greatest_epoch = self.greatest_epoch.max(header.epoch);
            self.last_header = Some(header);
            let other = header.holder.is_some_and(|holder| holder != self.me);
            self.met_leader |= other && former.flatten().is_some();
        }
    }

    fn open(&self, sealed: &[u8]) -> std::result::Result<Record, &'static str> {
        let bytes = self.seal.open(sealed).ok_or(
            "it was altered, or sealed with another wallet key or other credentials than those of this process",
        )?;
        match record::decode(&bytes) {
            Ok((owner, record)) if owner.is(&self.owner) => Ok(record),
            Ok(_) => Err("it belongs to a node with another id"),
            Err(record::Unusable::Newer(_)) => Err("a newer version of this library has written it"),
            Err(record::Unusable::Damaged(_)) => Err("it is damaged"),
        }
    }

    fn unusable(&self, why: &str) -> Error {
        Error::new(ErrorCode::Io, format!("state_url {}: the state there cannot be used: {why}", self.place))
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// When this process may lead, if nothing changes in the store. `None` before the first look.
    pub(super) fn may_lead_at(&self) -> Option<Duration> {
        let seen = self.seen.as_ref()?;
        Some(match (seen.header, self.last_header) {
            // It was emptied, and the header will be put back.
            (None, Some(_)) if seen.value.is_none() => return None,
            (None, None) if seen.value.is_none() => self.header_since,
            (Some(Header { holder: None, .. }), _) => self.header_since,
            (Some(Header { holder: Some(holder), .. }), _) if holder == self.me => self.not_before,
            _ => self.header_since + SILENCE,
        })
    }

    /// Makes this process the leader. Returns when that write began; `None` if this process does not lead yet, because
    /// another one was faster or a probation begins.
    pub(super) async fn claim(&mut self) -> Result<Option<Duration>> {
        let began = self.clock.now();
        let never_used = self.last_header.is_none();
        let header =
            Header { epoch: self.greatest_epoch.saturating_add(1), revision: 0, holder: Some(self.me) };
        match self.write(header, Vec::new()).await? {
            Written::Overtaken | Written::Unsure => Ok(None),
            Written::Done if never_used => {
                self.not_before = began + PROBATION;
                Ok(None)
            }
            Written::Done => Ok(Some(began)),
        }
    }

    /// Whether another process leads.
    pub(super) fn is_deposed(&self) -> bool {
        // Nobody can lead under a header that is missing or unreadable: it is written again.
        self.header().is_some_and(|header| header.holder != Some(self.me))
    }

    fn header(&self) -> Option<Header> {
        self.seen.as_ref().and_then(|seen| seen.header)
    }

    /// The leader's next header.
    pub(super) fn next_header(&self, holder: Option<Holder>) -> Header {
        let last = self.last_header.filter(|header| header.holder == Some(self.me));
        let revision = last.map_or(0, |header| header.revision.saturating_add(1));
        Header { epoch: self.greatest_epoch.max(1), revision, holder }
    }

    /// Writes what only this process knows, as a follower: under the header that is there. Decides the callbacks that
    /// wait. Writes nothing if the store has everything. `fresh`: the value was looked at just now.
    pub(super) async fn contribute(&mut self, fresh: bool) -> Result<Written> {
        let requests = self.store.requests().take();
        let Some(seen) = &self.seen else { return self.postpone(requests) };
        let header = match (seen.header, self.last_header) {
            (Some(header), _) if seen.record.is_some() => header,
            (None, Some(header)) if seen.value.is_none() => header,
            // Somebody else's, or nobody's yet.
            _ => return self.postpone(requests),
        };
        self.write_if(If::ItDiffers { fresh }, header, requests).await
    }

    fn postpone(&mut self, requests: Vec<Request>) -> Result<Written> {
        self.known = *self.store.revision().borrow();
        self.store.requests().put_back(requests);
        Ok(Written::Done)
    }

    /// Writes the state under this header, and decides these callbacks.
    pub(super) async fn write(&mut self, header: Header, requests: Vec<Request>) -> Result<Written> {
        self.write_if(If::True, header, requests).await
    }

    async fn write_if(&mut self, condition: If, header: Header, requests: Vec<Request>) -> Result<Written> {
        let own = self.store.reconcile(None);
        let mut record = own.record;
        let verdicts: Vec<_> =
            requests.iter().map(|request| record.accept_secret(request.policy, &request.secret)).collect();
        let seen = self.seen.as_ref();
        let stored = seen.and_then(|seen| seen.record.as_ref());
        let differs = stored.is_none_or(|stored| !record.says_the_same_as(stored));
        if differs || condition == If::True {
            let sealed = self.seal.seal(&record::encode(&self.owner, &record))?;
            let value = value::encode(header, &sealed);
            let expected = seen.and_then(|seen| seen.value.as_deref());
            let swapped = self.key.swap(expected, &value).await;
            // Whether one that has failed took place is not known.
            let outcome = match swapped {
                Ok(Swap::Done) => {
                    // A host's thread may have changed the state meanwhile.
                    self.known = own.after;
                    self.observe(Some(value)).map(|()| Written::Done)
                }
                Ok(Swap::Changed(value)) => self.observe(value).map(|()| Written::Overtaken),
                Err(error) => Err(error),
            };
            if !matches!(outcome, Ok(Written::Done)) {
                self.store.requests().put_back(requests);
                return outcome;
            }
            if verdicts.iter().any(|verdict| matches!(verdict, Acceptance::New(_))) {
                self.key.replicated().await;
            }
        } else if condition == (If::ItDiffers { fresh: false }) && !requests.is_empty() {
            self.store.requests().put_back(requests);
            return Ok(Written::Unsure);
        } else {
            self.known = own.after;
        }
        for (request, verdict) in requests.into_iter().zip(verdicts) {
            request.decide(verdict);
        }
        Ok(Written::Done)
    }

    /// Whether the state has changed since it was last written or found to be in the store.
    pub(super) fn has_news(&self) -> bool {
        *self.store.revision().borrow() != self.known
    }
}

impl Seen {
    /// Whether the record, if there is one, can be used.
    fn is_usable(&self) -> bool {
        self.value.is_none() == self.record.is_none()
    }
}
