//! The routes in a web server of the host's.

#[cfg(target_os = "linux")]
#[path = "support/place.rs"]
mod place;
#[cfg(target_os = "linux")]
#[path = "routes/processes.rs"]
mod processes;
mod support;
#[cfg(target_os = "linux")]
#[path = "support/worker.rs"]
mod worker;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use posemesh_dev_dds::{Callback, DevDds};
use posemesh_node_registration::ErrorCode;
use posemesh_node_registration::axum::body::Bytes;
use posemesh_node_registration::axum::extract::Request;
use posemesh_node_registration::axum::http::{self, Response, StatusCode, header};
use posemesh_node_registration::axum::middleware::{Next, from_fn};
use posemesh_node_registration::axum::response::IntoResponse as _;
use posemesh_node_registration::axum::routing::get;
use posemesh_node_registration::axum::{self, Router};
use posemesh_node_registration::bindings::{Handled, NodeExt as _, respond_without_node};
use posemesh_node_registration::node::{Node, Wait};
use posemesh_node_registration::status::State;
use serde_json::json;
use support::{GUARD, at_once};
use tokio::sync::oneshot;

/// Not a test: the body of a worker process.
#[cfg(target_os = "linux")]
#[test]
fn worker() {
    if support::child_case().is_some() {
        worker::work();
    }
}

const REGISTRATIONS: &str = "/internal/v1/registrations";
const DDS: (&str, &str) = ("user-agent", "DDS v1.0");
const JSON: (&str, &str) = ("content-type", "application/json");
const MIB: usize = 1024 * 1024;

/// A registered node without a server of its own, which DDS does not call.
fn registered() -> (DevDds, Node) {
    let dds = DevDds::builder().callback(Callback::Never).start().expect("a DDS");
    let node = support::start(&dds, &[]);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    (dds, node)
}

fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> http::Request<Bytes> {
    let request = http::Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body.into()).expect("a request")
}

fn secret(secret: &str) -> String {
    json!({ "id": "0b5e4f2a-1111-4222-8333-4444aaaabbbb", "secret": secret }).to_string()
}

fn callback(body: impl Into<Bytes>) -> http::Request<Bytes> {
    request("POST", REGISTRATIONS, &[JSON], body)
}

/// A callback of this length.
fn long(length: usize) -> String {
    let without = secret("s-long").len();
    secret("s-long").replace("\"secret\"", &format!("\"{}\":0,\"secret\"", "x".repeat(length - without - 5)))
}

/// The response to a request that is handled without waiting.
fn handled(node: &Node, request: http::Request<Bytes>) -> Option<Response<Full<Bytes>>> {
    at_once(node.handle(request))
}

fn status(node: &Node, request: http::Request<Bytes>) -> u16 {
    handled(node, request).expect("it is for the library").status().as_u16()
}

fn body(response: Response<Full<Bytes>>) -> Bytes {
    at_once(response.into_body().collect()).expect("in memory").to_bytes()
}

fn assert_unavailable(response: Option<Response<Full<Bytes>>>) -> Bytes {
    let response = response.expect("it is for the library");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let seconds = response.headers()[header::RETRY_AFTER].to_str().expect("text").parse::<u32>();
    assert!((1..=30).contains(&seconds.expect("seconds")));
    body(response)
}

fn stop(node: &Node) {
    node.stop(GUARD).expect("stops");
}

#[test]
fn a_callback_and_a_probe_are_handled_at_once() {
    let (_dds, node) = registered();
    let response = handled(&node, callback(secret("s-1"))).expect("for the library");
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (StatusCode::OK, &"application/json".parse().expect("a value"))
    );
    assert_eq!(body(response), r#"{"ok":true}"#);
    assert_eq!(node.read_secret().expect("this process").expect("a secret").expose(), "s-1");
    assert_eq!(status(&node, callback(secret("s-1"))), 200);
    assert_eq!(status(&node, callback(secret("s-2"))), 403);

    assert_eq!(node.status().expect("this process").last_healthcheck, None);
    for method in ["GET", "HEAD"] {
        let response = handled(&node, request(method, "/health", &[DDS], "")).expect("for the library");
        assert_eq!(response.status(), StatusCode::OK);
        assert!(body(response).is_empty());
    }
    assert!(node.status().expect("this process").last_healthcheck.is_some());
    stop(&node);
}

