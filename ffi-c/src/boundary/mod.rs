//! The boundary between C and Rust, and nearly all unsafe code of this crate.
//!
//! The macros take an export's parameters by name, check them, and turn them into Rust values. What cannot be
//! checked, the header requires of the caller: a pointer that is not NULL points to what its type says, and
//! stays valid during the call.

#![expect(unsafe_code, reason = "C's pointers become Rust values here")]

mod callback;
mod panics;
mod pointers;
mod sized;
mod text;
mod texts;

pub(crate) use callback::Callback;
pub(crate) use panics::{guard, guard_or};
pub(crate) use pointers::{borrow, borrow_mut, bytes, free, give, invalid, items, place, required_place};
pub(crate) use sized::{read_sized, write_sized};
pub(crate) use text::{c_bytes, readable, text, text_out};
pub(crate) use texts::Texts;

// What the macros expand to.
pub(crate) use pointers::{shared_ref, slice, take_back, unique_ref};
pub(crate) use sized::{copy_sized, fill_sized};
pub(crate) use text::{TextOut, until_nul, utf8};
