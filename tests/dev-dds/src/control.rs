//! The control API, for tests in other languages and for `curl`.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::answer::{self, Answer};
use crate::callback::{self, CallbackOutcome};
use crate::endpoint::Endpoint;
use crate::fault::Fault;
use crate::identity::Identity;
use crate::record::Request;
use crate::shared::{Shared, State};
use crate::wallet::Wallet;

const HELP: &str = include_str!("control.txt");

/// Why a command failed: 400 and the mistake in it, or 502 and the I/O error of a request to the node.
type Refusal = (StatusCode, String);

pub(crate) async fn answer(shared: &Arc<Shared>, method: &Method, path: &str, body: &[u8]) -> Answer {
    let answer = match (method.as_str(), path) {
        ("GET", "/_dev/") => Ok(answer::text(StatusCode::OK, HELP)),
        ("GET", "/_dev/requests") => Ok(answer::json(&requests(shared))),
        ("DELETE", "/_dev/requests") => change(shared, |state| state.record.clear()),
        ("POST", "/_dev/faults") => inject(shared, body),
        ("DELETE", "/_dev/faults") => change(shared, |state| state.faults.clear()),
        ("GET", "/_dev/nodes") => Ok(answer::json(&shared.read(|state| state.registry.all()))),
        ("POST", "/_dev/challenge") => set_challenge(shared, body),
        ("POST", "/_dev/node-url") => set_node_url(shared, body),
        ("POST", "/_dev/secret") => set_secret(shared, body),
        ("GET", "/_dev/secret") => {
            Ok(answer::json(&json!({ "secret": shared.read(|state| state.last_secret.clone()) })))
        }
        ("POST", "/_dev/callback") => call_back(shared, body).await,
        ("POST", "/_dev/probe") => probe(shared).await,
        ("POST", "/_dev/forget") => forget(shared, body),
        ("POST", "/_dev/token") => token(shared, body),
        ("POST", "/_dev/online-elsewhere") => set_online_elsewhere(shared, body),
        _ => Err((StatusCode::NOT_FOUND, format!("unknown command; the commands are:\n\n{HELP}"))),
    };
    answer.unwrap_or_else(|(status, why)| answer::text(status, why))
}

fn requests(shared: &Shared) -> Value {
    let request = |request: &Request| {
        let at = OffsetDateTime::from(request.at).format(&Rfc3339).expect("a year that RFC 3339 can express");
        json!({
            "number": request.number,
            "endpoint": request.endpoint,
            "method": request.method,
            "path": request.path,
            "headers": request.headers,
            "body": String::from_utf8_lossy(&request.body),
            "at": at,
            "since_start_ms": request.since_start.as_secs_f64() * 1000.0,
            "status": request.status,
        })
    };
    shared.read(|state| state.record.all()).iter().map(request).collect()
}

fn inject(shared: &Shared, body: &[u8]) -> Result<Answer, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        endpoint: Endpoint,
        #[serde(default = "once")]
        times: u32,
        #[serde(flatten)]
        fault: Fault,
    }
    let body: Body = parse(body)?;
    shared.inject(body.endpoint, body.fault, body.times).map(done).map_err(bad_request)
}

fn once() -> u32 {
    1
}

fn set_challenge(shared: &Shared, body: &[u8]) -> Result<Answer, Refusal> {
    shared.set_challenge(Some(parse(body)?)).map(done).map_err(bad_request)
}

fn set_node_url(shared: &Arc<Shared>, body: &[u8]) -> Result<Answer, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        url: Option<String>,
    }
    shared.set_node_url(parse::<Body>(body)?.url).map_err(bad_request)?;
    let shared = Arc::clone(shared);
    tokio::spawn(async move { callback::after_node_url(&shared).await });
    Ok(done(()))
}

fn set_secret(shared: &Shared, body: &[u8]) -> Result<Answer, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        secret: Option<String>,
    }
    let secret = parse::<Body>(body)?.secret;
    change(shared, |state| state.set_secret(secret))
}

async fn call_back(shared: &Shared, body: &[u8]) -> Result<Answer, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        body: String,
        #[serde(default = "json_type")]
        content_type: String,
    }
    let outcome = if body.is_empty() {
        callback::call_back(shared).await
    } else {
        let Body { body, content_type } = parse(body)?;
        callback::call_back_with(shared, body.into(), &content_type).await
    };
    let CallbackOutcome { status, body } = outcome.map_err(unreachable)?;
    Ok(answer::json(&json!({ "status": status, "body": String::from_utf8_lossy(&body) })))
}

fn json_type() -> String {
    "application/json".into()
}

async fn probe(shared: &Shared) -> Result<Answer, Refusal> {
    let status = callback::probe_health(shared).await.map_err(unreachable)?;
    Ok(answer::json(&json!({ "status": status })))
}

fn forget(shared: &Shared, body: &[u8]) -> Result<Answer, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(alias = "robot_id")]
        wallet: String,
    }
    if body.is_empty() {
        return change(shared, State::forget_all);
    }
    let node: Identity = parse::<Body>(body)?.wallet.parse().map_err(bad_request)?;
    change(shared, |state| state.forget(node))
}

fn token(shared: &Shared, body: &[u8]) -> Result<Answer, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        token: String,
    }
    let token = parse::<Body>(body)?.token;
    Ok(answer::json(&json!({ "good": shared.read(|state| state.tokens.is_valid(&token)) })))
}

fn set_online_elsewhere(shared: &Shared, body: &[u8]) -> Result<Answer, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        wallet: String,
        online: bool,
    }
    let Body { wallet, online } = parse(body)?;
    let wallet: Wallet = wallet.parse().map_err(bad_request)?;
    change(shared, |state| state.registry.set_online_elsewhere(wallet, online))
}

fn change(shared: &Shared, change: impl FnOnce(&mut State)) -> Result<Answer, Refusal> {
    shared.change(change);
    Ok(done(()))
}

fn done((): ()) -> Answer {
    answer::json(&json!({ "ok": true }))
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| bad_request(error.to_string()))
}

fn bad_request(why: String) -> Refusal {
    (StatusCode::BAD_REQUEST, why)
}

fn unreachable(error: std::io::Error) -> Refusal {
    (StatusCode::BAD_GATEWAY, error.to_string())
}