#[test]
fn callbacks_have_the_limits_of_the_nodes_own_server() {
    let (_dds, node) = registered();
    assert_eq!(status(&node, callback(long(256 * 1024 + 1))), 413);
    assert_eq!(status(&node, request("POST", REGISTRATIONS, &[], secret("s-1"))), 415);
    assert_eq!(status(&node, callback("no JSON")), 400);
    assert_eq!(status(&node, callback("{}")), 422);
    assert_eq!(status(&node, callback(secret(&"x".repeat(5000)))), 403);
    assert_eq!(node.read_secret().expect("this process").as_ref().map(|_| ()), None);
    assert_eq!(status(&node, callback(long(256 * 1024))), 200);
    for (method, path, allow) in
        [("GET", REGISTRATIONS, "POST"), ("PUT", REGISTRATIONS, "POST"), ("POST", "/health", "GET,HEAD")]
    {
        let response = handled(&node, request(method, path, &[DDS], "")).expect("for the library");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &allow.parse().expect("a value"))
        );
    }
    stop(&node);
}

#[test]
fn other_requests_are_left_to_the_host() {
    let (_dds, node) = registered();
    for path in [REGISTRATIONS, "/health"] {
        let method = if path == REGISTRATIONS { "POST" } else { "GET" };
        let headers = [JSON, DDS];
        let respond = |path: &str| handled(&node, request(method, path, &headers, secret("s-1")));
        for ours in [path.to_owned(), format!("{path}/"), format!("{path}?x=/")] {
            assert_eq!(respond(&ours).map(|response| response.status()), Some(StatusCode::OK), "{ours}");
        }
        let upper = path.to_uppercase();
        for other in [
            &format!("{path}//"),
            &format!("/{path}"),
            &format!("/a{path}"),
            &format!("{path}/x"),
            &upper,
            "/",
        ] {
            assert!(respond(other).is_none(), "{other}");
        }
    }
    for method in ["GET", "HEAD", "POST"] {
        for agent in [
            &[][..],
            &[("user-agent", "kube-probe/1.30")],
            &[("user-agent", "dds v1")],
            &[("user-agent", "x DDS v1")],
        ] {
            assert!(handled(&node, request(method, "/health", agent, "")).is_none(), "{method} {agent:?}");
        }
    }
    stop(&node);
    assert!(handled(&node, request("GET", "/", &[], "")).is_none());
    assert!(handled(&node, request("GET", "/health", &[], "")).is_none());
}

#[test]
fn a_node_that_is_stopped_or_not_there_yet_is_unavailable() {
    let (_dds, node) = registered();
    stop(&node);
    let probe = || request("GET", "/health", &[DDS], "");
    assert_eq!(assert_unavailable(handled(&node, callback(secret("s-1")))), "the node was stopped");
    assert_unavailable(handled(&node, probe()));
    assert_eq!(status(&node, request("GET", REGISTRATIONS, &[], "")), 405);
    assert!(node.read_secret().expect("this process").is_none());

    let missing = |request: &_| respond_without_node(request, "the node has not been started yet");
    assert_eq!(assert_unavailable(missing(&callback(secret("s-1")))), "the node has not been started yet");
    assert_unavailable(missing(&probe()));
    assert_eq!(missing(&request("DELETE", REGISTRATIONS, &[], "")).expect("ours").status(), 405);
    assert!(missing(&request("GET", "/health", &[], "")).is_none());
    assert!(missing(&request("GET", "/", &[], "")).is_none());

    // For the bindings, too.
    let done = |_| panic!("it is not called");
    let Ok(Handled::Now(Some(response))) = node.handle_or_then(probe(), done) else { panic!("not now") };
    assert_eq!(response.status(), 503);
    assert_unavailable(node.handle_within(probe(), GUARD).expect("this process"));
    assert!(node.handle_within(request("GET", "/", &[], ""), GUARD).expect("this process").is_none());
}

