//! The native half of the Python package `posemesh_node`.
//!
//! It only converts: the core crate makes every decision. The classes, docstrings and types that a Python program sees
//! are in `python/posemesh_node`, except for the methods that only read a node. `_native.pyi` declares what this half
//! provides to the other.

mod callback;
mod config;
mod crypto;
mod dataclass;
mod dev_dds;
mod error;
mod event;
mod exit;
mod http;
mod interpreter;
mod listeners;
mod log;
mod metrics;
mod node;
mod parker;
mod queue;
mod signer;
mod status;
mod stream;
mod thread;
mod timeout;
mod token;
mod wait;

// No class here relies on the GIL: all are frozen, and mutable state is behind locks and atomics.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::config::{Config, options, secret_options};
    #[pymodule_export]
    use super::crypto::{eth_address, sign_eip191};
    #[pymodule_export]
    use super::dev_dds::DevDds;
    #[pymodule_export]
    use super::error::{error_codes, panic};
    #[pymodule_export]
    use super::exit::{begin_exit, end_callbacks, leave_threads_behind};
    #[pymodule_export]
    use super::http::{PendingResponse, is_ours, respond_without_node};
    #[pymodule_export]
    use super::log::set_log_callback;
    #[pymodule_export]
    use super::metrics::idle_metric_families;
    #[pymodule_export]
    use super::node::{Node, Started, start, start_then};
    #[pymodule_export]
    use super::signer::SigningRequest;
    #[pymodule_export]
    use super::stream::EventQueue;
    #[pymodule_export]
    use super::timeout::timeout_seconds;
    #[pymodule_export]
    use super::token::token_claims;
    #[pymodule_export]
    use super::wait::PendingWait;

    #[pymodule_export]
    const MAX_CALLBACK_BODY: usize = posemesh_node_registration::bindings::MAX_CALLBACK_BODY;

    #[pymodule_export]
    const ROUTES: [&str; 2] = posemesh_node_registration::bindings::ROUTES;

    #[pymodule_export]
    const METRICS_CONTENT_TYPE: &str = posemesh_node_registration::metrics::CONTENT_TYPE;

    #[pymodule_export]
    const VERSION: &str = posemesh_node_registration::VERSION;

    #[pymodule_init]
    fn init(_: &Bound<'_, PyModule>) -> PyResult<()> {
        super::interpreter::require_main()
    }
}
