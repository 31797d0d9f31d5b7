//! The names, kinds and descriptions of all metrics, and their values. This is the one list of them.

use super::counters::{Callbacks, DdsResponses, RegistrationAttempts, RegistrationsLost, SignIns};
use super::snapshot::Metrics;
use crate::status::{Role, State};

/// A metric: its values by their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The whole name, such as `posemesh_node_health_probes_total`.
    pub name: &'static str,
    /// What the values are.
    pub kind: Kind,
    /// What the metric is about, in one line without quotes or backslashes.
    pub help: &'static str,
    /// The values. Their number and labels are always the same.
    pub samples: Vec<Sample>,
}

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They go up and down.
    Gauge,
    /// They only grow, from 0 at the start of the node.
    Counter,
}

impl Kind {
    /// `gauge` or `counter`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        }
    }
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values, of lowercase letters, digits, dots and underscores. The names are those of every sample of the
    /// family.
    pub labels: Vec<(&'static str, &'static str)>,
    /// The value. Whole numbers are exact up to 2⁵³.
    pub value: f64,
}

impl Family {
    fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, kind: Kind::Gauge, help, samples: vec![Sample { labels: Vec::new(), value }] }
    }

    /// A time that is not known is 0, so that the metric is always there. Prometheus recommends this.
    fn time(name: &'static str, help: &'static str, unix_seconds: Option<u64>) -> Self {
        Self::gauge(name, help, unix_seconds.unwrap_or_default() as f64)
    }

    fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        let samples = vec![Sample { labels: Vec::new(), value: value as f64 }];
        Self { name, kind: Kind::Counter, help, samples }
    }

    fn counters(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        samples: impl Iterator<Item = (&'static str, u64)>,
    ) -> Self {
        let sample = |(value, count)| Sample { labels: vec![(label, value)], value: count as f64 };
        Self { name, kind: Kind::Counter, help, samples: samples.map(sample).collect() }
    }
}

impl Metrics {
    /// Every metric, each of them once.
    pub(crate) fn families(&self) -> Vec<Family> {
        let flag = |flag: bool| f64::from(u8::from(flag));
        let info = Sample { labels: vec![("version", env!("CARGO_PKG_VERSION"))], value: 1.0 };
        let state =
            |state: State| Sample { labels: vec![("state", state.name())], value: flag(state == self.state) };
        let dds = self.dds;
        let endpoints = [("challenge", dds.challenge), ("register", dds.register), ("verify", dds.verify)];
        let requests = endpoints.iter().flat_map(|(endpoint, requests)| {
            requests.responses.samples().map(|(outcome, count)| Sample {
                labels: vec![("endpoint", *endpoint), (DdsResponses::LABEL, outcome)],
                value: count as f64,
            })
        });
        let seconds = endpoints.iter().map(|(endpoint, requests)| Sample {
            labels: vec![("endpoint", *endpoint)],
            value: requests.time.as_secs_f64(),
        });
        vec![
            Family {
                name: "posemesh_node_info",
                kind: Kind::Gauge,
                help: "The version of the posemesh node library; always 1.",
                samples: vec![info],
            },
            Family {
                name: "posemesh_node_state",
                kind: Kind::Gauge,
                help: "1 for the state that the node is in, 0 for the others.",
                samples: State::ALL.map(state).into(),
            },
            Family::gauge(
                "posemesh_node_leader",
                "1 if this process registers the node, 0 if it follows another process that does.",
                flag(self.role == Role::Leader),
            ),
            Family::gauge(
                "posemesh_node_has_secret",
                "1 if the node holds a node secret.",
                flag(self.has_secret),
            ),
            Family::gauge(
                "posemesh_node_persistence_failing",
                "1 while the state of the node can neither be saved nor followed.",
                flag(self.persistence_failing),
            ),
            Family::gauge(
                "posemesh_node_registration_consecutive_failures",
                "Attempts to register that have failed since the last success.",
                self.registration_consecutive_failures.into(),
            ),
            Family::gauge(
                "posemesh_node_sign_in_consecutive_failures",
                "Sign-ins for an access token that have failed since the last success.",
                self.sign_in_consecutive_failures.into(),
            ),
            Family::gauge(
                "posemesh_node_clock_skew_seconds",
                "How far the clock of DDS is ahead of the clock of this machine; negative when it is behind.",
                self.clock_skew_ms as f64 / 1000.0,
            ),
            Family::time(
                "posemesh_node_registered_timestamp_seconds",
                "When DDS last confirmed a registration, in seconds since 1970; 0 if it never has.",
                self.registered_at,
            ),
            Family::time(
                "posemesh_node_last_probe_timestamp_seconds",
                "When DDS last probed the health of the node, in seconds since 1970; 0 if it never has.",
                self.last_probe_at,
            ),
            Family::time(
                "posemesh_node_next_attempt_timestamp_seconds",
                "When the next attempt to register is due, in seconds since 1970; 0 if the node waits for none.",
                self.next_attempt_at,
            ),
            Family::time(
                "posemesh_node_access_token_expiry_timestamp_seconds",
                "When the access token of this process expires, in seconds since 1970; 0 if it has none.",
                self.token_expires_at,
            ),
            Family::counters(
                "posemesh_node_registration_attempts_total",
                "Attempts to register that have ended, by how they ended.",
                RegistrationAttempts::LABEL,
                self.registration_attempts.samples(),
            ),
            Family::counters(
                "posemesh_node_registrations_lost_total",
                "Registrations that DDS has lost, by how the loss was detected.",
                RegistrationsLost::LABEL,
                self.registrations_lost.samples(),
            ),
            Family::counters(
                "posemesh_node_callbacks_total",
                "Registration callbacks, by what became of them.",
                Callbacks::LABEL,
                self.callbacks.samples(),
            ),
            Family::counter("posemesh_node_health_probes_total", "Health probes by DDS.", self.health_probes),
            Family::counters(
                "posemesh_node_sign_ins_total",
                "Sign-ins for an access token, by how they ended.",
                SignIns::LABEL,
                self.sign_ins.samples(),
            ),
            Family {
                name: "posemesh_node_dds_requests_total",
                kind: Kind::Counter,
                help: "Requests to DDS, by endpoint and by how they ended.",
                samples: requests.collect(),
            },
            Family {
                name: "posemesh_node_dds_request_seconds_total",
                kind: Kind::Counter,
                help: "The time that the requests to DDS took, by endpoint.",
                samples: seconds.collect(),
            },
            Family::counter(
                "posemesh_node_events_dropped_total",
                "Events that were dropped because the event callback was too slow.",
                self.events_dropped,
            ),
        ]
    }
}
