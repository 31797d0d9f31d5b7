//! A program with a tokio runtime and an axum application of its own: it runs the registration loop itself, and DDS
//! calls its server back.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use posemesh_node_registration::http::{DdsState, router_dds};
use posemesh_node_registration::register::{RegistrationConfig, run_registration_loop};
use posemesh_node_registration::state;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    tokio::spawn(run_registration_loop(RegistrationConfig {
        dds_base_url: std::env::var("DDS_BASE_URL")?,
        node_version: "1.0.0".into(),
        reg_secret: std::env::var("REG_SECRET")?,
        secp256k1_privhex: std::env::var("SECP256K1_PRIVHEX")?,
        client,
        register_interval_secs: 120,
        max_retry: -1,
        capabilities: vec!["/example/v1".into()],
    }));

    let jobs = get(async || format!("{:?}", state::read_state()));
    let app: Router = Router::new().route("/jobs", jobs).merge(router_dds(DdsState));
    let address = std::env::var("CALLBACK_BIND").unwrap_or_else(|_| "127.0.0.1:8080".into());
    let listener = TcpListener::bind(address).await?;
    println!("listening at {}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
