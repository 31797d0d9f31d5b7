//! A running node: start, stop, status, wait, events.
//!
//! Methods that take a timeout block the calling thread. The others return at once, except that the futures of
//! [`wait_registered`](Node::wait_registered), [`wait_secret`](Node::wait_secret) and
//! [`wait_access_token`](Node::wait_access_token) resolve later; they work on any async runtime.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;

use crate::config::Config;
use crate::crypto;
use crate::dispatcher::Subscription;
use crate::error::{Error, ErrorCode, Result};
use crate::event::Event;
use crate::fork::Generation;
use crate::http::{self, Mounted, Response};
use crate::log::log;
use crate::metrics::Metrics;
use crate::node_id::NodeId;
use crate::readiness::Readiness;
use crate::secret::Secret;
use crate::state::store::Store;
use crate::status::Status;
use crate::tenants::Tenants;
use crate::thread::OwnThread;
use crate::token::AccessToken;
use lifecycle::Inner;

mod lifecycle;
mod listener;
mod registry;
mod supervisor;

pub use crate::state::wait::Wait;
#[doc(hidden)]
pub use registry::callback_url;

#[cold]
fn no_wallet() -> Error {
    Error::new(
        ErrorCode::NotFound,
        "this node is a robot, which has no wallet; it is identified by its node_id, and signs in with its registration \
         credentials",
    )
}

#[cold]
fn no_key() -> Error {
    Error::new(ErrorCode::NotFound, "the node's key is with its signer, not in this process; call the signer")
}

/// A node that registers with DDS and stays registered, until it is stopped.
///
/// All methods may be called from any thread, also at the same time, and from callbacks (only
/// [`stop`](Node::stop) is refused there). Dropping a node stops it first; a drop inside a callback takes effect
/// right after the callback has returned.
///
/// After a `fork`, every method of an inherited node fails with [`ErrorCode::Forked`] in the child, and dropping
/// it there does nothing. The child may start a node of its own.
///
/// ```no_run
/// use std::time::Duration;
/// use posemesh_node_registration::{Config, Node, Wait};
///
/// # fn main() -> posemesh_node_registration::Result<()> {
/// let config = Config::builder()
///     .load_env() // REG_SECRET, SECP256K1_PRIVHEX, …
///     .node_version("1.0.0")
///     .capabilities(["/example/v1"])
///     .build()?;
/// let node = Node::start(&config)?;
/// node.wait(Wait::Registered, Some(Duration::from_secs(60)))?;
/// let token = node.access_token(Some(Duration::from_secs(60)))?;
/// // A request with "Authorization: Bearer <token.value()>"
/// node.stop(Duration::from_secs(5))?;
/// # Ok(())
/// # }
/// ```
///
/// In async code, on any runtime:
///
/// ```no_run
/// # async fn run(node: posemesh_node_registration::Node) -> posemesh_node_registration::Result<()> {
/// node.wait_registered().await?;
/// let token = node.wait_access_token().await?;
/// # Ok(())
/// # }
/// ```
pub struct Node {
    /// Taken only by `drop`.
    inner: Option<Inner>,
    generation: Generation,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("node_id", &self.node_id())
            .field("wallet", &self.wallet_address())
            .field("status", &self.status())
            .finish()
    }
}

