//! A node in a program with a web server of its own, here axum: DDS calls the node through that server, on the one port
//! that the program has. The server also says whether the node is ready, and shows its metrics.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use posemesh_node_registration::{Config, Node, metrics};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::builder()
        .load_env() // REG_SECRET, SECP256K1_PRIVHEX, …; not CALLBACK_BIND
        .node_version("1.0.0")
        .capabilities(["/example/v1"])
        .build()?;
    let node = Arc::new(Node::start(&config)?);

    let app = Router::new()
        .route("/readyz", get(ready))
        .route("/metrics", get(show_metrics))
        .with_state(Arc::clone(&node))
        .merge(node.router());
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let listener = TcpListener::bind(address).await?;
    println!("listening at {}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// For people, `reason()` also says why the node is not ready, with the words of DDS.
async fn ready(State(node): State<Arc<Node>>) -> StatusCode {
    match node.ready(false) {
        Ok(readiness) if readiness.is_ready() => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn show_metrics(State(node): State<Arc<Node>>) -> impl IntoResponse {
    let text = node.metrics_text().map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok::<_, StatusCode>(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}
