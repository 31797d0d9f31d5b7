//! Registers a posemesh node with the discovery service (DDS), and keeps it registered.
//!
//! A [`Node`] does all of it on an internal runtime: it signs in with the node's Ethereum wallet, retries, obtains
//! access tokens, serves DDS's callbacks, and reports status and events.
//!
//! ```no_run
//! use std::time::Duration;
//! use posemesh_node_registration::{Config, Node};
//!
//! # async fn run() -> posemesh_node_registration::Result<()> {
//! let config = Config::builder()
//!     .load_env() // REG_SECRET, SECP256K1_PRIVHEX, …
//!     .node_version("1.0.0")
//!     .capabilities(["/example/v1"])
//!     .build()?;
//! let node = Node::start(&config)?;
//! node.wait_registered().await?;
//! let token = node.wait_access_token().await?;
//! // A request to a service, with "Authorization: Bearer <token.value()>"
//! node.stop(Duration::from_secs(5))?;
//! # Ok(())
//! # }
//! ```
//!
//! A program with a web server of its own lets DDS call the node through that server: [`Node::router`] for axum, and
//! [`Node::handle`] for any other.
//!
//! Programs written for version 0.2 bring a tokio runtime, and use the two halves directly:
//! [`register::run_registration_loop`] and [`http::router_dds`]. They share the state that the functions of [`state`]
//! read.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | the option table |
//! | [`node`] | a running node: start, stop, status, wait, events |
//! | [`status`], [`secret`], [`event`], [`log`] | what a node reports |
//! | [`register`] | registration without a `Node` |
//! | [`metrics`] | what a node has done, for Prometheus and others |
//! | [`token`] | access tokens |
//! | [`http`] | the callback server |
//! | [`state`] | the state of such a registration, and of a directory that outlives the process |
//! | [`crypto`] | keys, addresses, signatures |
//! | [`error`] | the error codes |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod backoff;
#[doc(hidden)]
pub mod bindings;
mod blocking;
mod callback_watch;
mod certificates;
mod clock;
pub mod config;
mod credentials;
pub mod crypto;
mod dds;
mod dispatcher;
mod dns;
pub mod error;
pub mod event;
mod file;
#[cfg(any(test, feature = "fleet"))]
#[doc(hidden)]
pub mod fleet;
mod foreign;
mod fork;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod healthcheck;
pub mod http;
mod http_client;
mod json;
mod keystore;
mod latch;
pub mod log;
pub mod metrics;
pub mod node;
mod node_id;
mod readiness;
pub mod register;
mod rfc3339;
mod runtime;
pub mod secret;
mod seqlock;
mod share;
mod sign_in;
mod siwe;
pub mod state;
mod state_dir;
pub mod status;
mod tenants;
mod thread;
pub mod token;
mod token_refresh;

// The versions that the public functions use.
#[doc(no_inline)]
pub use axum;
#[doc(no_inline)]
#[cfg(feature = "predecessor")]
pub use reqwest;

pub use config::{Config, ConfigBuilder, SigningRequest};
pub use error::{Error, ErrorCode, Result};
pub use event::{Event, EventKind};
pub use metrics::Metrics;
pub use node::{Node, Wait};
pub use node_id::NodeId;
pub use readiness::Readiness;
pub use secret::Secret;
pub use status::{Role, State, Status};
pub use token::AccessToken;

/// The version of this library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
