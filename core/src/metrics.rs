//! The metrics of a node, for Prometheus and other monitoring systems.
//!
//! [`Node::metrics`](crate::Node::metrics) returns them as a struct, and
//! [`Node::metrics_text`](crate::Node::metrics_text) as text that Prometheus scrapes. With `admin_bind`, a node serves
//! that text itself.
//!
//! In a node of several processes, each process has metrics of its own. A counter counts what the process has done
//! itself: only the leader registers, and one process counts each callback and each probe, also where another one decides
//! about it. So the sum over the processes counts everything once. A gauge that describes the node, such as its state, is the same in every
//! process: take its maximum, or only the process where `leader` is 1.
//!
//! | module | owns |
//! |---|---|
//! | `counters` | the counters, and what each of them is about |
//! | `snapshot` | [`Metrics`] |
//! | `families` | the names and descriptions of all metrics, and their values in one list |
//! | `text` | the text for Prometheus |

pub(crate) mod counters;
pub(crate) mod families;
mod snapshot;
pub(crate) mod text;

pub use counters::{
    Callbacks, DdsEndpoints, DdsRequests, DdsResponses, RegistrationAttempts, RegistrationsLost, SignIns,
};
pub use snapshot::Metrics;

/// The content type of [`Node::metrics_text`](crate::Node::metrics_text): version 0.0.4 of the text format of
/// Prometheus.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
