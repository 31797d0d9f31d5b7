//! A node in an async program, with typed options and events. Any async runtime will do; this program uses tokio.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::time::Duration;

use posemesh_node_registration::{Config, EventKind, Node};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::builder()
        .load_env() // REG_SECRET, SECP256K1_PRIVHEX, …
        .node_version("1.0.0")
        .capabilities(["/example/v1"])
        .request_timeout(Duration::from_secs(30))
        .build()?;
    let node = Node::start_with_event_callback(&config, |event| match &event.kind {
        EventKind::StatusChanged { previous, state } => println!("{previous} -> {state}"),
        EventKind::AttemptFailed { message, retry_in, .. } => println!("{message}; retry in {retry_in:?}"),
        _ => {}
    })?;

    tokio::time::timeout(Duration::from_secs(60), node.wait_registered()).await??;
    let token = tokio::time::timeout(Duration::from_secs(60), node.wait_access_token()).await??;
    println!("access token of {} bytes", token.value().len());

    // `stop` blocks until the node has stopped, so it does not run on a thread of the runtime.
    #[expect(
        clippy::disallowed_methods,
        reason = "for the library's own code only; this is a program's runtime"
    )]
    tokio::task::spawn_blocking(move || node.stop(Duration::from_secs(5))).await??;
    Ok(())
}
