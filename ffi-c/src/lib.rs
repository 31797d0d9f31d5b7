//! The C ABI of the posemesh node registration library.
//!
//! The core owns every decision; this door only converts. Each file holds one noun of the header, in the
//! order in which the header shows them; `boundary` holds what all of them need. `include/posemesh_node.h`
//! is generated from the doc comments here, which therefore speak to C programmers.

#![allow(non_camel_case_types, reason = "the types have their C names, so that a search finds both")]
#![allow(clippy::missing_safety_doc, reason = "the comments are the header's: what C must do stands there")]

mod boundary;

pub mod error;

pub mod config;

pub mod node;

pub mod status;

pub mod secret;

pub mod token;

pub mod event;

pub mod log;

pub mod crypto;

pub mod version;
