//! Registering a node with DDS: one attempt, and the policy of when to make the next one.
//!
//! | file | owns |
//! |---|---|
//! | `attempt` | one registration |
//! | `attempt_log` | what the log says about attempts |
//! | `retry_policy` | when to make the next attempt |
//! | `registrar` | attempts until registered, parks, begins again after a re-arm |
//! | `reregistration` | registers again in the background |
//! | `url` | the legacy registration with a URL |
//! | `predecessor` | the functions for programs that have their own runtime and HTTP client |

mod attempt;
mod attempt_log;
#[cfg(feature = "predecessor")]
mod predecessor;
pub(crate) mod registrar;
mod reregistration;
mod retry_policy;
mod url;

#[cfg(any(test, feature = "fleet"))]
pub(crate) use registrar::keep_registered;
#[cfg(any(test, feature = "fleet"))]
pub(crate) use retry_policy::RetryPolicy;

pub use attempt::{RegistrationAttempt, RegistrationAttemptKind};
#[cfg(feature = "predecessor")]
pub use predecessor::{RegistrationConfig, register_once, run_registration_loop};

pub use crate::dds::NodeRegisterWalletRequest;

#[cfg(test)]
mod tests;
