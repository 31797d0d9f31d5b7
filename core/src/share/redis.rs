//! A key of a Redis, a Valkey, or another server that speaks version 3 of their protocol: Redis 6 or newer.
//!
//! A swap is a script, which the server runs as a whole. One connection serves the requests and receives the messages
//! about changes. It is opened when it is first needed, and again after it has broken.
//!
//! | file | owns |
//! |---|---|
//! | `connection` | TCP and TLS |
//! | `failure` | what an error of the server means |

mod connection;
mod failure;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::RngCore as _;
use rand::rngs::OsRng;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo,
    RedisError, RedisResult, Value, cmd,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::ClientConfig;
use tokio::sync::{Mutex, Notify};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::remote::{OPERATION_TIMEOUT, REPLICATION_TIMEOUT, RemoteKey, Reply, Swap};
use crate::config::StateUrl;
use crate::error::{Error, Result};
use crate::http_client::tls_of_system;
use crate::log::log;
use failure::{Failure, is_forbidden};

/// What is longer is not a value of this library, and more of it is not read. Records are much shorter.
const MAX_VALUE: usize = 1024 * 1024;

/// The message comes before the write, because a server may allow one and not the other. Nobody reads in between.
const SWAP: &str = "\
local value = redis.call('GETRANGE', KEYS[1], 0, ARGV[4])
if value ~= ARGV[1] then return {0, value} end
redis.call('PUBLISH', KEYS[1], ARGV[3])
redis.call('SET', KEYS[1], ARGV[2])
return {1}";

pub(crate) struct RedisKey {
    url: StateUrl,
    name: String,
    tls: Option<Arc<ClientConfig>>,
    /// Taken while it is used: a request that is given up, or that fails, closes it.
    open: Mutex<Option<Open>>,
    /// Counts failures of servers. The next connection is made to the next one.
    turns: AtomicUsize,
    changed: Arc<Notify>,
    /// The name of the script on the server: its SHA-1.
    script: String,
    /// Marks the messages of this process.
    sender: String,
    warned_of_eviction: AtomicBool,
}

/// An open connection. It is closed on drop.
struct Open {
    connection: MultiplexedConnection,
    driver: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl RedisKey {
    /// Reads certificates if it needs them. Connects to nothing.
    pub(crate) fn new(url: &StateUrl, name: &str, ca_file: Option<&Path>) -> Result<Self> {
        let tls = if url.tls { Some(tls_of_system(ca_file)?) } else { None };
        Ok(Self {
            url: url.clone(),
            name: name.to_owned(),
            tls,
            open: Mutex::default(),
            turns: AtomicUsize::new(0),
            changed: Arc::default(),
            script: hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, SWAP.as_bytes())),
            sender: format!("{:016x}", OsRng.next_u64()),
            warned_of_eviction: AtomicBool::new(false),
        })
    }

    /// Sends a command, over the open connection or a new one. Closes the connection if it fails.
    async fn request(&self, command: Cmd) -> Result<Value> {
        let mut slot = self.open.lock().await;
        let answered = async {
            let (open, is_new) = match slot.take() {
                Some(open) => (open, false),
                // TCP, TLS and the login need three round trips, and the network may be slow.
                None => (in_time(self.connect()).await?, true),
            };
            let connection = open.connection.clone();
            let response = in_time(async {
                if !is_new {
                    return Ok(ask(connection, command).await?);
                }
                // Sent together, for one more round trip.
                let (prepared, response) =
                    tokio::join!(self.prepare(connection.clone()), ask(connection, command));
                prepared?;
                Ok(response?)
            });
            let response = response.await?;
            Ok((open, response))
        };
        match answered.await {
            Ok((open, response)) => {
                *slot = Some(open);
                Ok(response)
            }
            Err(failure) => {
                self.turns.fetch_add(1, Ordering::Relaxed);
                Err(Failure::to_error(&failure, &self.url, &self.name))
            }
        }
    }

    async fn connect(&self) -> std::result::Result<Open, Failure> {
        let server = &self.url.servers[self.turns.load(Ordering::Relaxed) % self.url.servers.len()];
        let stream = connection::open(server, self.tls.as_ref()).await?;
        let mut login = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name()
            .set_db(self.url.database.into());
        if let Some(user) = &self.url.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.url.password {
            login = login.set_password(password.expose());
        }
        let (changed, sender) = (Arc::clone(&self.changed), self.sender.clone());
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(OPERATION_TIMEOUT))
            .set_push_sender(move |push: PushInfo| {
                if is_news(&push, &sender) {
                    changed.notify_one();
                }
                Ok::<_, redis::aio::SendError>(())
            });
        let (connection, driver) = MultiplexedConnection::new_with_config(&login, stream, config).await?;
        let driver = tokio::spawn(driver).abort_handle();
        Ok(Open { connection, driver })
    }

    /// What the first command over a connection is sent together with.
    async fn prepare(&self, connection: MultiplexedConnection) -> std::result::Result<(), Failure> {
        let mut subscriber = connection.clone();
        let [mut load, mut info] = ["SCRIPT", "INFO"].map(cmd);
        load.arg("LOAD").arg(SWAP);
        info.arg("memory");
        let (loaded, role, memory, subscribed) = tokio::join!(
            ask(connection.clone(), load),
            ask(connection.clone(), cmd("ROLE")),
            ask(connection, info),
            subscriber.subscribe(&self.name),
        );
        loaded?;
        // A replica may be behind, and takes no writes.
        if let Some(Value::Array(role)) = unless_forbidden(role)?
            && !is_text(role.first(), "master")
        {
            return Err(Failure::Replica);
        }
        if let Some(memory) = unless_forbidden(memory)? {
            self.check_eviction(&memory);
        }
        Ok(subscribed?)
    }

    /// The key has no time to live, so the other policies spare it.
    fn check_eviction(&self, memory: &Value) {
        let memory = match memory {
            Value::BulkString(bytes) => String::from_utf8_lossy(bytes),
            Value::VerbatimString { text, .. } => text.into(),
            _ => return,
        };
        let policy = memory.lines().find_map(|line| line.trim().strip_prefix("maxmemory_policy:"));
        if let Some(policy) = policy
            && policy.starts_with("allkeys-")
            && !self.warned_of_eviction.swap(true, Ordering::Relaxed)
        {
            log!(
                Warn,
                "state",
                "{} may remove the state of this node when its memory is full, because its maxmemory-policy is {}; set \
                 noeviction or one of the volatile policies",
                self.url,
                crate::foreign::foreign(policy)
            );
        }
    }

    async fn get(&self) -> Result<Option<Vec<u8>>> {
        let mut get = cmd("GETRANGE");
        get.arg(&self.name).arg(0).arg(MAX_VALUE - 1);
        match self.request(get).await? {
            Value::BulkString(value) => Ok(present(value)),
            _ => Err(self.unexpected()),
        }
    }

    async fn run_script(&self, expected: Option<&[u8]>, value: &[u8]) -> Result<Swap> {
        let mut script = cmd("EVALSHA");
        script.arg(&self.script).arg(1).arg(&self.name);
        script.arg(expected.unwrap_or_default()).arg(value).arg(&self.sender).arg(MAX_VALUE - 1);
        let Value::Array(result) = self.request(script).await? else { return Err(self.unexpected()) };
        Ok(match <[Value; 2]>::try_from(result) {
            Ok([_, Value::BulkString(value)]) => Swap::Changed(present(value)),
            Ok(_) => Swap::Changed(None),
            Err(_) => Swap::Done,
        })
    }

    /// Waits for the copies of the last write, if there are any.
    async fn wait_for_replicas(&self) {
        let open = self.open.lock().await.as_ref().map(|open| open.connection.clone());
        let Some(connection) = open else { return };
        if let Ok(Value::Array(role)) = ask(connection.clone(), cmd("ROLE")).await
            && let Some(Value::Array(replicas)) = role.get(2)
            && !replicas.is_empty()
        {
            let mut wait = cmd("WAIT");
            wait.arg(replicas.len()).arg(milliseconds(REPLICATION_TIMEOUT));
            // If it fails, the next request shows why.
            let _ = ask(connection, wait).await;
        }
    }

    fn unexpected(&self) -> Error {
        let error = RedisError::from((ErrorKind::UnexpectedReturnType, "the response is not one of Redis"));
        Failure::from(error).to_error(&self.url, &self.name)
    }
}

