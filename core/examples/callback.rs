//! A node that DDS calls back with a node secret: only for a node whose URL DDS knows. Its configuration comes from
//! the environment; the README shows it.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::time::Duration;

use posemesh_node_registration::{Config, Node, Wait};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::builder()
        .load_env() // REG_SECRET, SECP256K1_PRIVHEX, and CALLBACK_BIND, such as :8080
        .node_version("1.0.0")
        .capabilities(["/example/v1"])
        .build()?;

    let node = Node::start(&config)?;
    node.wait(Wait::Secret, Some(Duration::from_secs(60)))?;
    let length = node.with_secret(|secret| secret.map_or(0, |secret| secret.expose().len()))?;
    println!("node secret of {length} bytes");

    node.stop(Duration::from_secs(5))?;
    Ok(())
}