#[test]
fn a_wait_for_the_secret_needs_routes_that_are_used() {
    let (_dds, node) = registered();
    let wait = || node.wait(Wait::Secret, Some(Duration::from_millis(1))).expect_err("no secret").code();
    assert_eq!(wait(), ErrorCode::NotFound);
    assert!(handled(&node, request("GET", "/", &[], "")).is_none());
    assert_eq!(wait(), ErrorCode::Timeout);
    stop(&node);

    type Use = fn(&Node);
    for used in [(|node| drop(node.router())) as Use, |node| node.expect_callbacks().expect("this process")] {
        let (_dds, node) = registered();
        used(&node);
        assert_eq!(
            node.wait(Wait::Secret, Some(Duration::from_millis(1))).expect_err("none").code(),
            ErrorCode::Timeout
        );
        stop(&node);
    }

    let dds = DevDds::start().expect("a DDS");
    let node = support::start(&dds, &[("node_url", "http://127.0.0.1:9")]);
    assert_eq!(
        node.wait(Wait::Secret, Some(Duration::from_millis(1))).expect_err("none").code(),
        ErrorCode::Timeout
    );
    stop(&node);
}

/// Sends a request. Returns the status, the header in lowercase, and the body of the response.
fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect("the host listens");
    stream.set_read_timeout(Some(GUARD)).expect("not zero");
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n{headers}");
    let framing = match body.is_empty() {
        true => "\r\n".to_owned(),
        false => format!("content-length: {}\r\n\r\n", body.len()),
    };
    // The host may respond and close before it has read everything.
    let _ = stream.write_all(&[head.as_bytes(), framing.as_bytes(), body].concat());
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    let response = String::from_utf8(response).expect("text");
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no header: {response:?}"));
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, head.to_lowercase(), body.to_owned())
}

/// Serves an application on a runtime of its own, as long as this exists.
struct Host {
    address: SocketAddr,
    _end: oneshot::Sender<()>,
}

impl Host {
    fn serve(app: Router) -> Self {
        Self::run(move |listener| async move { axum::serve(listener, app).await.expect("it serves") })
    }

    fn run<F: Future<Output = ()> + 'static>(
        serve: impl FnOnce(tokio::net::TcpListener) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        listener.set_nonblocking(true).expect("a socket");
        let (end, ended) = oneshot::channel::<()>();
        thread::spawn(move || {
            support::runtime().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = serve(listener) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, _end: end }
    }

