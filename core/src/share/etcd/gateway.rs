//! Requests to etcd's JSON gateway: sent to a server that responds, with a token if the URL names a user.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use hyper::header::HeaderValue;
use hyper::{StatusCode, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::message::{Authenticate, Authenticated, Refusal};
use crate::config::StateUrl;
use crate::error::{Error, ErrorCode, Result};
use crate::foreign::{foreign, foreign_error};
use crate::http_client::{DirectClient, RequestError, Response};
use crate::share::remote::{OPERATION_TIMEOUT, presentable};

/// The longest response. Records are much shorter, but a foreign value under the key is read before it is replaced. By
/// default, etcd stores values of up to 1.5 MiB, and sends them in base64.
const MAX_RESPONSE: usize = 4 * 1024 * 1024;

/// The codes of gRPC that are handled here.
const INVALID_ARGUMENT: u32 = 3;
const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
const FAILED_PRECONDITION: u32 = 9;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

pub(super) struct Gateway {
    url: StateUrl,
    client: DirectClient,
    /// The server for the next request: an index into those of the URL.
    server: AtomicUsize,
    token: Mutex<Option<Token>>,
}

#[derive(Clone)]
enum Token {
    Value(HeaderValue),
    /// The store lets everyone in.
    NotNeeded,
}

/// Why a request failed.
enum Failure {
    /// Whether it was carried out is not known.
    Other(Error),
    /// It was not carried out, because the token is missing or has expired.
    NoToken(Error),
    /// The store has no users to sign in.
    NoUsers(Error),
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Self::Other(error) | Self::NoToken(error) | Self::NoUsers(error) => error,
        }
    }
}

