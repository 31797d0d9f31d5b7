//! Accepts connections, records requests, and answers them or applies a fault.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::DATE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::answer::{self, Answer};
use crate::callback;
use crate::control;
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::fault::Fault;
use crate::record::Request;
use crate::routes;
use crate::shared::Shared;
use crate::socket::SocketFault;

const MAX_BODY: usize = 1024 * 1024;

/// Binds a port of the loopback interface.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    if !address.ip().is_loopback() {
        let why = format!("{address} is not a loopback address; this server listens on loopback only");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) -> Infallible {
    tokio::spawn(callback::probe_regularly(Arc::clone(&shared)));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&shared)))),
            // Probably too many open files. Some will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| Box::pin(answer(Arc::clone(&shared), request)));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // If the service returns an error, hyper stops before it writes anything. The socket is ours again, and a fault can
    // be applied to it.
    if let Err(error) = poll_fn(|context| connection.poll_without_shutdown(context)).await
        && let Some(fault) = error.source().and_then(|source| source.downcast_ref::<SocketFault>())
    {
        fault.play(connection.into_parts().io.into_inner()).await;
    }
}

async fn answer(shared: Arc<Shared>, request: hyper::Request<Incoming>) -> Result<Answer, SocketFault> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Ok(answer::text(StatusCode::BAD_REQUEST, error.to_string())),
    };
    if head.uri.path().starts_with("/_dev/") {
        return Ok(control::answer(&shared, &head.method, head.uri.path(), &body).await);
    }

    let endpoint = Endpoint::of(&head.method, head.uri.path());
    let request = recorded(&shared, &head, endpoint, &body);
    let (number, fault) = shared.change(|state| {
        (state.record.add(request), endpoint.and_then(|endpoint| state.faults.next(endpoint)))
    });
    let mut answer = match endpoint {
        Some(endpoint) => answer_or_fault(&shared, endpoint, &head.headers, &body, fault).await,
        None => Ok(answer::text(StatusCode::NOT_FOUND, "no such endpoint")),
    };
    if let Ok(answer) = &mut answer {
        // Otherwise hyper adds one from this machine's clock.
        answer.headers_mut().entry(DATE).or_insert_with(|| shared.date());
    }
    let status = match &answer {
        Ok(answer) => Some(answer.status().as_u16()),
        Err(fault) => fault.status(),
    };
    if let Some(status) = status {
        shared.change(|state| state.record.answered(number, status));
    }
    answer
}

async fn answer_or_fault(
    shared: &Arc<Shared>,
    endpoint: Endpoint,
    headers: &HeaderMap,
    body: &[u8],
    fault: Option<Fault>,
) -> Result<Answer, SocketFault> {
    if let Some(fault) = &fault {
        shared.emit(Event::FaultPlayed { endpoint, fault: fault.name() });
    }
    let normal = |stale_nonce| routes::answer(shared, endpoint, headers, body, stale_nonce);
    match fault {
        None => Ok(normal(false).await),
        Some(Fault::StaleNonce) => Ok(normal(true).await),
        Some(Fault::Delay(delay)) => {
            tokio::time::sleep(delay).await;
            Ok(normal(false).await)
        }
        Some(Fault::Patch { fields }) => Ok(answer::patched(normal(false).await, &fields).await),
        Some(fault) => fault.answer().expect("inject() checked it").ok_or(SocketFault(fault)),
    }
}

fn recorded(
    shared: &Shared,
    head: &hyper::http::request::Parts,
    endpoint: Option<Endpoint>,
    body: &Bytes,
) -> Request {
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Request {
        number: 0,
        endpoint,
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: head.headers.iter().map(header).collect(),
        body: body.to_vec(),
        at: SystemTime::now(),
        since_start: shared.started.elapsed(),
        status: None,
    }
}
