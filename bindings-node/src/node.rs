//! A running node and its JavaScript object.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use napi::bindgen_prelude::{ArrayBuffer, AsyncTask, Either, Env, Function, Uint8Array};
use napi::{JsString, Task};
use napi_derive::napi;
use posemesh_node_registration::bindings::NodeExt as _;
use posemesh_node_registration::error as core;
use posemesh_node_registration::event::Event;
use posemesh_node_registration::node::Node;
use posemesh_node_registration::secret::Secret;

use crate::channel::Channel;
use crate::config::config;
use crate::error::{Failure, node_api, outcome};
use crate::event::Message;
use crate::http;
use crate::metrics::{MetricFamily, Metrics, Readiness, families};
use crate::routes::{Handled, Routes};
use crate::signer::NativeSigner;
use crate::status::{self, Status};
use crate::token::{HeldToken, Token};
use crate::wait::Waits;

/// How long the end of an environment waits for each of its nodes to stop.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// A running node.
#[napi]
pub struct NativeNode {
    inner: Arc<Inner>,
}

struct Inner {
    /// Set by a successful start.
    node: OnceLock<Node>,
    /// `None` after a stop.
    channel: Mutex<Option<Arc<Channel<Message>>>>,
    waits: Mutex<Waits>,
    routes: Mutex<Routes>,
}

impl Inner {
    fn node(&self) -> &Node {
        self.node.get().expect("JavaScript receives a node only after its start")
    }

    fn channel(&self) -> Option<Arc<Channel<Message>>> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn start(&self, options: &Options) -> core::Result<()> {
        let config = config(&options.options, &options.environment, options.signer.as_ref())?;
        let channel = self.channel().expect("a node cannot be stopped before it has started");
        let node = Node::start_with_event_callback(&config, event_callback(channel))?;
        assert!(self.node.set(node).is_ok(), "the start task runs once");
        Ok(())
    }

    fn keep_alive(&self, env: Env, yes: bool) -> napi::Result<()> {
        self.channel().map_or(Ok(()), |channel| channel.keep_alive(&env, yes))
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self, timeout: Duration) -> core::Result<()> {
        self.node().stop(timeout)?;
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(channel) = channel {
            // After all events.
            channel.send(Message::Closed);
        }
        Ok(())
    }
}

fn event_callback(channel: Arc<Channel<Message>>) -> impl Fn(&Event) {
    move |event| channel.offer(event.dropped, |dropped| Message::from_event(event, dropped))
}