async fn ask(mut connection: MultiplexedConnection, command: Cmd) -> RedisResult<Value> {
    command.query_async(&mut connection).await
}

/// Redis does not tell an absent value from an empty one here.
fn present(value: Vec<u8>) -> Option<Vec<u8>> {
    (!value.is_empty()).then_some(value)
}

async fn in_time<T>(
    work: impl Future<Output = std::result::Result<T, Failure>>,
) -> std::result::Result<T, Failure> {
    timeout(OPERATION_TIMEOUT, work).await.unwrap_or(Err(Failure::Silent))
}

/// Whether a message says that another process has written, or that such a message may be missed.
fn is_news(push: &PushInfo, sender: &str) -> bool {
    match push.kind {
        PushKind::Message => !is_text(push.data.get(1), sender),
        PushKind::Disconnection => true,
        _ => false,
    }
}

fn is_text(value: Option<&Value>, text: &str) -> bool {
    match value {
        Some(Value::BulkString(bytes)) => bytes == text.as_bytes(),
        Some(Value::SimpleString(found)) => found == text,
        _ => false,
    }
}

/// A user need not be allowed to ask how the server is set up, and not every server can be asked. `None` then.
fn unless_forbidden<T>(response: RedisResult<T>) -> RedisResult<Option<T>> {
    let is_unknown =
        |error: &RedisError| error.detail().is_some_and(|why| why.starts_with("unknown command"));
    match response {
        Ok(response) => Ok(Some(response)),
        Err(error) if is_forbidden(&error) || is_unknown(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl RemoteKey for RedisKey {
    fn read(&self) -> Reply<'_, Option<Vec<u8>>> {
        Box::pin(self.get())
    }

    fn swap<'a>(&'a self, expected: Option<&'a [u8]>, value: &'a [u8]) -> Reply<'a, Swap> {
        Box::pin(self.run_script(expected, value))
    }

    fn replicated(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let _ = timeout(2 * REPLICATION_TIMEOUT, self.wait_for_replicas()).await;
        })
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.changed.notified())
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.open.lock().await.take();
        })
    }
}
