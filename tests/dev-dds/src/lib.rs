//! A local DDS, the server of the registration protocol, for tests and for trying a node offline.
//!
//! ```
//! use posemesh_dev_dds::{DevDds, Endpoint, Fault};
//!
//! # fn main() -> std::io::Result<()> {
//! let dds = DevDds::start()?;
//! println!("set dds_base_url to {}", dds.url());
//!
//! // The next two challenge requests are answered with 503, the third one normally.
//! dds.inject(Endpoint::Challenge, Fault::status(503), 2);
//! assert!(dds.requests().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! It accepts nodes with a wallet, robots, and nodes that register with a URL (the legacy registration); see
//! [`Endpoint`]. It is strict where production may be lenient: a sign-in message must have one of the three forms that
//! DDS is known to accept, must repeat every field of the challenge exactly, and must be signed by the wallet it names.
//! The server listens on loopback and calls nothing but loopback.
//!
//! The server runs on its own thread, so every method here blocks and works from any test. Dropping [`DevDds`] closes
//! all connections, ends that thread and frees the port.
//!
//! Tests in other languages control a running server over HTTP: `GET /_dev/` describes the commands. The program
//! `dev-dds` runs the same server.

mod answer;
mod builder;
mod callback;
mod challenge;
mod control;
mod credentials;
mod dev_dds;
mod endpoint;
mod event;
mod fault;
mod identity;
mod patch;
mod peer_challenge;
mod record;
mod registry;
mod routes;
mod server;
mod shared;
mod signature;
mod socket;
mod tokens;
mod uuid;
mod verify;
mod wallet;

pub use builder::{Builder, Callback};
pub use callback::CallbackOutcome;
pub use dev_dds::DevDds;
pub use endpoint::Endpoint;
pub use event::Event;
pub use fault::Fault;
pub use record::Request;
pub use registry::RegisteredNode;
pub use tokens::TokenFormat;
pub use verify::{Form, SignIn, verify_sign_in};
