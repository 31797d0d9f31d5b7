//! The requests that DDS sends to a node: the callback with the secret, and health probes.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use crate::builder::Callback;
use crate::event::Event;
use crate::identity::Identity;
use crate::shared::{Shared, random_text};

const DDS_USER_AGENT: &str = "DDS v1.0.0";
const MAX_ANSWER: usize = 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);

/// The pauses between attempts to call a node that cannot be reached.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The node's id in a callback before any node has registered.
const NO_NODE: &str = "00000000-0000-8000-8000-000000000000";

/// The answer of a node to a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallbackOutcome {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// The base URL of a node's callback server: plain HTTP, on loopback.
#[derive(Clone, Debug)]
pub(crate) struct NodeUrl {
    address: SocketAddr,
    base_path: String,
}

impl FromStr for NodeUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: &str| {
            format!(
                "node URL {text:?}{why}; expected http://, a loopback address, and maybe a port and a path, such as \
                 http://127.0.0.1:8080"
            )
        };
        let uri: Uri = text.parse().map_err(|error| refused(&format!(" is not a URL: {error}")))?;
        if uri.scheme_str() != Some("http") {
            return Err(refused(" does not begin with http://"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(refused(" has a user name"));
        }
        if uri.query().is_some() {
            return Err(refused(" has a query"));
        }
        // The parser of URLs takes every number.
        let port = match uri.authority().and_then(|authority| authority.as_str().rsplit_once(':')) {
            Some((_, port)) if !port.is_empty() && !port.ends_with(']') => port
                .parse()
                .ok()
                .filter(|number| *number != 0 && !port.starts_with('+'))
                .ok_or_else(|| refused(" has no port from 1 to 65535"))?,
            _ => 80,
        };
        let host = match uri.host().unwrap_or_default() {
            // Not resolved, because it must be loopback.
            "localhost" => Some(IpAddr::from(Ipv4Addr::LOCALHOST)),
            host => host.trim_start_matches('[').trim_end_matches(']').parse().ok(),
        };
        match host {
            Some(ip) if ip.is_loopback() => Ok(Self {
                address: SocketAddr::new(ip, port),
                base_path: uri.path().trim_end_matches('/').to_owned(),
            }),
            _ => Err(refused(" is not on loopback")),
        }
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.base_path)
    }
}

/// Calls back a node that has registered or signed in, unless that was done before or its URL is not known. With
/// [`Callback::BeforeAnswer`], the first attempt has ended when this returns.
pub(crate) async fn after_request(shared: &Arc<Shared>, node: Identity) {
    if shared.settings.callback == Callback::Never || !claim(shared, node) {
        return;
    }
    match shared.settings.callback {
        // A failure is reported as an event. It does not fail the registration.
        Callback::BeforeAnswer if call_back_and_probe(shared, node).await.is_ok() => {}
        Callback::BeforeAnswer => drop(tokio::spawn(retry(Arc::clone(shared), node))),
        _ => {
            let shared = Arc::clone(shared);
            // This thread runs the task after the connection's task has written the answer.
            tokio::spawn(async move {
                if call_back_and_probe(&shared, node).await.is_err() {
                    retry(shared, node).await;
                }
            });
        }
    }
}

/// The node URL has been set: calls back the node that registered last, unless that was done before.
pub(crate) async fn after_node_url(shared: &Arc<Shared>) {
    if let Some(node) = shared.read(|state| state.registry.latest())
        && shared.settings.callback != Callback::Never
        && claim(shared, node)
        && call_back_and_probe(shared, node).await.is_err()
    {
        retry(Arc::clone(shared), node).await;
    }
}

/// Whether the node's URL is known and its callback has not been made. The caller makes it.
fn claim(shared: &Shared, node: Identity) -> bool {
    shared.node_url(Some(node)).is_some() && shared.change(|state| state.registry.claim_callback(node))
}

