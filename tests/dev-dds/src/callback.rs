//! What DDS asks of a node: to take a secret, and to say that it is well.

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
use crate::shared::{Shared, State, random_text};
use crate::wallet::Wallet;

const DDS_USER_AGENT: &str = "DDS v1.0.0";
const MAX_ANSWER: usize = 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);

/// The node's id in a callback before any node has registered.
const NOBODY: &str = "00000000-0000-8000-8000-000000000000";

/// What a node answered to a callback.
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
        let uri: Uri = text.parse().map_err(|error| format!("node URL {text:?}: {error}"))?;
        let host = match uri.host().unwrap_or_default() {
            // Not looked up: it is to be loopback, whatever a resolver says.
            "localhost" => Some(IpAddr::from(Ipv4Addr::LOCALHOST)),
            host => host.trim_start_matches('[').trim_end_matches(']').parse().ok(),
        };
        match host {
            Some(ip) if ip.is_loopback() && uri.scheme_str() == Some("http") => Ok(Self {
                address: SocketAddr::new(ip, uri.port_u16().unwrap_or(80)),
                base_path: uri.path().trim_end_matches('/').to_owned(),
            }),
            _ => Err(format!("node URL {text:?}: expected http:// and a loopback address")),
        }
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.base_path)
    }
}

/// Calls back a node that has just registered, if its callback server is known. A callback before the answer
/// has ended when this returns.
pub(crate) async fn after_registration(shared: &Arc<Shared>, wallet: Wallet) {
    if shared.node_url(Some(wallet)).is_none()
        || !shared.change(|state| state.registry.claim_callback(wallet))
    {
        return;
    }
    match shared.settings.callback {
        // That it failed is an event, and no reason to fail the registration.
        Callback::BeforeAnswer => drop(call_back_node(shared, wallet).await),
        Callback::AfterAnswer => {
            // With one thread, this task begins when the connection's task has nothing left to write.
            let shared = Arc::clone(shared);
            tokio::spawn(async move { call_back_node(&shared, wallet).await });
        }
        Callback::Never => {}
    }
}

/// The node's URL has been set: calls back the node that registered last, unless that was done before.
pub(crate) async fn after_node_url(shared: &Shared) {
    let claim =
        |state: &mut State| state.registry.latest_wallet().filter(|&it| state.registry.claim_callback(it));
    if shared.settings.callback != Callback::Never
        && let Some(wallet) = shared.change(claim)
    {
        // That it failed is an event.
        let _ = call_back_node(shared, wallet).await;
    }
}

/// Sends a secret to the node that registered last.
pub(crate) async fn call_back(shared: &Shared) -> io::Result<CallbackOutcome> {
    match shared.read(|state| state.registry.latest_wallet()) {
        Some(wallet) => {
            shared.change(|state| state.registry.claim_callback(wallet));
            call_back_node(shared, wallet).await
        }
        None => send_secret(shared, None, NOBODY).await,
    }
}

/// Sends a secret to the node with this wallet.
async fn call_back_node(shared: &Shared, wallet: Wallet) -> io::Result<CallbackOutcome> {
    let id = shared.read(|state| state.registry.get(wallet).map(|node| node.node_id.clone()));
    let outcome = send_secret(shared, Some(wallet), id.as_deref().unwrap_or(NOBODY)).await;
    if outcome.is_err() {
        shared.change(|state| state.registry.callback_failed(wallet));
    }
    outcome
}

async fn send_secret(shared: &Shared, wallet: Option<Wallet>, id: &str) -> io::Result<CallbackOutcome> {
    let secret = shared.change(|state| {
        let made_up = || random_text(43);
        let own = || wallet.and_then(|wallet| state.registry.secret(wallet, made_up));
        let secret = state.secret.clone().or_else(own).unwrap_or_else(made_up);
        state.last_secret = Some(secret.clone());
        secret
    });
    let body = json!({ "id": id, "secret": secret, "organization_id": NOBODY, "domains": [] });
    post_callback(shared, wallet, body.to_string().into(), "application/json").await
}

/// Posts any body to where the node that registered last expects a callback.
pub(crate) async fn call_back_with(
    shared: &Shared,
    body: Vec<u8>,
    content_type: &str,
) -> io::Result<CallbackOutcome> {
    let wallet = shared.read(|state| state.registry.latest_wallet());
    post_callback(shared, wallet, body, content_type).await
}

async fn post_callback(
    shared: &Shared,
    wallet: Option<Wallet>,
    body: Vec<u8>,
    content_type: &str,
) -> io::Result<CallbackOutcome> {
    let json: Option<Value> = serde_json::from_slice(&body).ok();
    let secret_len = json.as_ref().and_then(|json| json["secret"].as_str()).map_or(0, str::len);
    let path = "/internal/v1/registrations";
    let outcome = send(shared, wallet, Method::POST, path, content_type, body).await?;
    shared.emit(Event::CalledBack { status: outcome.status, secret_len });
    Ok(outcome)
}

/// Asks the node that registered last for its health.
pub(crate) async fn probe_health(shared: &Shared) -> io::Result<u16> {
    let wallet = shared.read(|state| state.registry.latest_wallet());
    let probed = send(shared, wallet, Method::GET, "/health", "", Vec::new()).await;
    let online = probed.as_ref().is_ok_and(|outcome| outcome.status == 200);
    shared.change(|state| state.registry.probed(online));
    let status = probed?.status;
    shared.emit(Event::HealthProbed { status });
    Ok(status)
}

/// Probes the node's health at the interval that was asked for, if one was.
pub(crate) async fn probe_regularly(shared: Arc<Shared>) {
    let Some(period) = shared.settings.health_interval else {
        return;
    };
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let wallet = shared.read(|state| state.registry.latest_wallet());
        if shared.node_url(wallet).is_some() {
            // What came of it is an event, and in the registry.
            let _ = probe_health(&shared).await;
        }
    }
}

async fn send(
    shared: &Shared,
    wallet: Option<Wallet>,
    method: Method,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> io::Result<CallbackOutcome> {
    let node = shared.node_url(wallet);
    let node = node.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotConnected,
            "the node's callback server is not known; set the node URL",
        )
    })?;
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", node.base_path))
        .header(HOST, node.address.to_string())
        .header(USER_AGENT, DDS_USER_AGENT)
        .header(CONTENT_TYPE, content_type)
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    let timed_out = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 seconds"));
    let outcome =
        tokio::time::timeout(TIMEOUT, exchange(node.address, request)).await.unwrap_or_else(timed_out);
    if let Err(error) = &outcome {
        shared.emit(Event::NodeUnreachable { why: format!("{node}: {error}") });
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
