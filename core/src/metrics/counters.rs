//! What a node counts, and the counters themselves.
//!
//! A counter counts what this process has done. What two processes do together is counted by one of them, so that the sum
//! over the processes of a node counts everything once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A public struct with a field for each value of a label, the counter that it is read from, and the label's values for
/// those who count.
macro_rules! counts {
    ($(
        $(#[$doc:meta])*
        $counts:ident from $counter:ident, $label:literal: $value:ident {
            $($(#[$field_doc:meta])* $field:ident = $variant:ident,)*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $counts {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $counts {
            pub(super) const LABEL: &str = $label;

            /// Each value of the label, and its count.
            pub(super) fn samples(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }
        }

        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $value {
            $($variant,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct $counter {
            $($field: AtomicU64,)*
        }

        impl $counter {
            pub(crate) fn count(&self, value: $value) {
                let counter = match value {
                    $($value::$variant => &self.$field,)*
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }

            pub(super) fn read(&self) -> $counts {
                $counts { $($field: self.$field.load(Ordering::Relaxed),)* }
            }
        }
    )*};
}

counts! {
    /// How the attempts to register ended.
    RegistrationAttempts from AttemptCounter, "outcome": AttemptOutcome {
        /// DDS registered the node.
        success = Success,
        /// Another online node holds the wallet.
        conflict = Conflict,
        /// DDS refused the registration.
        rejected = Rejected,
        /// DDS could not be reached, or gave no usable response.
        unavailable = Unavailable,
        /// A re-arm overtook the attempt, which then does not count.
        cancelled = Cancelled,
    }

    /// How the losses of a registration were detected.
    RegistrationsLost from LossCounter, "reason": LossReason {
        /// DDS did not know the node when it signed in.
        unknown_node = UnknownNode,
        /// DDS stopped probing the node. See the option `healthcheck_ttl_secs`.
        probes_stopped = ProbesStopped,
    }

    /// What became of the callbacks of DDS.
    Callbacks from CallbackCounter, "outcome": CallbackOutcome {
        /// It brought a new secret.
        accepted = Accepted,
        /// It brought the secret that the node has.
        unchanged = Unchanged,
        /// It was refused with 409, because the node was not waiting for one.
        not_waiting = NotWaiting,
        /// It was refused with 403: another secret than the first of this registration, or another node's.
        forbidden = Forbidden,
        /// It was refused because it is not a callback: too large, too slow, not JSON, or without its fields.
        malformed = Malformed,
        /// It was refused with 503, because the processes that share the state could not be reached.
        unavailable = Unavailable,
    }

    /// How the sign-ins for an access token ended.
    SignIns from SignInCounter, "outcome": SignInOutcome {
        /// DDS issued a token.
        success = Success,
        /// DDS refused the sign-in.
        rejected = Rejected,
        /// DDS does not know the node, which then registers again.
        unknown_node = UnknownNode,
        /// DDS could not be reached, or gave no usable response.
        unavailable = Unavailable,
    }

    /// How the requests to an endpoint of DDS ended.
    DdsResponses from ResponseCounter, "outcome": RequestOutcome {
        /// DDS did what was asked.
        success = Success,
        /// DDS refused it.
        rejected = Rejected,
        /// DDS could not be reached, or gave no usable response.
        unavailable = Unavailable,
    }
}

/// The requests to one endpoint of DDS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DdsRequests {
    /// How they ended.
    pub responses: DdsResponses,
    /// The time that they took together, from connecting to the last byte of the response.
    pub time: Duration,
}

/// The requests to DDS, by endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DdsEndpoints {
    /// Requests for a challenge to sign.
    pub challenge: DdsRequests,
    /// Registrations: with a wallet, as a robot, or of a URL.
    pub register: DdsRequests,
    /// Sign-ins for an access token: with a wallet, or as a robot.
    pub verify: DdsRequests,
}

#[derive(Debug, Default)]
pub(crate) struct RequestCounter {
    responses: ResponseCounter,
    nanoseconds: AtomicU64,
}

impl RequestCounter {
    pub(crate) fn count(&self, outcome: RequestOutcome, took: Duration) {
        self.responses.count(outcome);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(took, Ordering::Relaxed);
    }

    fn read(&self) -> DdsRequests {
        let time = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed));
        DdsRequests { responses: self.responses.read(), time }
    }
}

/// The requests that a node has made to DDS.
#[derive(Debug, Default)]
pub(crate) struct EndpointCounters {
    pub(crate) challenge: RequestCounter,
    pub(crate) register: RequestCounter,
    pub(crate) verify: RequestCounter,
}

impl EndpointCounters {
    pub(super) fn read(&self) -> DdsEndpoints {
        DdsEndpoints {
            challenge: self.challenge.read(),
            register: self.register.read(),
            verify: self.verify.read(),
        }
    }
}

/// Everything that a node counts, except for the events that it drops.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) registration_attempts: AttemptCounter,
    pub(crate) registrations_lost: LossCounter,
    pub(crate) callbacks: CallbackCounter,
    pub(crate) sign_ins: SignInCounter,
    pub(crate) dds_requests: EndpointCounters,
    health_probes: AtomicU64,
}

impl Counters {
    pub(crate) fn count_health_probe(&self) {
        self.health_probes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn health_probes(&self) -> u64 {
        self.health_probes.load(Ordering::Relaxed)
    }
}
