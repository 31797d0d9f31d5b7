//! Registers a posemesh node with the discovery service (DDS), and keeps it registered.
//!
//! [`node::Node`] does all of it, on an internal runtime: sign-in with the node's Ethereum wallet, retries,
//! the server that DDS calls back, status, secret, events.
//!
//! Programs with a tokio runtime and an axum application of their own can instead use the two halves
//! directly: [`register::run_registration_loop`] and [`http::router_dds`], which share the state that
//! [`state`]'s free functions read.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | the option table |
//! | [`node`] | a running node: start, stop, status, wait, events |
//! | [`status`], [`secret`], [`event`], [`log`] | what a node shows |
//! | [`register`] | one registration, and the retry policy |
//! | [`token`] | access tokens |
//! | [`http`] | the callback server |
//! | [`state`] | the state, in memory and in a directory that outlives the process |
//! | [`crypto`] | keys, addresses, signatures |
//! | [`error`] | the error codes |

mod backoff;
#[doc(hidden)]
pub mod bindings;
mod blocking;
mod callback_watch;
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
pub mod node;
pub mod register;
mod runtime;
pub mod secret;
mod seqlock;
mod sign_in;
mod siwe;
pub mod state;
mod state_dir;
pub mod status;
mod tenants;
mod thread;
pub mod token;
mod token_refresh;

pub use config::{Config, ConfigBuilder};
pub use error::{Error, ErrorCode, Result};
pub use event::{Event, EventKind};
pub use node::{Node, Wait};
pub use secret::Secret;
pub use status::{Role, State, Status};
pub use token::AccessToken;

/// The version of this library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
