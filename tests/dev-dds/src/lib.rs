//! A local DDS: the other side of the registration protocol, for tests and for trying a node offline.
//!
//! ```
//! use posemesh_dev_dds::{DevDds, Endpoint, Fault};
//!
//! # fn main() -> std::io::Result<()> {
//! let dds = DevDds::start()?;
//! println!("point your node at {}", dds.url());
//!
//! // The next two sign-ins are answered with 503, the third one normally.
//! dds.inject(Endpoint::Challenge, Fault::status(503), 2);
//! assert!(dds.requests().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! It is strict where production may be lenient: a message must be one of the three forms that DDS is
//! known to accept, must repeat every field of the challenge to the letter, and must be signed by the
//! wallet it names. It listens on loopback and calls nothing but loopback.
//!
//! The server lives on a thread of its own, so every method here simply blocks and works from any test.
//! Dropping [`DevDds`] cuts all connections, ends that thread and frees the port.
//!
//! Tests in other languages, and people with `curl`, steer a running server over HTTP: `GET /_dev/`
//! says how. The same server comes as a program, `dev-dds`.

mod answer;
mod builder;
mod callback;
mod challenge;
mod control;
mod dev_dds;
mod endpoint;
mod event;
mod fault;
mod record;
mod registry;
mod routes;
mod server;
mod shared;
mod socket;
mod tokens;
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
pub use verify::{Form, SignIn, verify_sign_in};
