//! What the bindings for other languages need in addition to the Rust API. It may change in any release.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use hyper::Request;
use hyper::body::Bytes;

use crate::config::{self, Config};
use crate::error::Result;
use crate::fork::Generation;
use crate::http;
use crate::http_client::HttpClients;
use crate::log::{self, Level};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::state::store::Store;
use crate::state::wait::Wait;
use crate::state::waiters::Delivery;
use crate::token::AccessToken;

mod handle;

#[doc(inline)]
pub use crate::metrics::families::{Family, Kind, Sample};
#[doc(inline)]
pub use crate::node::callback_url;
pub use handle::{Handled, PendingHandle};
/// A response to a request of DDS.
pub use http::Response;

/// A longer body of a callback is refused with 413, so a host need not read further.
pub const MAX_CALLBACK_BODY: usize = http::MAX_BODY;

/// The path of each route, for routers that need to know it. Which requests a route has is decided by the functions below.
pub const ROUTES: [&str; 2] = http::PATHS;

/// Says whether the log callback had a use for a record of this level, for a host that changes its levels at any time. If
/// it had not, records of this level and less severe ones may arrive up to 20 ms late from now on, so that the thread of
/// the callback wakes once for many. A warning is never late.
pub fn learn_log_interest(level: Level, wanted: bool) {
    log::learn(level, wanted);
}

/// The metrics as a list, with names, kinds and descriptions. Its families and their labels are always the same, so a
/// host may convert the names once.
pub fn metric_families(metrics: &Metrics) -> Vec<Family> {
    metrics.families()
}

/// Completes an error for the name of an option that does not exist, after a semicolon: lists the known ones, and says
/// which of them was probably meant.
pub fn suggestion(given: &str, known: &[&str]) -> String {
    config::suggestion(given, known)
}

/// Checks a configuration as a start does before it uses the network: [`Config::check`], and the files of certificates.
/// Returns the address of the wallet; `None` for a robot.
///
/// # Errors
/// [`ErrorCode::InvalidConfig`](crate::ErrorCode::InvalidConfig), which names the option and the file.
pub fn check(config: &Config) -> Result<Option<String>> {
    let wallet = config.check()?;
    let settings = config.settings()?;
    http::Tls::load(&settings)?;
    HttpClients::default().get(&settings)?;
    Ok(wallet)
}

/// The response to a request that reaches the host's server while there is no node, for example because it has not been
/// started yet: 503 with `Retry-After` and this reason. `None` if the request is not for this library.
pub fn respond_without_node(request: &Request<Bytes>, why: impl Into<Bytes>) -> Option<Response> {
    http::respond_without_node(request, why)
}

/// Waits that call back, requests of DDS from other languages' web servers, and the status and the access token as other
/// languages cache them.
pub trait NodeExt {
    /// Counts the changes of the status, modulo 2³². A host that has converted a status may use the result as long as
    /// the counter still has the value that it had before the status was read. Only
    /// [`Status::next_attempt_in`](crate::Status::next_attempt_in) changes without it. Read it with `Acquire`; only
    /// the library may write to it.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`](crate::ErrorCode::Forked).
    fn status_changes(&self) -> Result<&Arc<AtomicU32>>;

    /// As [`Node::try_access_token`], with the time for which the node will hand the token out. A host may use the token
    /// until that time has passed, by the monotonic clock and by the system's, as long as
    /// [`status_changes`](NodeExt::status_changes) still has the value that it had before this call.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`](crate::ErrorCode::Forked).
    fn try_access_token_for(&self) -> Result<Option<(AccessToken, Duration)>>;

    /// The future of [`Node::wait_registered`] or [`Node::wait_secret`].
    fn wait_for(&self, what: Wait) -> impl Future<Output = Result<()>> + Send + 'static;

