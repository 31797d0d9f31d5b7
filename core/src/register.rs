//! Registering a node with DDS: one attempt, and the policy of when to make the next one.
//!
//! | file | owns |
//! |---|---|
//! | `attempt` | one registration |
//! | `retry_policy` | when to make the next attempt |
//! | `registrar` | attempts until registered, parks, begins again after a re-arm |
//! | `reregistration` | registers again in the background |
//! | `url` | the legacy registration with a URL |
//! | `registration_loop` | the registrar of programs that have a runtime and an HTTP client of their own |

mod attempt;
pub(crate) mod registrar;
mod registration_loop;
mod reregistration;
mod retry_policy;
mod url;

pub use attempt::{RegistrationAttempt, RegistrationAttemptKind, register_once};
pub use registration_loop::{RegistrationConfig, run_registration_loop};

pub use crate::dds::NodeRegisterWalletRequest;

#[cfg(test)]
mod tests;