/// Calls a node that could not be reached until it can be, has been called otherwise, or is forgotten.
async fn retry(shared: Arc<Shared>, node: Identity) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        if !claim(&shared, node) || call_back_and_probe(&shared, node).await.is_ok() {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Calls the node back and, if it registered with a URL, probes its health.
async fn call_back_and_probe(shared: &Shared, node: Identity) -> io::Result<()> {
    call_back_node(shared, node).await?;
    if shared.read(|state| state.registry.url(node).is_some()) {
        // A failure is reported as an event and in the registry.
        let _ = probe(shared, Some(node)).await;
    }
    Ok(())
}

/// Sends a secret to the node that registered last.
pub(crate) async fn call_back(shared: &Shared) -> io::Result<CallbackOutcome> {
    match shared.read(|state| state.registry.latest()) {
        Some(node) => {
            shared.change(|state| state.registry.claim_callback(node));
            call_back_node(shared, node).await
        }
        None => send_secret(shared, None, NO_NODE).await,
    }
}

async fn call_back_node(shared: &Shared, node: Identity) -> io::Result<CallbackOutcome> {
    let id = shared.read(|state| state.registry.get(node).map(|node| node.node_id.clone()));
    let outcome = send_secret(shared, Some(node), id.as_deref().unwrap_or(NO_NODE)).await;
    if outcome.is_err() {
        shared.change(|state| state.registry.callback_failed(node));
    }
    outcome
}

async fn send_secret(shared: &Shared, node: Option<Identity>, id: &str) -> io::Result<CallbackOutcome> {
    let secret = shared.change(|state| {
        let generate = || random_text(43);
        let own = || node.and_then(|node| state.registry.secret(node, generate));
        let secret = state.secret.clone().or_else(own).unwrap_or_else(generate);
        state.last_secret = Some(secret.clone());
        secret
    });
    let body = json!({ "id": id, "secret": secret, "organization_id": NO_NODE, "domains": [] });
    post_callback(shared, node, body.to_string().into(), "application/json").await
}

/// Posts any body to the callback endpoint of the node that registered last.
pub(crate) async fn call_back_with(
    shared: &Shared,
    body: Vec<u8>,
    content_type: &str,
) -> io::Result<CallbackOutcome> {
    let node = shared.read(|state| state.registry.latest());
    post_callback(shared, node, body, content_type).await
}

async fn post_callback(
    shared: &Shared,
    node: Option<Identity>,
    body: Vec<u8>,
    content_type: &str,
) -> io::Result<CallbackOutcome> {
    let json: Option<Value> = serde_json::from_slice(&body).ok();
    let secret_len = json.as_ref().and_then(|json| json["secret"].as_str()).map_or(0, str::len);
    let path = "/internal/v1/registrations";
    let outcome = send(shared, node, Method::POST, path, content_type, body).await?;
    shared.emit(Event::CalledBack { status: outcome.status, secret_len });
    Ok(outcome)
}

/// Probes the health of the node that registered last.
pub(crate) async fn probe_health(shared: &Shared) -> io::Result<u16> {
    let node = shared.read(|state| state.registry.latest());
    probe(shared, node).await
}

async fn probe(shared: &Shared, node: Option<Identity>) -> io::Result<u16> {
    let probed = send(shared, node, Method::GET, "/health", "", Vec::new()).await;
    let online = probed.as_ref().is_ok_and(|outcome| outcome.status == 200);
    if let Some(node) = node {
        shared.change(|state| state.registry.probed(node, online));
    }
    let status = probed?.status;
    shared.emit(Event::HealthProbed { status });
    Ok(status)
}

/// Probes the health of every node whose URL is known, at the interval of the settings, if there is one.
pub(crate) async fn probe_regularly(shared: Arc<Shared>) {
    let Some(period) = shared.settings.health_interval else {
        return;
    };
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        // Before the first registration, the node URL can be known already.
        let nodes = match shared.read(|state| state.registry.identities()) {
            nodes if nodes.is_empty() => vec![None],
            nodes => nodes.into_iter().map(Some).collect(),
        };
        for node in nodes {
            if shared.node_url(node).is_some() {
                // A failure is reported as an event and in the registry.
                let _ = probe(&shared, node).await;
            }
        }
    }
}

async fn send(
    shared: &Shared,
    node: Option<Identity>,
    method: Method,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> io::Result<CallbackOutcome> {
    let url = shared.node_url(node).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotConnected,
            "the URL of the node's callback server is not known; set the node URL",
        )
    })?;
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", url.base_path))
        .header(HOST, url.address.to_string())
        .header(USER_AGENT, DDS_USER_AGENT)
        .header(CONTENT_TYPE, content_type)
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    let timed_out = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 seconds"));
    let outcome =
        tokio::time::timeout(TIMEOUT, exchange(url.address, request)).await.unwrap_or_else(timed_out);
    if let Err(error) = &outcome {
        shared.emit(Event::NodeUnreachable { why: format!("{url}: {error}") });
    }
    outcome
}

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> io::Result<CallbackOutcome> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Ends with the sender.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(io::Error::other)?;
    Ok(CallbackOutcome { status, body: body.to_bytes().to_vec() })
}
