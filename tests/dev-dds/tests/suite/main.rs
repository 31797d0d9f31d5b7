//! The local DDS, seen from a node: through real sockets, with a client that shares no code with it.

mod binary;
mod callback;
mod client;
mod control;
mod faults;
mod nodes;
mod server;
mod sign_in;
