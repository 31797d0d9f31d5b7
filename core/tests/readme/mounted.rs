use posemesh_node_registration::Node;
use posemesh_node_registration::axum::{Router, routing::get};

fn app(node: &Node) -> Router {
    Router::new().route("/jobs", get(async || "none")).merge(node.router())
}
