//! A node in a few lines. Its configuration comes from the environment; the README shows it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::time::Duration;

use posemesh_node_registration::{Config, EventKind, Node, Wait};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::builder()
        .load_env() // REG_SECRET, SECP256K1_PRIVHEX, …
        .node_version("1.0.0")
        .capabilities(["/example/v1", "/example/v2"])
        .build()?;

    // If DDS refuses the node or cannot be reached, the node tries again, and the wait goes on.
    let node = Node::start_with_event_callback(&config, |event| {
        if let EventKind::AttemptFailed { message, retry_in, .. } = &event.kind {
            eprintln!("{message}; next attempt in {retry_in:.0?}");
        }
    })?;
    node.wait(Wait::Registered, Some(Duration::from_secs(60)))?;
    println!("registered as {}", node.wallet_address()?);

    // For a service of the posemesh: "Authorization: Bearer <token>". Ask again for each request; while a token is
    // held, that costs nothing.
    let token = node.access_token(Some(Duration::from_secs(60)))?;
    println!("access token of {} bytes", token.value().len());

    node.stop(Duration::from_secs(5))?;
    Ok(())
}
