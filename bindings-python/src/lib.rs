//! The native half of the Python package `posemesh_node`.
//!
//! It only converts: every decision is the core crate's, and what a Python author sees (classes, docstrings,
//! types) is the hand-written package in `python/posemesh_node`, but for what only reads a node. The two agree on
//! `_native.pyi`.

mod bell;
mod callback;
mod config;
mod crypto;
mod dataclass;
mod dev_dds;
mod error;
mod event;
mod log;
mod node;
mod status;
mod token;
mod wait;

// No class here needs the GIL for its safety: all are frozen, and what changes is behind locks and atomics.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::callback::{begin_exit, end_callbacks};
    #[pymodule_export]
    use super::config::{Config, options};
    #[pymodule_export]
    use super::crypto::{eth_address, sign_eip191};
    #[pymodule_export]
    use super::dev_dds::DevDds;
    #[pymodule_export]
    use super::error::{error_codes, panic};
    #[pymodule_export]
    use super::log::set_log_callback;
    #[pymodule_export]
    use super::node::Node;
    #[pymodule_export]
    use super::wait::PendingWait;

    #[pymodule_export]
    const VERSION: &str = posemesh_node_registration::VERSION;
}