    /// As [`Node::wait`], for programs that wait by callback: `done` is called once, on the library's dispatcher
    /// thread, unless the returned [`PendingWait`] is dropped first.
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`](crate::ErrorCode::Stopped), also as the argument of `done` when the node stops
    /// meanwhile; [`ErrorCode::Forked`](crate::ErrorCode::Forked).
    fn wait_then(&self, what: Wait, done: impl FnOnce(Result<()>) + Send + 'static) -> Result<PendingWait>;

    /// As [`wait_then`](NodeExt::wait_then), for a `done` that only passes the result on to a thread of the host's:
    /// it must not block, nor call this library. While the node has no event callback, the thread that ends the wait
    /// may call it at once, which avoids waking the dispatcher; otherwise it is called after the events before it.
    ///
    /// # Errors
    /// As [`wait_then`](NodeExt::wait_then).
    fn wait_then_notify(
        &self,
        what: Wait,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Result<PendingWait>;

    /// As [`Node::access_token`], for programs that wait by callback: `done` is called once, on the library's
    /// dispatcher thread, unless the returned [`PendingWait`] is dropped first.
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`](crate::ErrorCode::Stopped), also as the argument of `done` when the node stops
    /// meanwhile; [`ErrorCode::Forked`](crate::ErrorCode::Forked). `done` may receive
    /// [`ErrorCode::Rejected`](crate::ErrorCode::Rejected).
    fn access_token_then(
        &self,
        done: impl FnOnce(Result<AccessToken>) + Send + 'static,
    ) -> Result<PendingWait>;

    /// As [`Node::handle`], for programs that wait by callback. If the response is there at once, which is the usual
    /// case, it is returned, and `done` is dropped. Otherwise `done` is called once, on the library's dispatcher thread,
    /// unless the returned [`PendingHandle`] is dropped first.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`](crate::ErrorCode::Forked).
    fn handle_or_then(
        &self,
        request: Request<Bytes>,
        done: impl FnOnce(Option<Response>) + Send + 'static,
    ) -> Result<Handled>;

    /// As [`Node::handle`]. Blocks the calling thread until the response is there.
    ///
    /// # Errors
    /// [`ErrorCode::Timeout`](crate::ErrorCode::Timeout), [`ErrorCode::Forked`](crate::ErrorCode::Forked).
    fn handle_within(&self, request: Request<Bytes>, timeout: Duration) -> Result<Option<Response>>;

    /// From now on DDS may call this node through the host's server, so a wait for a secret waits, and a missing call is
    /// reported. The first request that the node handles has the same effect.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`](crate::ErrorCode::Forked).
    fn expect_callbacks(&self) -> Result<()>;
}

impl NodeExt for Node {
    #[inline]
    fn status_changes(&self) -> Result<&Arc<AtomicU32>> {
        Ok(self.store()?.0.status_changes())
    }

    fn try_access_token_for(&self) -> Result<Option<(AccessToken, Duration)>> {
        Ok(self.store()?.0.usable_token_for())
    }

    fn wait_for(&self, what: Wait) -> impl Future<Output = Result<()>> + Send + 'static {
        self.wait_future(what)
    }

    fn wait_then(&self, what: Wait, done: impl FnOnce(Result<()>) + Send + 'static) -> Result<PendingWait> {
        begin(self, what, Delivery::Dispatched, done)
    }

    fn wait_then_notify(
        &self,
        what: Wait,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Result<PendingWait> {
        begin(self, what, Delivery::AtOnce, done)
    }

    fn access_token_then(
        &self,
        done: impl FnOnce(Result<AccessToken>) + Send + 'static,
    ) -> Result<PendingWait> {
        let (store, tenants) = self.store()?;
        let waiter = tenants.wake(|| store.access_token_then(done))??;
        Ok(PendingWait::new(store, waiter))
    }

    fn handle_or_then(
        &self,
        request: Request<Bytes>,
        done: impl FnOnce(Option<Response>) + Send + 'static,
    ) -> Result<Handled> {
        handle::handle_or_then(self, request, done)
    }

    fn handle_within(&self, request: Request<Bytes>, timeout: Duration) -> Result<Option<Response>> {
        handle::handle_within(self, request, timeout)
    }

    fn expect_callbacks(&self) -> Result<()> {
        self.store()?;
        self.mounted().expect_callbacks();
        Ok(())
    }
}

fn begin(
    node: &Node,
    what: Wait,
    delivery: Delivery,
    done: impl FnOnce(Result<()>) + Send + 'static,
) -> Result<PendingWait> {
    let (store, tenants) = node.store()?;
    tenants.runtime_is_alive();
    let waiter = store.wait_then(what, delivery, done)?;
    Ok(PendingWait::new(store, waiter))
}

/// A wait with a callback. Dropping it ends the wait, if it has not finished.
pub struct PendingWait {
    store: Arc<Store>,
    waiter: u64,
    generation: Generation,
}

impl PendingWait {
    fn new(store: &Arc<Store>, waiter: u64) -> Self {
        Self { store: Arc::clone(store), waiter, generation: Generation::current() }
    }
}

impl Drop for PendingWait {
    fn drop(&mut self) {
        // After a fork the lock may be held by a thread that only the parent has.
        if !self.generation.is_foreign() {
            self.store.cancel_wait(self.waiter);
        }
    }
}