const NOT_TLS: &str = "; if it does not use TLS, use etcd+http://";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Gateway {
    pub(super) fn new(url: StateUrl, client: DirectClient) -> Self {
        Self { url, client, server: AtomicUsize::new(0), token: Mutex::default() }
    }

    /// The server for the next request.
    pub(super) fn server(&self) -> usize {
        self.server.load(Ordering::Relaxed)
    }

    /// Sends a request, and reads the response.
    pub(super) async fn call<T: DeserializeOwned>(&self, path: &str, request: &impl Serialize) -> Result<T> {
        let body = self.exchange(path, encode(request)).await?;
        self.parse(&body)
    }

    /// Not generic, because it is long.
    async fn exchange(&self, path: &str, json: Vec<u8>) -> Result<Vec<u8>> {
        let deadline = Instant::now() + OPERATION_TIMEOUT;
        let response = self.open_until(path, json, deadline).await?;
        self.body(response, deadline).await
    }

    /// Sends a request, and returns when the response begins.
    pub(super) async fn open(&self, path: &str, request: &impl Serialize) -> Result<Response> {
        self.open_until(path, encode(request), Instant::now() + OPERATION_TIMEOUT).await
    }

    async fn open_until(&self, path: &str, json: Vec<u8>, deadline: Instant) -> Result<Response> {
        let token = self.token(deadline).await?;
        match self.send(path, &json, token, deadline).await {
            Err(Failure::NoToken(_)) if self.url.user.is_some() => {
                self.set_token(None);
                let token = self.token(deadline).await?;
                self.send(path, &json, token, deadline).await.map_err(Failure::into_error)
            }
            sent => sent.map_err(Failure::into_error),
        }
    }

    /// The token that is held. Signs in first if there is none and the URL names a user.
    async fn token(&self, deadline: Instant) -> Result<Option<HeaderValue>> {
        let Some(user) = &self.url.user else { return Ok(None) };
        let held = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let token = match held {
            Some(token) => token,
            None => {
                let token = self.sign_in(user, deadline).await?;
                self.set_token(Some(token.clone()));
                token
            }
        };
        Ok(match token {
            Token::Value(value) => Some(value),
            Token::NotNeeded => None,
        })
    }

    /// After a watch was refused, for this reason.
    pub(super) fn watch_refused(&self, reason: &str) {
        if is_about_token(reason) {
            self.set_token(None);
        }
    }

    fn set_token(&self, token: Option<Token>) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    async fn sign_in(&self, user: &str, deadline: Instant) -> Result<Token> {
        let password = self.url.password.as_ref().map_or("", |password| password.expose());
        let request = Authenticate { name: user, password };
        let response = match self.send("auth/authenticate", &encode(&request), None, deadline).await {
            Ok(response) => response,
            Err(Failure::NoUsers(_)) => return Ok(Token::NotNeeded),
            Err(failure) => return Err(failure.into_error()),
        };
        let Authenticated { token } = self.parse(&self.body(response, deadline).await?)?;
        let mut token =
            HeaderValue::from_str(&token).map_err(|_| self.error("it sent a token that cannot be used"))?;
        token.set_sensitive(true);
        Ok(Token::Value(token))
    }

    /// Sends a request to the servers in turn until one takes the connection. Returns when a successful response begins.
    async fn send(
        &self,
        path: &str,
        json: &[u8],
        token: Option<HeaderValue>,
        deadline: Instant,
    ) -> std::result::Result<Response, Failure> {
        let mut tries = self.url.servers.len();
        loop {
            tries -= 1;
            let server = self.server();
            let sent = self.client.post(self.uri(server, path), token.clone(), json.to_vec());
            match timeout_at(deadline, sent).await {
                Ok(Ok(response)) if response.status().is_success() => return Ok(response),
                Ok(Ok(response)) => return Err(self.refused(server, response, deadline).await),
                // Nothing was sent.
                Ok(Err(RequestError::Connect(_))) if tries > 0 => self.leave(server),
                Ok(Err(error)) => {
                    self.leave(server);
                    return Err(self.unreachable(&error).into());
                }
                Err(_) => {
                    self.leave(server);
                    // A server of HTTP waits for the rest of what it takes for a request.
                    let hint = if self.url.tls { NOT_TLS } else { "" };
                    return Err(self.error(&format!("did not respond in time{hint}")).into());
                }
            }
        }
    }

    fn unreachable(&self, error: &RequestError) -> Error {
        let words = foreign_error(error);
        // What a server does that expects TLS, and one that does not.
        let breaks_off =
            ["corrupt message", "reset", "eof", "closed"].iter().any(|word| words.contains(word));
        let hint = match self.url.tls {
            false if breaks_off => "; if it expects TLS, use etcd+https://",
            true if breaks_off => NOT_TLS,
            _ => "",
        };
        self.error(&format!("cannot be reached: {words}{hint}"))
    }

    /// The next request goes to the next server.
    fn leave(&self, server: usize) {
        let next = (server + 1) % self.url.servers.len();
        let _ = self.server.compare_exchange(server, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn uri(&self, server: usize, path: &str) -> Uri {
        let scheme = if self.url.tls { "https" } else { "http" };
        let uri = format!("{scheme}://{}/v3/{path}", self.url.servers[server]);
        uri.parse().expect("its parts have been parsed")
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T> {
        serde_json::from_slice(body).map_err(|error| {
            self.error(&format!("the response is not one of etcd's JSON gateway: {}", foreign(error)))
        })
    }

    async fn body(&self, mut response: Response, deadline: Instant) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let chunk = timeout_at(deadline, response.chunk()).await;
            let chunk = chunk.map_err(|_| self.error("did not respond in time"))?;
            match chunk {
                Ok(None) => return Ok(body),
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_RESPONSE => body.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(self.error("the response is too long")),
                Err(error) => {
                    return Err(self.error(&format!("the response broke off: {}", foreign_error(&error))));
                }
            }
        }
    }

    async fn refused(&self, server: usize, response: Response, deadline: Instant) -> Failure {
        let status = response.status();
        let body = match self.body(response, deadline).await {
            Ok(body) => body,
            Err(error) => return error.into(),
        };
        let Ok(Refusal { code, message }) = serde_json::from_slice(&body) else {
            self.leave(server);
            return self.error(&not_etcd(status)).into();
        };
        match code {
            UNAVAILABLE => {
                self.leave(server);
                self.error(&presentable(&self.url, &message)).into()
            }
            UNAUTHENTICATED | INVALID_ARGUMENT if is_about_token(&message) && self.url.user.is_some() => {
                Failure::NoToken(self.error("it does not accept its own token"))
            }
            UNAUTHENTICATED | INVALID_ARGUMENT if is_about_token(&message) => {
                self.error("it expects a user and a password, and the URL has none").into()
            }
            INVALID_ARGUMENT if message.contains("authentication failed") => {
                self.error("the user or the password is wrong").into()
            }
            FAILED_PRECONDITION if message.contains("authentication is not enabled") => {
                Failure::NoUsers(self.error("it has no users"))
            }
            PERMISSION_DENIED => self.error("the user has no permission to read and write the key").into(),
            RESOURCE_EXHAUSTED if message.contains("space exceeded") => {
                self.error("its space is exhausted: compact and defragment it, and disarm the alarm").into()
            }
            _ => self.error(&presentable(&self.url, &message)).into(),
        }
    }

    fn error(&self, why: &str) -> Error {
        Error::new(ErrorCode::Io, format!("state_url {}: {why}", self.url))
    }
}

fn encode(request: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(request).expect("plain fields, written to memory")
}

/// Whether a refusal means that a token is missing or has expired. Some of these are invalid arguments.
fn is_about_token(message: &str) -> bool {
    let words = ["invalid auth token", "user name is empty", "auth store is old"];
    words.iter().any(|words| message.contains(words))
}

fn not_etcd(status: StatusCode) -> String {
    format!(
        "it responded with status {}, which is not etcd's JSON gateway (version 3.4 or newer)",
        status.as_u16()
    )
}
