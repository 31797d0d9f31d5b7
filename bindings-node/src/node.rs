//! A running node and its JavaScript object.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use napi::bindgen_prelude::{ArrayBuffer, AsyncTask, Either, Env, Function, Uint8Array};
use napi::{JsString, Task};
use napi_derive::napi;
use posemesh_node_registration::bindings::{NodeExt as _, PendingWait};
use posemesh_node_registration::error as core;
use posemesh_node_registration::event::Event;
use posemesh_node_registration::node::{Node, Wait};
use posemesh_node_registration::secret::Secret;
use posemesh_node_registration::token::AccessToken;

use crate::channel::Channel;
use crate::config::config;
use crate::error::{Failure, node_api, outcome};
use crate::event::Message;
use crate::status::{self, Status};
use crate::token::Token;

/// How long the end of an environment waits for one of its nodes.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// A running node.
#[napi]
pub struct NativeNode {
    inner: Arc<Inner>,
}

struct Inner {
    /// Set by a start that succeeds.
    node: OnceLock<Node>,
    /// `None` once the node was stopped.
    channel: Mutex<Option<Arc<Channel<Message>>>>,
    waits: Mutex<Waits>,
}

#[derive(Default)]
struct Waits {
    last: u32,
    begun: HashMap<u32, Begun>,
}

/// A wait that was begun.
struct Begun {
    _pending: PendingWait,
    /// What a wait for an access token brings. It stays here until JavaScript takes it: messages hold no token.
    token: Arc<OnceLock<AccessToken>>,
}

impl Inner {
    fn node(&self) -> &Node {
        self.node.get().expect("JavaScript gets no node that did not start")
    }

    fn channel(&self) -> Option<Arc<Channel<Message>>> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn start(&self, options: &Options) -> core::Result<()> {
        let config = config(&options.options, &options.environment)?;
        let channel = self.channel().expect("nobody has this node yet who could stop it");
        let node = Node::start_with_event_callback(&config, send_events(channel))?;
        assert!(self.node.set(node).is_ok(), "a task runs once");
        Ok(())
    }

    fn keep_alive(&self, env: Env, yes: bool) -> napi::Result<()> {
        self.channel().map_or(Ok(()), |channel| channel.keep_alive(&env, yes))
    }

    fn stop(&self, timeout: Duration) -> core::Result<()> {
        self.node().stop(timeout)?;
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(channel) = channel {
            // After everything that the node had to say.
            channel.send(Message::Closed);
        }
        Ok(())
    }
}

fn send_events(channel: Arc<Channel<Message>>) -> impl Fn(&Event) {
    move |event| channel.offer(event.dropped, |dropped| Message::from_event(event, dropped))
}