impl Node {
    /// Checks the configuration, binds the callback address and starts the registrar. Does not wait for DDS.
    ///
    /// With a `state_dir`, the state kept there is restored first. If another process leads there, this one
    /// follows: it binds nothing and registers nothing until it takes over.
    ///
    /// With a `state_url`, the node starts as a follower, whose callback server runs, and leads as soon as the store shows
    /// that no other replica does. The start waits up to a second for the state in the store. It succeeds even if the store
    /// cannot be used: see [`persistence_error`](Node::persistence_error).
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfig`], [`ErrorCode::AlreadyRunning`], [`ErrorCode::Bind`], [`ErrorCode::Io`].
    pub fn start(config: &Config) -> Result<Self> {
        Self::start_subscribed(config, None)
    }

    /// As [`start`](Node::start) and [`set_event_callback`](Node::set_event_callback) in one call, so that no event
    /// is missed between the two.
    ///
    /// # Errors
    /// As [`start`](Node::start).
    pub fn start_with_event_callback(
        config: &Config,
        callback: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::start_subscribed(config, Some(Subscription::new(callback)))
    }

    fn start_subscribed(config: &Config, subscription: Option<Arc<Subscription<Event>>>) -> Result<Self> {
        let inner = Inner::start(config, subscription)?;
        Ok(Self { inner: Some(inner), generation: Generation::current() })
    }

    #[inline]
    fn inner(&self) -> Result<&Inner> {
        if self.generation.is_foreign() {
            return Err(Error::forked());
        }
        Ok(self.inner.as_ref().expect("only drop takes it"))
    }

    /// As `inner`, for calls that wait: they must not begin to wait for a dead runtime.
    fn running_inner(&self) -> Result<&Inner> {
        let inner = self.inner()?;
        inner.tenants.runtime_is_alive();
        Ok(inner)
    }

    /// For the bindings: the state of this node, and what to change it through.
    #[inline]
    pub(crate) fn store(&self) -> Result<(&Arc<Store>, &Arc<Tenants>)> {
        let inner = self.inner()?;
        Ok((&inner.store, &inner.tenants))
    }

    /// The routes for a server of the host. They work in a forked child, too: there they respond with 503.
    pub(crate) fn mounted(&self) -> &Arc<Mounted> {
        &self.inner.as_ref().expect("only drop takes it").mounted
    }

    /// Runs a task on the library's runtime. Returns false if the node is stopped, without a call of `task`.
    pub(crate) fn spawn<F>(&self, task: impl FnOnce() -> F) -> Result<bool>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Ok(self.inner()?.spawn(task))
    }

    /// What the node is doing. Takes a few nanoseconds and no lock.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    #[inline]
    pub fn status(&self) -> Result<Status> {
        Ok(self.inner()?.store.status())
    }

    /// What the last attempt failed with, in DDS's own words; none after a success.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn last_error(&self) -> Result<Option<Error>> {
        Ok(self.inner()?.store.last_error())
    }

    /// Why the state cannot be written to `state_dir` at present, why its leader cannot be followed, or why `state_url`
    /// cannot be used; none when there is no problem.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn persistence_error(&self) -> Result<Option<Error>> {
        Ok(self.inner()?.store.persistence_error())
    }

    /// Whether the node is ready, and why not: it must be running and registered and, with `needs_secret`, hold a
    /// secret. A stopped node is not ready.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn ready(&self, needs_secret: bool) -> Result<Readiness> {
        Ok(Readiness::of(&self.running_inner()?.store, needs_secret))
    }

    /// What the node has done, and what it is doing. After a stop, the last values.
    ///
    /// ```no_run
    /// # fn report(node: &posemesh_node_registration::Node) -> posemesh_node_registration::Result<()> {
    /// let metrics = node.metrics()?;
    /// println!("{} callbacks brought a secret", metrics.callbacks.accepted);
    /// println!("{} requests to register were refused", metrics.dds.register.responses.rejected);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::of(&self.inner()?.store))
    }

    /// The metrics as text for Prometheus, with the content type
    /// [`metrics::CONTENT_TYPE`](crate::metrics::CONTENT_TYPE). It may be appended to the text of other metrics.
    ///
    /// Every value of every label is there from the start, and no label holds a wallet or an id. A time that is not
    /// known is 0.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn metrics_text(&self) -> Result<String> {
        Ok(self.metrics()?.text())
    }

    /// Blocks until the node is registered or holds a secret; without a timeout for as long as it takes.
    ///
    /// It does not end when DDS refuses the node, because the node tries again. [`last_error`](Node::last_error) and
    /// [`EventKind::AttemptFailed`](crate::EventKind::AttemptFailed) say why, and so does the error of a timeout.
    ///
    /// Only a node that DDS can call receives a secret. See `callback_bind`.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] at once if no secret can arrive: the node has none, `callback_bind`, `node_url` and
    /// `state_dir` and `state_url` are not set, and no server of the host's has called [`handle`](Node::handle) or
    /// [`router`](Node::router) yet. [`ErrorCode::Timeout`], [`ErrorCode::Stopped`] when the
    /// node stops meanwhile, [`ErrorCode::Forked`].
    pub fn wait(&self, what: Wait, timeout: Option<Duration>) -> Result<()> {
        self.running_inner()?.store.wait(what, deadline(timeout))
    }

    /// Resolves when the node is registered. Works on any async runtime; dropping the future ends the wait. A refusal
    /// by DDS does not end it; see [`wait`](Node::wait).
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`] when the node stops meanwhile, [`ErrorCode::Forked`].
    pub fn wait_registered(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        self.wait_future(Wait::Registered)
    }

    /// Resolves when the node holds a secret. Works on any async runtime; dropping the future ends the wait.
    ///
    /// Only a node that DDS can call receives a secret. See `callback_bind`.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] at once if no secret can arrive, as for [`wait`](Node::wait). [`ErrorCode::Stopped`]
    /// when the node stops meanwhile, [`ErrorCode::Forked`].
    pub fn wait_secret(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        self.wait_future(Wait::Secret)
    }

    pub(crate) fn wait_future(&self, what: Wait) -> impl Future<Output = Result<()>> + Send + use<> {
        let store = self.running_inner().map(|inner| Arc::clone(&inner.store));
        async move { store?.wait_async(what).await }
    }

    /// The future of [`wait_registered`](Node::wait_registered) or [`wait_secret`](Node::wait_secret).
    ///
    /// # Errors
    /// [`ErrorCode::Forked`], and what the future resolves to.
    #[deprecated(since = "0.4.0", note = "use `wait_registered` or `wait_secret`")]
    pub fn wait_async(&self, what: Wait) -> Result<impl Future<Output = Result<()>> + Send + use<>> {
        self.inner()?;
        Ok(self.wait_future(what))
    }

    /// The node secret; `None` before DDS has sent one. Still available after a stop.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn read_secret(&self) -> Result<Option<Secret>> {
        self.with_secret(|secret| secret.cloned())
    }

    /// Lends the node secret to `read` instead of copying it.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    #[inline]
    pub fn with_secret<R>(&self, read: impl FnOnce(Option<&Secret>) -> R) -> Result<R> {
        let secret = self.inner()?.store.secret();
        Ok(read(secret.as_deref()))
    }

    /// An access token for the services behind DDS. Blocks until there is one; without a timeout for as long as it
    /// takes.
    ///
    /// The first call signs the node in, once it is registered. From then on the node holds a token: it is
    /// refreshed in the background at about three quarters of its lifetime, and calls return it from memory, without
    /// a lock. However many callers wait, there is one sign-in at a time. A token is returned during the first
    /// nine tenths of its lifetime (and until 10 s before it expires, if that is later), so that it is still valid
    /// when the service receives it; after that, calls wait for the next one.
    ///
    /// A DDS that cannot be reached is tried again after 2, 4, 8… and at most 60 seconds, while callers wait. If DDS
    /// does not know the node any more, the node registers again, and callers receive their token after that.
    ///
    /// # Errors
    /// [`ErrorCode::Rejected`] when DDS refuses the sign-in: at once, and until the next one is due.
    /// [`ErrorCode::Timeout`], with what the last attempt failed with. [`ErrorCode::Stopped`] when the node
    /// stops meanwhile, [`ErrorCode::Forked`].
    pub fn access_token(&self, timeout: Option<Duration>) -> Result<AccessToken> {
        self.with_access_token(timeout, AccessToken::clone)
    }

    /// As [`access_token`](Node::access_token), but lends the token to `read`. This is cheaper when many threads need it
    /// at the same time, because clones of a token share a reference count. Return from `read` soon: meanwhile the token
    /// stays in memory.
    ///
    /// # Errors
    /// Those of [`access_token`](Node::access_token).
    pub fn with_access_token<R>(
        &self,
        timeout: Option<Duration>,
        read: impl FnOnce(&AccessToken) -> R,
    ) -> Result<R> {
        let inner = self.inner()?;
        let cached = inner.store.cached_token();
        if let Some(token) = cached.as_ref().and_then(|cached| cached.if_usable()) {
            return Ok(read(token));
        }
        drop(cached);
        Ok(read(&inner.tenants.wake(|| inner.store.access_token(deadline(timeout)))??))
    }

    /// The access token that the node holds, if it can still be used. Neither signs in nor waits.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn try_access_token(&self) -> Result<Option<AccessToken>> {
        Ok(self.inner()?.store.usable_token())
    }

    /// As [`access_token`](Node::access_token), for async code on any runtime. Dropping the future ends the wait.
    ///
    /// # Errors
    /// [`ErrorCode::Rejected`], [`ErrorCode::Stopped`], [`ErrorCode::Forked`].
    pub fn wait_access_token(&self) -> impl Future<Output = Result<AccessToken>> + Send + use<> {
        let store = self.inner().map(|inner| {
            if inner.store.usable_token().is_none() {
                inner.tenants.runtime_is_alive();
            }
            Arc::clone(&inner.store)
        });
        async move { store?.access_token_async().await }
    }

    /// The future of [`wait_access_token`](Node::wait_access_token).
    ///
    /// # Errors
    /// [`ErrorCode::Forked`], and what the future resolves to.
    #[deprecated(since = "0.4.0", note = "use `wait_access_token`")]
    pub fn access_token_async(&self) -> Result<impl Future<Output = Result<AccessToken>> + Send + use<>> {
        self.inner()?;
        Ok(self.wait_access_token())
    }

    /// Drops the access token that the node holds, and the result of a sign-in under way; then signs in again, at
    /// once. Only a token that replaced a refused one less than a second ago is replaced when that second is
    /// over, so a service that refuses every token slows its callers to one token a second. Without a token it
    /// does nothing.
    ///
    /// If a service refuses a token, use [`invalidate_token_if`](Node::invalidate_token_if).
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`], [`ErrorCode::Forked`].
    pub fn invalidate_token(&self) -> Result<()> {
        let inner = self.inner()?;
        inner.tenants.wake(|| inner.store.invalidate_token())?
    }

    /// Drops the access token that the node holds if it is still this one, such as after a service has refused
    /// it with 401. Many callers with one refused token thus cause one sign-in, which comes as soon as with
    /// [`invalidate_token`](Node::invalidate_token). The texts are compared in constant time.
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`], [`ErrorCode::Forked`].
    pub fn invalidate_token_if(&self, value: &str) -> Result<()> {
        let inner = self.inner()?;
        inner.tenants.wake(|| inner.store.invalidate_token_if(value))?
    }

    /// What the last sign-in for an access token failed with, in DDS's own words; none after a success.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn token_error(&self) -> Result<Option<Error>> {
        Ok(self.inner()?.store.token_error())
    }

    /// Registers again. When this returns, the status is `disconnected` and the registrar awake. After ten calls in
    /// a row the node registers at most once a second; calls in between count as one. A follower
    /// asks its leader to register again, and stays `disconnected` until the leader has begun.
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`], [`ErrorCode::Forked`].
    pub fn rearm(&self) -> Result<()> {
        let inner = self.inner()?;
        if inner.store.status().running {
            // Before the registrar wakes up and writes records of its own.
            log!(Info, "node", "re-armed: registering again");
        }
        inner.tenants.wake(|| inner.store.rearm())?
    }

    /// The address that the callback server listens on; `None` without one. For a follower in a `state_dir`: that of its
    /// leader.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn callback_address(&self) -> Result<Option<SocketAddr>> {
        Ok(self.inner()?.store.callback_address())
    }

    /// The address that the admin server of this process listens on; `None` without `admin_bind`.
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn admin_address(&self) -> Result<Option<SocketAddr>> {
        Ok(self.inner()?.admin_address)
    }

    /// The id that DDS knows the node by. `None` as long as it is not known; see [`Status::node_id`].
    ///
    /// # Errors
    /// [`ErrorCode::Forked`].
    pub fn node_id(&self) -> Result<Option<NodeId>> {
        Ok(self.inner()?.store.status().node_id)
    }

    /// The node's Ethereum address, `0x` and 40 lowercase hex digits.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] for a robot, which has no wallet. [`ErrorCode::Forked`].
    pub fn wallet_address(&self) -> Result<&str> {
        self.inner()?.wallet.as_deref().ok_or_else(no_wallet)
    }

    /// Handles a request of DDS that has reached a web server of the host's, with its whole body. Resolves to `None` if
    /// the request is not for this library: continue with the host's own routes.
    ///
    /// These requests are handled; in both paths one slash may follow:
    ///
    /// | path | method | |
    /// |---|---|---|
    /// | `/internal/v1/registrations` | POST | the callback with the node secret |
    /// | `/health` | GET, HEAD | only if the `User-Agent` begins with `DDS v`; any other health check is the host's |
    ///
    /// The host removes a prefix that it has mounted the routes under; `callback_path` applies to the node's own server
    /// only. The responses are those of that server: 200; 405 with `Allow` for other methods; 413 for a body of over
    /// 256 KiB; 400, 403, 409, 415 and 422 for callbacks that are refused. If the node cannot accept a callback at
    /// present, for example because it was stopped or forked, the response is 503 with `Retry-After`.
    ///
    /// The future works on any async runtime, and usually resolves at once. With a `state_dir` or `state_url`, it waits
    /// until the secret is stored; [`stop`](Node::stop) ends this wait with 503.
    ///
    /// ```no_run
    /// # use posemesh_node_registration::{Node, axum};
    /// use axum::body::Bytes;
    /// use axum::http::{Request, Response};
    ///
    /// # async fn serve(node: Node, request: Request<Bytes>) {
    /// match node.handle(request).await {
    ///     Some(response) => println!("{}", response.status()), // Send it to DDS.
    ///     None => println!("not for this library"),            // Continue with your own routes.
    /// }
    /// # }
    /// ```
    pub fn handle(&self, request: Request<Bytes>) -> impl Future<Output = Option<Response>> + Send + use<> {
        let mounted = Arc::clone(self.mounted());
        async move { mounted.handle(request.map(Full::new)).await }
    }

    /// The routes of [`handle`](Node::handle) for an axum application of the host's, to `merge` or to `nest` under a
    /// prefix.
    ///
    /// A health check that is not a probe of DDS gets 404. If the application has a `/health` of its own, call
    /// [`handle`](Node::handle) in a middleware instead. After a `fork`, the routes respond with 503 in the child.
    ///
    /// ```no_run
    /// use posemesh_node_registration::axum::{Router, routing::get};
    /// # fn app(node: posemesh_node_registration::Node) {
    ///
    /// let app: Router = Router::new().route("/jobs", get(async || "none")).merge(node.router());
    /// # }
    /// ```
    pub fn router(&self) -> Router {
        http::router(Arc::clone(self.mounted()))
    }

    /// Signs bytes with the node's key as a wallet does (EIP-191 `personal_sign`): `0x` and 130 hex digits.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if the key is not in this process: a robot has none, and with a
    /// [signer](Config::set_signer) only the signer can sign. [`ErrorCode::Forked`].
    pub fn sign(&self, message: &[u8]) -> Result<String> {
        let signer = self.inner()?.settings.signer.as_ref().ok_or_else(no_wallet)?;
        let key = signer.key().ok_or_else(no_key)?;
        Ok(crypto::sign_eip191(key, message))
    }

    /// Calls `callback` with the node's events, in place of the previous callback.
    ///
    /// It runs on the library's dispatcher thread, one event at a time. A replaced callback is dropped once
    /// the events that are queued for it have been delivered. Earlier events are not delivered again: read the status
    /// after this call.
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`], [`ErrorCode::Forked`].
    pub fn set_event_callback(&self, callback: impl Fn(&Event) + Send + Sync + 'static) -> Result<()> {
        self.inner()?.replace_subscription(Some(Subscription::new(callback)))
    }

    /// Removes the callback that [`set_event_callback`](Node::set_event_callback) has set.
    ///
    /// # Errors
    /// [`ErrorCode::Stopped`], [`ErrorCode::Forked`].
    pub fn clear_event_callback(&self) -> Result<()> {
        self.inner()?.replace_subscription(None)
    }

    /// Ends the node: cancels what is in flight, wakes every wait with *stopped*, delivers the last events,
    /// frees the port, and ends the library's threads if no other node needs them. A second call does
    /// nothing, or waits for the first one.
    ///
    /// A name look-up under way cannot be cancelled: its thread ends when the system's resolver gives up, which
    /// may be seconds after this returns.
    ///
    /// # Errors
    /// [`ErrorCode::Timeout`] when a callback did not return in time (call again to continue waiting),
    /// [`ErrorCode::WouldDeadlock`] from inside a callback, [`ErrorCode::Forked`].
    pub fn stop(&self, timeout: Duration) -> Result<()> {
        let inner = self.inner()?;
        if OwnThread::current().is_some() {
            return Err(Error::new(
                ErrorCode::WouldDeadlock,
                "stop waits for the callback that calls it; call it from a thread of your own, or free the node",
            ));
        }
        inner.stop(timeout)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if self.generation.is_foreign() {
            // The threads, sockets and locks behind it belong to the parent.
            std::mem::forget(inner);
            return;
        }
        inner.end();
    }
}

/// None for no timeout, and for one that the clock cannot represent.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}
