//! The C ABI of the posemesh node registration library.
//!
//! The core makes every decision; this crate only converts. Each file is one section of the header, and the
//! header shows them in the order below; `boundary` holds what all of them need. `include/posemesh_node.h` is
//! generated from the doc comments here, which are therefore written for C programmers.

#![allow(non_camel_case_types, reason = "the types have their C names, so that a search finds both")]
#![allow(clippy::missing_safety_doc, reason = "the comments are the header's, which states what C must do")]

mod boundary;

pub mod error;

pub mod config;

pub mod node;

pub mod status;

pub mod token;

pub mod secret;

pub mod http;

pub mod metrics;

pub mod event;

pub mod log;

pub mod signer;

pub mod crypto;

pub mod version;
