//! A key of an etcd, through its JSON gateway. Reads are linearizable, a swap is a transaction, and a watch pushes the
//! changes of other replicas. No lease is used, so no clock of the store decides anything.
//!
//! | file | owns |
//! |---|---|
//! | `message` | what is sent and received |
//! | `gateway` | requests: which server, which token, which error |
//! | `watcher` | the stream of changes |

mod gateway;
mod message;
mod watcher;

use std::path::Path;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::remote::{OPERATION_TIMEOUT, RemoteKey, Reply, Swap};
use crate::config::StateUrl;
use crate::error::Result;
use crate::http_client::DirectClient;
use gateway::Gateway;
use message::{Blob, Event, KeyValue, Range, Ranged, Swapped, Transaction};
use watcher::Watcher;

/// Between two tries to watch.
const PAUSE: Duration = Duration::from_secs(3);

pub(crate) struct EtcdKey {
    gateway: Gateway,
    key: Blob,
    /// The value of the last swap, whose event is not news.
    own: Mutex<Blob>,
    view: watch::Sender<View>,
    watching: tokio::sync::Mutex<Watching>,
}

/// What is known about the store from the last response.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct View {
    /// `None`: it has not responded yet.
    revision: Option<i64>,
    /// How often a watch became worthless: another server is used now, or the store was set back.
    turn: u64,
    server: usize,
}

#[derive(Default)]
struct Watching {
    /// With the turn that it belongs to.
    watcher: Option<(u64, Watcher)>,
    not_before: Option<Instant>,
}

impl EtcdKey {
    /// Reads certificates if it needs them. Connects to nothing.
    pub(crate) fn new(url: &StateUrl, name: &str, ca_file: Option<&Path>) -> Result<Self> {
        let key = if url.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", url.prefix) };
        Ok(Self {
            gateway: Gateway::new(url.clone(), DirectClient::new(url.tls, ca_file)?),
            key: Blob(key.into_bytes()),
            own: Mutex::default(),
            view: watch::Sender::default(),
            watching: tokio::sync::Mutex::default(),
        })
    }

    async fn range(&self) -> Result<Option<Vec<u8>>> {
        let ranged: Ranged = self.seen(self.gateway.call("kv/range", &Range { key: &self.key }).await)?;
        self.responded(ranged.header.revision);
        Ok(value(ranged.kvs))
    }

    async fn compare_and_put(&self, expected: Option<&[u8]>, value: &[u8]) -> Result<Swap> {
        let expected = expected.map(|value| Blob(value.to_vec()));
        let new = Blob(value.to_vec());
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&new);
        let transaction = Transaction::swap(&self.key, expected.as_ref(), &new);
        let swapped: Swapped = self.seen(self.gateway.call("kv/txn", &transaction).await)?;
        self.responded(swapped.header.revision);
        if swapped.succeeded {
            return Ok(Swap::Done);
        }
        let present = swapped.responses.into_iter().find_map(|response| response.response_range);
        Ok(Swap::Changed(present.and_then(|present| self::value(present.kvs))))
    }

    /// After a request that may have changed the server.
    fn seen<T>(&self, result: Result<T>) -> Result<T> {
        let server = self.gateway.server();
        self.view.send_if_modified(|view| {
            let moved = view.server != server;
            view.server = server;
            view.turn += u64::from(moved);
            moved
        });
        result
    }

    fn responded(&self, revision: i64) {
        self.view.send_if_modified(|view| {
            let (first, back) = match view.revision {
                None => (true, false),
                Some(former) => (false, revision < former),
            };
            view.revision = Some(revision);
            view.turn += u64::from(back);
            first || back
        });
    }

    /// Watches until another replica changes the key, or the watch breaks.
    async fn watch(&self) {
        let mut watching = self.watching.lock().await;
        let mut view = self.view.subscribe();
        loop {
            let now = *view.borrow_and_update();
            if watching.watcher.as_ref().is_some_and(|(turn, _)| *turn != now.turn) {
                watching.watcher = None;
            }
            let Some((_, watcher)) = &mut watching.watcher else {
                self.begin(&mut watching, &mut view).await;
                continue;
            };
            tokio::select! {
                events = watcher.next() => match events {
                    Some(events) if events.iter().all(|event| self.is_own(event)) => {}
                    Some(_) => return,
                    None => {
                        watching.watcher = None;
                        return;
                    }
                },
                _ = view.changed() => {}
            }
        }
    }

    /// Opens a watch if the store has responded and it is time. A failure is not reported: without a watch, changes are
    /// noticed later.
    async fn begin(&self, watching: &mut Watching, view: &mut watch::Receiver<View>) {
        if let Some(not_before) = watching.not_before {
            sleep_until(not_before).await;
        }
        let Ok(now) = view.wait_for(|view| view.revision.is_some()).await.map(|view| *view) else { return };
        watching.not_before = Some(Instant::now() + PAUSE);
        let from = now.revision.map_or(0, |revision| revision + 1);
        if let Ok(Ok(watcher)) =
            timeout(OPERATION_TIMEOUT, Watcher::open(&self.gateway, &self.key, from)).await
        {
            watching.watcher = Some((now.turn, watcher));
        }
    }

    fn is_own(&self, event: &Event) -> bool {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        !own.0.is_empty() && event.kv.value == *own
    }
}

impl RemoteKey for EtcdKey {
    fn read(&self) -> Reply<'_, Option<Vec<u8>>> {
        Box::pin(self.range())
    }

    fn swap<'a>(&'a self, expected: Option<&'a [u8]>, value: &'a [u8]) -> Reply<'a, Swap> {
        Box::pin(self.compare_and_put(expected, value))
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.watch())
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            // Only the task that calls this awaits changes.
            if let Ok(mut watching) = self.watching.try_lock() {
                watching.watcher = None;
            }
        })
    }
}

/// The value of the key. The requests are for one key.
fn value(kvs: Vec<KeyValue>) -> Option<Vec<u8>> {
    kvs.into_iter().next().map(|kv| kv.value.0)
}

#[cfg(test)]
mod tests;
