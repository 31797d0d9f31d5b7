//! The metrics of a node as JavaScript values.

use std::collections::BTreeMap;

use napi_derive::napi;
use posemesh_node_registration::bindings::{self, Family};
use posemesh_node_registration::metrics as core;

/// Structs of counters that have the fields of core's.
macro_rules! counts {
    ($($(#[$doc:meta])* $counts:ident { $($(#[$field_doc:meta])* $field:ident,)* })*) => {$(
        $(#[$doc])*
        #[napi(object, object_from_js = false)]
        pub struct $counts {
            $($(#[$field_doc])* pub $field: f64,)*
        }

        impl From<core::$counts> for $counts {
            fn from(counts: core::$counts) -> Self {
                Self { $($field: counts.$field as f64,)* }
            }
        }
    )*};
}

counts! {
    /// How the attempts to register ended.
    RegistrationAttempts {
        /// DDS registered the node.
        success,
        /// Another online node holds the wallet.
        conflict,
        /// DDS refused the registration.
        rejected,
        /// DDS could not be reached, or gave no usable response.
        unavailable,
        /// A re-arm overtook the attempt.
        cancelled,
    }

    /// How the losses of a registration were detected.
    RegistrationsLost {
        /// DDS did not know the node when it signed in.
        unknown_node,
        /// DDS stopped probing the node.
        probes_stopped,
    }

    /// What became of the callbacks of DDS.
    Callbacks {
        /// It brought a new secret.
        accepted,
        /// It brought the secret that the node has.
        unchanged,
        /// It was refused with 409.
        not_waiting,
        /// It was refused with 403.
        forbidden,
        /// It was refused because it is not a callback.
        malformed,
    }

    /// How the sign-ins for an access token ended.
    SignIns {
        /// DDS issued a token.
        success,
        /// DDS refused the sign-in.
        rejected,
        /// DDS does not know the node.
        unknown_node,
        /// DDS could not be reached, or gave no usable response.
        unavailable,
    }
}

/// The requests to one endpoint of DDS.
#[napi(object, object_from_js = false)]
pub struct DdsRequests {
    /// DDS did what was asked.
    pub success: f64,
    /// DDS refused it.
    pub rejected: f64,
    /// DDS could not be reached, or gave no usable response.
    pub unavailable: f64,
    /// The time that they took together.
    pub seconds: f64,
}

impl From<core::DdsRequests> for DdsRequests {
    fn from(core::DdsRequests { responses, time, .. }: core::DdsRequests) -> Self {
        Self {
            success: responses.success as f64,
            rejected: responses.rejected as f64,
            unavailable: responses.unavailable as f64,
            seconds: time.as_secs_f64(),
        }
    }
}

/// The requests to DDS, by endpoint.
#[napi(object, object_from_js = false)]
pub struct DdsEndpoints {
    /// Requests for a challenge to sign.
    pub challenge: DdsRequests,
    /// Registrations.
    pub register: DdsRequests,
    /// Sign-ins for an access token.
    pub verify: DdsRequests,
}

/// The metrics of a node. Times are in seconds since 1970 (UTC).
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Metrics {
    /// The state of the registration.
    #[napi(ts_type = "'disconnected' | 'registering' | 'registered'")]
    pub state: &'static str,
    /// The role of the node.
    #[napi(ts_type = "'leader' | 'follower'")]
    pub role: &'static str,
    /// Whether the node has a node secret.
    pub has_secret: bool,
    /// Whether the state cannot be saved or followed at present.
    pub persistence_failing: bool,
    /// Registration attempts that failed since the last success.
    pub registration_consecutive_failures: u32,
    /// Sign-ins that failed since the last success.
    pub sign_in_consecutive_failures: u32,
    /// How far the clock of DDS is ahead of this machine's clock.
    pub clock_skew_ms: i64,
    /// When DDS last confirmed a registration.
    pub registered_at: Option<f64>,
    /// When DDS last probed the node.
    pub last_probe_at: Option<f64>,
    /// When the next registration attempt is due.
    pub next_attempt_at: Option<f64>,
    /// When the current access token expires.
    pub token_expires_at: Option<f64>,
    /// How the attempts to register ended.
    pub registration_attempts: RegistrationAttempts,
    /// How the losses of a registration were detected.
    pub registrations_lost: RegistrationsLost,
    /// What became of the callbacks of DDS.
    pub callbacks: Callbacks,
    /// How often DDS has probed the node.
    pub health_probes: f64,
    /// How the sign-ins for an access token ended.
    pub sign_ins: SignIns,
    /// The requests to DDS.
    pub dds: DdsEndpoints,
    /// Events that were dropped.
    pub events_dropped: f64,
}

impl From<core::Metrics> for Metrics {
    fn from(metrics: core::Metrics) -> Self {
        let seconds = |time: Option<u64>| time.map(|seconds| seconds as f64);
        let core::DdsEndpoints { challenge, register, verify, .. } = metrics.dds;
        Self {
            state: metrics.state.name(),
            role: metrics.role.name(),
            has_secret: metrics.has_secret,
            persistence_failing: metrics.persistence_failing,
            registration_consecutive_failures: metrics.registration_consecutive_failures,
            sign_in_consecutive_failures: metrics.sign_in_consecutive_failures,
            clock_skew_ms: metrics.clock_skew_ms,
            registered_at: seconds(metrics.registered_at),
            last_probe_at: seconds(metrics.last_probe_at),
            next_attempt_at: seconds(metrics.next_attempt_at),
            token_expires_at: seconds(metrics.token_expires_at),
            registration_attempts: metrics.registration_attempts.into(),
            registrations_lost: metrics.registrations_lost.into(),
            callbacks: metrics.callbacks.into(),
            health_probes: metrics.health_probes as f64,
            sign_ins: metrics.sign_ins.into(),
            dds: DdsEndpoints {
                challenge: challenge.into(),
                register: register.into(),
                verify: verify.into(),
            },
            events_dropped: metrics.events_dropped as f64,
        }
    }
}

/// One metric of a node: its values, by their labels.
#[napi(object, object_from_js = false)]
pub struct MetricFamily {
    /// The whole name, such as `posemesh_node_health_probes_total`.
    pub name: &'static str,
    /// What the values are.
    #[napi(ts_type = "'counter' | 'gauge'")]
    pub kind: &'static str,
    /// What the metric is about.
    pub help: &'static str,
    /// The names of the labels, which every sample has.
    pub label_names: Vec<&'static str>,
    /// The values.
    pub samples: Vec<MetricSample>,
}

/// One value of a metric.
#[napi(object, object_from_js = false)]
pub struct MetricSample {
    /// The labels.
    #[napi(ts_type = "Record<string, string>")]
    pub labels: BTreeMap<&'static str, &'static str>,
    /// The value.
    pub value: f64,
}

impl From<Family> for MetricFamily {
    fn from(family: Family) -> Self {
        let labels = family.samples.first().map_or(&[][..], |sample| &sample.labels);
        Self {
            name: family.name,
            kind: family.kind.name(),
            help: family.help,
            label_names: labels.iter().map(|(name, _)| *name).collect(),
            samples: family.samples.into_iter().map(MetricSample::from).collect(),
        }
    }
}

impl From<bindings::Sample> for MetricSample {
    fn from(bindings::Sample { labels, value }: bindings::Sample) -> Self {
        Self { labels: labels.into_iter().collect(), value }
    }
}

/// The metrics as a list.
pub(crate) fn families(metrics: &core::Metrics) -> Vec<MetricFamily> {
    bindings::metric_families(metrics).into_iter().map(MetricFamily::from).collect()
}

/// The metrics of a node that has done nothing, as a list.
#[napi]
pub fn idle_metric_families() -> Vec<MetricFamily> {
    families(&core::Metrics::default())
}

/// Whether a node is ready, and why, or why not.
#[napi(object, object_from_js = false)]
pub struct Readiness {
    /// Whether it is.
    pub ready: bool,
    /// What a ready node has, or why the node is not ready.
    pub reason: String,
}
