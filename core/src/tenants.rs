//! The nodes of one runtime, and what happens to them when its thread dies.
//!
//! The thread dies when the host breaks it: for example, tokio panics when a host closes file descriptors that it does
//! not own. The nodes then end with [`ErrorCode::Panic`] instead of hanging.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crate::error::{Error, ErrorCode, Result};
use crate::latch::{Latch, OpenOnDrop, latch};
use crate::log::log;
use crate::state::store::Store;
use crate::thread::{Thread, ThreadId};

#[derive(Default)]
pub(crate) struct Tenants {
    state: Mutex<State>,
    /// The thread of the runtime, once it has started.
    thread: OnceLock<Arc<ThreadId>>,
}

#[derive(Default)]
struct State {
    runtime_is_dead: bool,
    nodes: BTreeMap<u64, Tenant>,
    last_number: u64,
}

struct Tenant {
    store: Weak<Store>,
    _running: OpenOnDrop,
}

impl Tenants {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(&self, thread: &Thread) {
        let _ = self.thread.set(thread.id());
    }

    /// Whether the runtime is alive. If it is not, its nodes have ended when this returns.
    pub(crate) fn runtime_is_alive(&self) -> bool {
        if self.thread.get().is_some_and(|thread| thread.is_gone()) {
            self.evict();
        }
        !self.lock().runtime_is_dead
    }

    /// Adds a node. The latch opens when its [`Tenancy`] is dropped or the runtime dies.
    pub(crate) fn add(self: &Arc<Self>, store: &Arc<Store>) -> Result<(Tenancy, Latch)> {
        let mut state = self.lock();
        if state.runtime_is_dead {
            return Err(runtime_died());
        }
        let (running, ended) = latch();
        state.last_number += 1;
        let number = state.last_number;
        state.nodes.insert(number, Tenant { store: Arc::downgrade(store), _running: running });
        Ok((Tenancy { tenants: Arc::clone(self), number }, ended))
    }

    /// Ends every node, because the runtime is dead.
    pub(crate) fn evict(&self) {
        let nodes = {
            let mut state = self.lock();
            if std::mem::replace(&mut state.runtime_is_dead, true) {
                return;
            }
            std::mem::take(&mut state.nodes)
        };
        if nodes.is_empty() {
            return;
        }
        let error = runtime_died();
        log!(Error, "runtime", "{error}");
        for tenant in nodes.into_values() {
            if let Some(store) = tenant.store.upgrade() {
                // To wake a task of a broken runtime may panic, after the state has changed.
                let _ = catch_unwind(AssertUnwindSafe(|| store.stop(Some(error.clone()))));
                store.end_waits();
            }
        }
    }

    /// Calls `wake`, which may wake a task of the runtime. A panic in it means that the runtime is dead.
    pub(crate) fn wake<R>(&self, wake: impl FnOnce() -> R) -> Result<R> {
        self.runtime_is_alive();
        catch_unwind(AssertUnwindSafe(wake)).map_err(|_| {
            self.evict();
            runtime_died()
        })
    }
}

/// Membership of a running node. The node leaves when it is dropped.
pub(crate) struct Tenancy {
    tenants: Arc<Tenants>,
    number: u64,
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        let ended = self.tenants.lock().nodes.remove(&self.number);
        drop(ended);
    }
}

fn runtime_died() -> Error {
    Error::new(
        ErrorCode::Panic,
        "the library's runtime thread has died, and its nodes with it; stop this node and start a new one",
    )
}
