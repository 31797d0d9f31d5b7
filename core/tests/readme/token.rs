use std::time::Duration;

use posemesh_node_registration::error::Result;
use posemesh_node_registration::node::Node;

/// Asks a service for something, and once more with a new token if it does not take the first.
fn ask(node: &Node, service: impl Fn(&str) -> u16) -> Result<u16> {
    let token = node.access_token(Some(Duration::from_secs(30)))?;
    let status = service(token.value());
    if status != 401 {
        return Ok(status);
    }
    node.invalidate_token_if(token.value())?;
    let token = node.access_token(Some(Duration::from_secs(30)))?;
    Ok(service(token.value()))
}
