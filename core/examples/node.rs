//! A node in a few lines. Its configuration comes from the environment; the README shows it.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::time::Duration;

use posemesh_node_registration::{Config, Node, Wait};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::builder()
        .load_env() // REG_SECRET, SECP256K1_PRIVHEX, …
        .node_version("1.0.0")
        .capabilities(["/example/v1", "/example/v2"])
        .build()?;

    let node = Node::start(&config)?;
    node.wait(Wait::Registered, Some(Duration::from_secs(60)))?;
    println!("registered as {}", node.wallet_address()?);

    // For a service of the posemesh: "Authorization: Bearer <token>". Ask again for each request; while a token is
    // held, that costs nothing.
    let token = node.access_token(Some(Duration::from_secs(60)))?;
    println!("access token of {} bytes", token.value().len());

    node.stop(Duration::from_secs(5))?;
    Ok(())
}
