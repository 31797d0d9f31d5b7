//! The Node.js addon: what TypeScript cannot do itself, and nothing else.
//!
//! Core owns every decision, `lib/*.ts` is what a Node.js programmer sees, and this crate carries values
//! between the two. It starts no thread and has no runtime of its own.
//!
//! Four kinds of thread run this code: JavaScript threads (the main one and any number of workers, each with
//! an environment of its own), libuv's pool (`start` and `stop`), core's dispatcher (events, log records,
//! finished waits), and, for waits that finish while nobody hears events, whichever ends them. The last two only
//! ever put messages into a [`channel`].

pub mod channel;
pub mod config;
pub mod crypto;
pub mod error;
pub mod event;
pub mod log;
pub mod node;
pub mod status;
pub mod testing;
pub mod token;