    /// As [`exchange`].
    fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, String, String) {
        exchange(self.address, method, path, headers, body)
    }

    fn status(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> u16 {
        self.exchange(method, path, headers, body.as_ref()).0
    }

    /// What every host must show, with the routes under this prefix.
    fn check(&self, node: &Node, prefix: &str) {
        let registrations = format!("{prefix}{REGISTRATIONS}");
        let call = |headers: &[_], body: &str| self.status("POST", &registrations, headers, body);
        assert_eq!(call(&[JSON], &long(300 * 1024)), 413);
        assert_eq!(call(&[], &secret("s-1")), 415);
        assert_eq!(call(&[JSON], "no JSON"), 400);
        assert_eq!(call(&[JSON], &long(150 * 1024)), 200);
        let (status, _, text) =
            self.exchange("POST", &format!("{registrations}/"), &[JSON], secret("s-long").as_bytes());
        assert_eq!((status, text.as_str()), (200, r#"{"ok":true}"#));
        assert_eq!(call(&[JSON], &secret("another")), 403);
        let chunked = format!("{:x}\r\n{}\r\n0\r\n\r\n", secret("s-long").len(), secret("s-long"));
        assert_eq!(self.chunked(&registrations, &chunked), 200);

        let (status, head, _) = self.exchange("GET", &registrations, &[], b"");
        assert!(status == 405 && head.contains("\r\nallow: post"), "{head}");
        let before = node.status().expect("this process").last_healthcheck;
        assert_eq!(before, None);
        let (status, _, text) = self.exchange("HEAD", &format!("{prefix}/health"), &[DDS], b"");
        assert_eq!((status, text.as_str()), (200, ""));
        assert!(node.status().expect("this process").last_healthcheck.is_some());
        assert_eq!(self.status("GET", "/nothing", &[], ""), 404);
        assert_eq!(self.status("GET", "/jobs", &[], ""), 200);

        stop(node);
        let (status, head, text) =
            self.exchange("POST", &registrations, &[JSON], secret("s-long").as_bytes());
        assert_eq!((status, text.as_str()), (503, "the node was stopped"));
        assert!(head.contains("\r\nretry-after: "), "{head}");
    }

    fn chunked(&self, path: &str, chunks: &str) -> u16 {
        let mut stream = TcpStream::connect(self.address).expect("the host listens");
        stream.set_read_timeout(Some(GUARD)).expect("not zero");
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n{chunks}"
        )
        .expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        response.split(' ').nth(1).expect("a status").parse().expect("a number")
    }
}

fn app() -> Router {
    Router::new().route("/jobs", get(async || "none"))
}

#[test]
fn the_router_is_merged_or_nested() {
    let (_dds, node) = registered();
    Host::serve(app().merge(node.router())).check(&node, "");

    let (_dds, node) = registered();
    let host = Host::serve(app().route("/health", get(async || "the host's")).nest("/node-1", node.router()));
    assert_eq!(host.exchange("GET", "/health", &[DDS], b"").2, "the host's");
    assert_eq!(host.status("POST", REGISTRATIONS, &[JSON], secret("s-1")), 404, "not under the prefix");
    host.check(&node, "/node-1");
}

#[test]
fn an_axum_middleware_leaves_the_health_check_of_the_host_alone() {
    let (_dds, node) = registered();
    let node = Arc::new(node);
    let handling = Arc::clone(&node);
    let ours = from_fn(move |request: Request, next: Next| {
        let node = Arc::clone(&handling);
        async move {
            let (head, body) = request.into_parts();
            let Ok(body) = axum::body::to_bytes(body, MIB).await else {
                return StatusCode::PAYLOAD_TOO_LARGE.into_response();
            };
            match node.handle(Request::from_parts(head.clone(), body.clone())).await {
                Some(response) => response.map(axum::body::Body::new),
                None => next.run(Request::from_parts(head, body.into())).await,
            }
        }
    });
    let host = Host::serve(app().route("/health", get(async || "the host's")).layer(ours));
    assert_eq!(host.exchange("GET", "/health", &[], b"").2, "the host's");
    host.check(&node, "");
}

#[test]
fn a_plain_hyper_server_asks_the_node_first() {
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;

    let (_dds, node) = registered();
    let node = Arc::new(node);
    let handling = Arc::clone(&node);
    let host = Host::run(move |listener| async move {
        loop {
            let (stream, _) = listener.accept().await.expect("it listens");
            let node = Arc::clone(&handling);
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let node = Arc::clone(&node);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let is_jobs = head.uri.path() == "/jobs";
                    let response = node.handle(Request::from_parts(head, body)).await;
                    Ok::<_, hyper::Error>(response.unwrap_or_else(|| {
                        let mut response = Response::new(Full::default());
                        if !is_jobs {
                            *response.status_mut() = StatusCode::NOT_FOUND;
                        }
                        response
                    }))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    host.check(&node, "");
}

/// DDS itself calls the node through the host's server.
// scenario: mounted-routes
#[test]
fn dds_calls_the_node_through_the_host() {
    let dds = DevDds::start().expect("a DDS");
    let node = support::start(&dds, &[]);
    let host = Host::serve(app().nest("/node", node.router()));
    dds.set_node_url(Some(format!("http://{}/node", host.address))).expect("on loopback");
    node.wait(Wait::Secret, Some(GUARD)).expect("DDS calls");
    assert_eq!(node.status().expect("this process").state, State::Registered);
    stop(&node);
}