#[napi]
impl NativeNode {
    /// A 32-bit counter of the changes of the status, which include those of the access token; `null` if the engine does
    /// not allow external memory. JavaScript must not write to it.
    #[napi(ts_return_type = "ArrayBuffer | null | Failure")]
    pub fn status_changes<'env>(&self, env: &'env Env) -> Either<Option<ArrayBuffer<'env>>, Failure> {
        outcome(|| {
            let changes = self.inner.node().status_changes()?;
            status::share(env, Arc::clone(changes)).map_err(node_api)
        })
    }

    /// A snapshot of the node.
    #[napi]
    pub fn status(&self) -> Either<Status, Failure> {
        outcome(|| {
            let node = self.inner.node();
            let status = node.status()?;
            // The texts of errors are under a lock, so they are read only if there is an error.
            let last_error = status.last_error.map_or(Ok(None), |_| node.last_error())?;
            let persistence_error =
                status.persistence_error.map_or(Ok(None), |_| node.persistence_error())?;
            Ok(Status::new(&status, last_error, persistence_error))
        })
    }

    /// Whether the node is ready, and why, or why not.
    #[napi]
    pub fn ready(&self, needs_secret: bool) -> Either<Readiness, Failure> {
        outcome(|| {
            let readiness = self.inner.node().ready(needs_secret)?;
            Ok(Readiness { ready: readiness.is_ready(), reason: readiness.reason().to_owned() })
        })
    }

    /// What the node has done, and what it does.
    #[napi]
    pub fn metrics(&self) -> Either<Metrics, Failure> {
        outcome(|| Ok(self.inner.node().metrics()?.into()))
    }

    /// The metrics as a list. Its families and their labels are always the same.
    #[napi]
    pub fn metric_families(&self) -> Either<Vec<MetricFamily>, Failure> {
        outcome(|| Ok(families(&self.inner.node().metrics()?)))
    }

    /// The metrics as text for Prometheus.
    #[napi]
    pub fn metrics_text(&self) -> Either<String, Failure> {
        outcome(|| self.inner.node().metrics_text())
    }

    /// Sets whether events are sent. They are after a start. After a stop this does nothing.
    #[napi]
    pub fn send_events(&self, yes: bool) -> Either<(), Failure> {
        outcome(|| {
            let Some(channel) = self.inner.channel() else { return Ok(()) };
            let node = self.inner.node();
            let done = if yes {
                node.set_event_callback(event_callback(channel))
            } else {
                node.clear_event_callback()
            };
            done.or_else(|error| if error.code() == core::ErrorCode::Stopped { Ok(()) } else { Err(error) })
        })
    }

    /// The node secret, if DDS has sent one.
    #[napi(ts_return_type = "string | null | Failure")]
    pub fn read_secret<'env>(&self, env: &'env Env) -> Either<Option<JsString<'env>>, Failure> {
        // No copy is made but the engine's.
        let copy = |secret: &Secret| env.create_string(secret.expose());
        outcome(|| self.inner.node().with_secret(|secret| secret.map(copy).transpose())?.map_err(node_api))
    }

    /// The access token that the node holds. Without one, the node signs in, and this fails with `ERR_TIMEOUT` and the
    /// error of the last sign-in.
    #[napi]
    pub fn access_token<'env>(&self, env: &'env Env) -> Either<Token<'env>, Failure> {
        outcome(|| Token::new(env, &self.inner.node().access_token(Some(Duration::ZERO))?))
    }

    /// The access token that the node holds, if there is one. This never signs in.
    #[napi(ts_return_type = "HeldToken | null | Failure")]
    pub fn try_access_token<'env>(&self, env: &'env Env) -> Either<Option<HeldToken<'env>>, Failure> {
        outcome(|| {
            let held = self.inner.node().try_access_token_for()?;
            held.map(|(token, usable_for)| HeldToken::new(env, &token, usable_for)).transpose()
        })
    }

    /// Drops the access token that the node holds. With a value, it does so only if the token has that value.
    #[napi]
    pub fn invalidate_token(&self, value: Option<String>) -> Either<(), Failure> {
        outcome(|| match value {
            Some(value) => self.inner.node().invalidate_token_if(Secret::new(value).expose()),
            None => self.inner.node().invalidate_token(),
        })
    }

    /// Registers again.
    #[napi]
    pub fn rearm(&self) -> Either<(), Failure> {
        outcome(|| self.inner.node().rearm())
    }

    /// The address of the callback server.
    #[napi(ts_return_type = "string | null | Failure")]
    pub fn callback_address(&self) -> Either<Option<String>, Failure> {
        outcome(|| Ok(self.inner.node().callback_address()?.map(|address| address.to_string())))
    }

    /// The address of this process's admin server.
    #[napi(ts_return_type = "string | null | Failure")]
    pub fn admin_address(&self) -> Either<Option<String>, Failure> {
        outcome(|| Ok(self.inner.node().admin_address()?.map(|address| address.to_string())))
    }

    /// The node's Ethereum address. Fails with `ERR_NOT_FOUND` for a robot.
    #[napi]
    pub fn wallet_address(&self) -> Either<String, Failure> {
        outcome(|| self.inner.node().wallet_address().map(str::to_owned))
    }

    /// Signs a message with the node's key. Fails with `ERR_NOT_FOUND` if the key is not in this process.
    #[napi]
    pub fn sign(&self, message: Uint8Array) -> Either<String, Failure> {
        outcome(|| self.inner.node().sign(&message))
    }

    /// Begins a wait and returns its number. A `waited` message follows when it ends, unless `endWait` is called before.
    #[napi(ts_args_type = "what: 'registered' | 'secret' | 'token'")]
    pub fn begin_wait(&self, what: String) -> Either<u32, Failure> {
        outcome(|| {
            let channel = self.inner.channel().ok_or_else(stopped)?;
            self.inner.waits().begin(self.inner.node(), &what, channel)
        })
    }

    /// Ends a wait, finished or not, and returns the token that it was for, if it has one. Each wait must be ended once.
    #[napi(ts_return_type = "Token | null | Failure")]
    pub fn end_wait<'env>(&self, env: &'env Env, wait: u32) -> Either<Option<Token<'env>>, Failure> {
        let token = self.inner.waits().end(wait);
        outcome(|| token.map(|token| Token::new(env, &token)).transpose())
    }

    /// Lets waits for a secret begin, because DDS can call the node through the host's server.
    #[napi]
    pub fn expect_callbacks(&self) -> Either<(), Failure> {
        outcome(|| self.inner.node().expect_callbacks())
    }

    /// Handles a request that the host's server received. `headers` has names and values by turns. If it is pending, a
    /// `handled` message follows, and `endRequest` must be called after it.
    #[napi]
    pub fn handle_request(
        &self,
        method: String,
        path: String,
        headers: Vec<String>,
        body: Uint8Array,
    ) -> Either<Handled, Failure> {
        outcome(|| {
            let Some(request) = http::request(&method, &path, &headers, &body) else {
                return Ok(Handled::now(None));
            };
            self.inner.routes().handle(self.inner.node(), self.inner.channel(), request)
        })
    }

    /// Forgets a request that was pending.
    #[napi]
    pub fn end_request(&self, request: u32) -> Either<(), Failure> {
        outcome(|| {
            self.inner.routes().end(request);
            Ok(())
        })
    }

    /// Stops the node, on libuv's pool, because it joins threads. The time in the pool's queue counts towards
    /// `timeoutMs`. On success, a `closed` message follows.
    #[napi(ts_return_type = "Promise<void | Failure>")]
    pub fn stop(&self, timeout_ms: f64) -> AsyncTask<Stop> {
        // A time too long for the clock means no limit.
        let timeout = Duration::try_from_secs_f64(timeout_ms / 1000.0).unwrap_or(Duration::MAX);
        AsyncTask::new(Stop { inner: Arc::clone(&self.inner), deadline: Instant::now().checked_add(timeout) })
    }

    /// Sets whether the node keeps the event loop alive.
    #[napi]
    pub fn keep_alive(&self, env: Env, yes: bool) -> Either<(), Failure> {
        outcome(|| self.inner.keep_alive(env, yes).map_err(node_api))
    }
}

