//! What nothing on the same stack can undercut: two POSTs with nothing around them, one signature, a server
//! that answers without looking.

use std::convert::Infallible;
use std::sync::mpsc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use peer_commands::{answer, number};
use peer_floors::{Hyper, Worker, client, key, register_and_sign, register_with_reqwest, runtime, sign};
use tokio::net::TcpListener;

fn main() {
    let (runtime, client) = (runtime(), client());
    let key = key();
    answer(|words| {
        match *words {
            ["reqwest", times] => runtime.block_on(register_with_reqwest(&client, number(times))),
            ["both", times] => runtime.block_on(register_and_sign(&client, &key, number(times))),
            ["thread", times] => register_on_a_thread(number(times)),
            ["hyper", times] => runtime.block_on(register_with_hyper(number(times))),
            ["sign", times] => (0..number(times)).for_each(|n| sign(&key, n)),
            ["serve"] => return serve(),
            _ => panic!("unknown command {words:?}"),
        }
        String::new()
    });
}

/// This thread waits for another one each time.
fn register_on_a_thread(times: u64) {
    let worker = Worker::start();
    let (tell, told) = mpsc::channel();
    for _ in 0..times {
        let tell = tell.clone();
        worker.register(move || tell.send(()).expect("the caller waits"));
        told.recv().expect("the thread runs");
    }
}

async fn register_with_hyper(times: u64) {
    let mut hyper = Hyper::connect().await;
    for _ in 0..times {
        hyper.register().await;
    }
}

/// The answers of the real server, whatever the request is.
fn serve() -> String {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("it binds");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("a live socket");
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), hyper::service::service_fn(constant)),
                );
            }
        })
    });
    address
}

async fn constant(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == Method::GET {
        return Ok(Response::default());
    }
    let mut response = Response::new(Full::from(r#"{"ok":true}"#));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
