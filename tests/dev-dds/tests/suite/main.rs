//! The local DDS, tested through sockets, with a client that shares no code with it.

mod binary;
mod callback;
mod client;
mod control;
mod faults;
mod nodes;
mod peers;
mod robots;
mod server;
mod sign_in;
mod url;