/// Cancels a start that still waits for a thread of libuv's pool.
#[napi]
#[derive(Default)]
pub struct StartCancellation {
    /// Set by the start or by its cancellation, whichever comes first.
    decided: Arc<AtomicBool>,
}

#[napi]
impl StartCancellation {
    /// A cancellation for one start.
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels the start. False if the start has already begun.
    #[napi]
    pub fn cancel(&self) -> bool {
        !self.decided.swap(true, Ordering::Relaxed)
    }
}

/// Starts a node, on libuv's pool, because a start may read certificates. `options` and `environment` map core's names to
/// text. They must have no prototype, because Node-API also reads inherited properties. `deliver` receives the messages
/// of the node.
#[napi(ts_return_type = "Promise<NativeNode | Failure> | Failure")]
pub fn start(
    env: Env,
    options: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    #[napi(ts_arg_type = "(message: Message) => void")] deliver: Function<'_, Message, ()>,
    cancellation: &StartCancellation,
    signer: Option<&NativeSigner>,
) -> Either<AsyncTask<Start>, Failure> {
    let prepare = || {
        let inner = Arc::new(Inner {
            node: OnceLock::new(),
            channel: Mutex::new(Some(Arc::new(Channel::new(&deliver)?))),
            waits: Mutex::default(),
            routes: Mutex::default(),
        });
        stop_when_environment_ends(&env, &inner)?;
        let options = Options { options, environment, signer: signer.cloned() };
        Ok(AsyncTask::new(Start { inner, options, decided: Arc::clone(&cancellation.decided) }))
    };
    outcome(|| prepare().map_err(node_api))
}

/// The work of [`start`].
pub struct Start {
    inner: Arc<Inner>,
    options: Options,
    decided: Arc<AtomicBool>,
}

struct Options {
    options: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    signer: Option<NativeSigner>,
}

impl Task for Start {
    type Output = Either<(), Failure>;
    type JsValue = Either<NativeNode, Failure>;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        Ok(outcome(|| {
            if self.decided.swap(true, Ordering::Relaxed) {
                return Err(stopped());
            }
            self.inner.start(&self.options)
        }))
    }

    fn resolve(&mut self, env: Env, output: Self::Output) -> napi::Result<Self::JsValue> {
        Ok(match output {
            Either::A(()) => {
                self.inner.keep_alive(env, true)?;
                Either::A(NativeNode { inner: Arc::clone(&self.inner) })
            }
            Either::B(failure) => Either::B(failure),
        })
    }
}

/// The work of [`NativeNode::stop`].
pub struct Stop {
    inner: Arc<Inner>,
    /// None means no limit.
    deadline: Option<Instant>,
}

impl Task for Stop {
    type Output = Either<(), Failure>;
    type JsValue = Either<(), Failure>;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let timeout = self.deadline.map_or(Duration::MAX, left);
        Ok(outcome(|| self.inner.stop(timeout)))
    }

    fn resolve(&mut self, _: Env, output: Self::Output) -> napi::Result<Self::JsValue> {
        Ok(output)
    }
}

fn stopped() -> core::Error {
    core::Error::new(core::ErrorCode::Stopped, "the node was stopped; start a new one")
}

thread_local! {
    /// The nodes of each environment of this thread, by the address of the environment.
    static NODES: RefCell<HashMap<usize, Vec<Weak<Inner>>>> = RefCell::default();
}

/// Stops the node when its environment ends, because a node must not call into an environment that no longer exists.
fn stop_when_environment_ends(env: &Env, inner: &Arc<Inner>) -> napi::Result<()> {
    let key = env.raw().addr();
    // One hook for all nodes, because napi-rs does not free a hook that is removed.
    if !NODES.with_borrow(|nodes| nodes.contains_key(&key)) {
        env.add_env_cleanup_hook(key, |key| {
            for inner in NODES.with_borrow_mut(|nodes| nodes.remove(&key)).iter().flatten() {
                if let Some(inner) = inner.upgrade()
                    && inner.node.get().is_some()
                {
                    // No JavaScript is left to receive the error.
                    let _ = outcome(|| inner.stop(END_TIMEOUT));
                }
            }
        })?;
    }
    NODES.with_borrow_mut(|nodes| {
        let nodes = nodes.entry(key).or_default();
        nodes.retain(|inner| inner.strong_count() > 0);
        nodes.push(Arc::downgrade(inner));
    });
    Ok(())
}