#[napi]
impl NativeNode {
    /// A 32-bit number that is another one after every change of the status; `null` where the engine shares no
    /// memory. Whoever writes to it breaks `status()`.
    #[napi(ts_return_type = "ArrayBuffer | null | Failure")]
    pub fn status_changes<'env>(&self, env: &'env Env) -> Either<Option<ArrayBuffer<'env>>, Failure> {
        outcome(|| {
            let changes = self.inner.node().status_changes()?;
            status::share(env, Arc::clone(changes)).map_err(node_api)
        })
    }

    /// What the node is doing.
    #[napi]
    pub fn status(&self) -> Either<Status, Failure> {
        outcome(|| {
            let node = self.inner.node();
            let status = node.status()?;
            // Words are kept under a lock: asked for only if there are any.
            let last_error = status.last_error.map_or(Ok(None), |_| node.last_error())?;
            let persistence_error =
                status.persistence_error.map_or(Ok(None), |_| node.persistence_error())?;
            Ok(Status::new(&status, last_error, persistence_error))
        })
    }

    /// Whether events are sent from now on. A node that was started sends them; one that was stopped has none.
    #[napi]
    pub fn hear_events(&self, yes: bool) -> Either<(), Failure> {
        outcome(|| {
            let Some(channel) = self.inner.channel() else { return Ok(()) };
            let node = self.inner.node();
            let done =
                if yes { node.set_event_callback(send_events(channel)) } else { node.clear_event_callback() };
            done.or_else(|error| if error.code() == core::ErrorCode::Stopped { Ok(()) } else { Err(error) })
        })
    }

    /// The node secret, once DDS has sent one.
    #[napi(ts_return_type = "string | null | Failure")]
    pub fn read_secret<'env>(&self, env: &'env Env) -> Either<Option<JsString<'env>>, Failure> {
        // The engine's copy is the only one that is made.
        let copy = |secret: &Secret| env.create_string(secret.expose());
        outcome(|| self.inner.node().with_secret(|secret| secret.map(copy).transpose())?.map_err(node_api))
    }

    /// The access token that is held. `ERR_TIMEOUT` says why there is none yet.
    #[napi]
    pub fn access_token<'env>(&self, env: &'env Env) -> Either<Token<'env>, Failure> {
        outcome(|| Token::new(env, &self.inner.node().access_token(Some(Duration::ZERO))?))
    }

    /// Drops the access token that is held; with a value only if it is this one.
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

    /// Where the callback server listens.
    #[napi(ts_return_type = "string | null | Failure")]
    pub fn callback_address(&self) -> Either<Option<String>, Failure> {
        outcome(|| Ok(self.inner.node().callback_address()?.map(|address| address.to_string())))
    }

    /// The node's Ethereum address.
    #[napi]
    pub fn wallet_address(&self) -> Either<String, Failure> {
        outcome(|| self.inner.node().wallet_address().map(str::to_owned))
    }

    /// Signs a message with the node's key.
    #[napi]
    pub fn sign(&self, message: Uint8Array) -> Either<String, Failure> {
        outcome(|| self.inner.node().sign(&message))
    }

    /// Begins a wait and returns its number. A `waited` message ends it, if `endWait` does not do so first.
    #[napi(ts_args_type = "what: 'registered' | 'secret' | 'token'")]
    pub fn begin_wait(&self, what: String) -> Either<u32, Failure> {
        outcome(|| {
            let node = self.inner.node();
            let channel = self.inner.channel().ok_or_else(stopped)?;
            let mut waits = self.inner.waits.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = waits.last.wrapping_add(1);
            let tell = move |error: Option<core::Error>| {
                channel.send(Message::Waited { wait, error: error.map(Failure::from) });
            };
            let token = Arc::new(OnceLock::new());
            let brought = Arc::clone(&token);
            let pending = match what.as_str() {
                "token" => {
                    node.access_token_then(move |result| tell(result.map(|token| brought.set(token)).err()))
                }
                "secret" => node.wait_then_notify(Wait::Secret, move |result| tell(result.err())),
                _ => node.wait_then_notify(Wait::Registered, move |result| tell(result.err())),
            }?;
            waits.last = wait;
            waits.begun.insert(wait, Begun { _pending: pending, token });
            Ok(wait)
        })
    }

    /// Lets go of a wait, finished or not, and returns the token that it brought. Each one that was begun
    /// needs it.
    #[napi(ts_return_type = "Token | null | Failure")]
    pub fn end_wait<'env>(&self, env: &'env Env, wait: u32) -> Either<Option<Token<'env>>, Failure> {
        let begun = {
            let mut waits = self.inner.waits.lock().unwrap_or_else(PoisonError::into_inner);
            waits.begun.remove(&wait)
        };
        let token = begun.as_ref().and_then(|begun| begun.token.get());
        outcome(|| token.map(|token| Token::new(env, token)).transpose())
    }

    /// Ends the node, on libuv's pool: it joins threads. The time in the pool's queue is part of `timeoutMs`. A
    /// `closed` message follows when it succeeds.
    #[napi(ts_return_type = "Promise<void | Failure>")]
    pub fn stop(&self, timeout_ms: f64) -> AsyncTask<Stop> {
        // What no clock can hold is "as long as it takes".
        let timeout = Duration::try_from_secs_f64(timeout_ms / 1000.0).unwrap_or(Duration::MAX);
        AsyncTask::new(Stop { inner: Arc::clone(&self.inner), deadline: Instant::now().checked_add(timeout) })
    }

    /// Whether the node keeps the event loop alive.
    #[napi]
    pub fn keep_alive(&self, env: Env, yes: bool) -> Either<(), Failure> {
        outcome(|| self.inner.keep_alive(env, yes).map_err(node_api))
    }
}

/// Keeps a start from happening that still waits for a thread of libuv's pool.
#[napi]
#[derive(Default)]
pub struct StartCancellation {
    /// Set by what comes first: the start or its cancellation.
    decided: Arc<AtomicBool>,
}

#[napi]
impl StartCancellation {
    /// For one start.
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the start will not happen. Otherwise it has begun, or was over.
    #[napi]
    pub fn cancel(&self) -> bool {
        !self.decided.swap(true, Ordering::Relaxed)
    }
}

/// Starts a node, on libuv's pool: that may read certificates. `options` and `environment` are text by the
/// names that core has for them, in objects without a prototype: Node-API also reads what an object inherits.
/// `deliver` is called with everything that happens to the node.
#[napi(ts_return_type = "Promise<NativeNode | Failure> | Failure")]
pub fn start(
    env: Env,
    options: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    #[napi(ts_arg_type = "(message: Message) => void")] deliver: Function<'_, Message, ()>,
    cancellation: &StartCancellation,
) -> Either<AsyncTask<Start>, Failure> {
    let prepare = || {
        let inner = Arc::new(Inner {
            node: OnceLock::new(),
            channel: Mutex::new(Some(Arc::new(Channel::new(&deliver)?))),
            waits: Mutex::default(),
        });
        stop_when_environment_ends(&env, &inner)?;
        let options = Options { options, environment };
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
    /// None: as long as it takes.
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

/// A worker that ends must not leave a node behind that calls into an environment that is gone.
fn stop_when_environment_ends(env: &Env, inner: &Arc<Inner>) -> napi::Result<()> {
    let key = env.raw().addr();
    // One hook for all nodes: napi-rs does not free a hook that is removed.
    if !NODES.with_borrow(|nodes| nodes.contains_key(&key)) {
        env.add_env_cleanup_hook(key, |key| {
            for inner in NODES.with_borrow_mut(|nodes| nodes.remove(&key)).iter().flatten() {
                if let Some(inner) = inner.upgrade()
                    && inner.node.get().is_some()
                {
                    // Nobody is left to be told.
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
