//! The metrics of a node: as `posemesh_node.Metrics`, and as a list for the adapters to monitoring systems.

use posemesh_node_registration::bindings::{self, Family};
use posemesh_node_registration::metrics::{DdsRequests, Metrics};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::dataclass::Class;
use crate::status::{role, since_epoch, state, timedelta};

/// An instance of a dataclass of `posemesh_node._metrics`. A field without a value is a field of the core value.
macro_rules! make {
    ($py:ident, $class:ident from $counts:expr, { $($field:ident),* $(,)? }) => {{
        let counts = $counts;
        make!($py, $class { $($field: counts.$field),* })
    }};
    ($py:ident, $class:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        static CLASS: Class = Class::new("posemesh_node._metrics", stringify!($class));
        let fields = PyDict::new($py);
        $(fields.set_item(stringify!($field), $value)?;)*
        CLASS.make($py, &fields)
    }};
}

pub(crate) fn to_python(py: Python<'_>, metrics: Metrics) -> PyResult<Bound<'_, PyAny>> {
    let attempts = make!(py, RegistrationAttempts from metrics.registration_attempts, {
        success, conflict, rejected, unavailable, cancelled,
    })?;
    let lost =
        make!(py, RegistrationsLost from metrics.registrations_lost, { unknown_node, probes_stopped })?;
    let callbacks = make!(py, Callbacks from metrics.callbacks, {
        accepted, unchanged, not_waiting, forbidden, malformed,
    })?;
    let sign_ins =
        make!(py, SignIns from metrics.sign_ins, { success, rejected, unknown_node, unavailable })?;
    let dds = make!(
        py,
        DdsEndpoints {
            challenge: requests(py, metrics.dds.challenge)?,
            register: requests(py, metrics.dds.register)?,
            verify: requests(py, metrics.dds.verify)?,
        }
    )?;
    make!(
        py,
        Metrics {
            state: state(py, metrics.state)?,
            role: role(py, metrics.role)?,
            has_secret: metrics.has_secret,
            persistence_failing: metrics.persistence_failing,
            registration_consecutive_failures: metrics.registration_consecutive_failures,
            sign_in_consecutive_failures: metrics.sign_in_consecutive_failures,
            clock_skew: timedelta(py, metrics.clock_skew_ms)?,
            registered_at: metrics.registered_at.map(since_epoch),
            last_probe_at: metrics.last_probe_at.map(since_epoch),
            next_attempt_at: metrics.next_attempt_at.map(since_epoch),
            token_expires_at: metrics.token_expires_at.map(since_epoch),
            registration_attempts: attempts,
            registrations_lost: lost,
            callbacks: callbacks,
            health_probes: metrics.health_probes,
            sign_ins: sign_ins,
            dds: dds,
            events_dropped: metrics.events_dropped,
        }
    )
}

fn requests(py: Python<'_>, requests: DdsRequests) -> PyResult<Bound<'_, PyAny>> {
    make!(
        py,
        DdsRequests {
            success: requests.responses.success,
            rejected: requests.responses.rejected,
            unavailable: requests.responses.unavailable,
            seconds: requests.time.as_secs_f64(),
        }
    )
}

/// The labels of a value, and the value.
type Sample = (Vec<(&'static str, &'static str)>, f64);

/// Name, kind, description, values.
pub(crate) type MetricFamily = (&'static str, &'static str, &'static str, Vec<Sample>);

pub(crate) fn families(metrics: &Metrics) -> Vec<MetricFamily> {
    let row = |family: Family| {
        let samples = family.samples.into_iter().map(|sample| (sample.labels, sample.value)).collect();
        (family.name, family.kind.name(), family.help, samples)
    };
    bindings::metric_families(metrics).into_iter().map(row).collect()
}

/// The metrics of a node that has done nothing.
#[pyfunction]
pub(crate) fn idle_metric_families() -> Vec<MetricFamily> {
    families(&Metrics::default())
}
