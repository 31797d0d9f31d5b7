//! The Node.js addon: only what TypeScript cannot do itself.
//!
//! Core makes every decision, `lib/*.ts` is the API that Node.js programs see, and this crate converts values between
//! the two. It starts no thread and has no runtime of its own.
//!
//! Four kinds of threads run this code: JavaScript threads (the main thread and any number of workers, each with its own
//! environment), libuv's pool (`start` and `stop`), core's dispatcher (events, log records and finished waits) and, for
//! waits that finish while no program listens to events, the thread that ends the wait. The last two only send messages
//! to a [`channel`].

pub mod channel;
pub mod config;
pub mod crypto;
pub mod error;
pub mod event;
pub mod http;
pub mod log;
pub mod metrics;
pub mod node;
pub mod routes;
pub mod signer;
pub mod status;
pub mod testing;
mod time;
pub mod token;
pub mod wait;
