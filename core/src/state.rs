//! The state of a registration: status, last health check, secret; in memory, and in a directory that outlives
//! the process.
//!
//! Each node has a store. The functions here act on the process-wide default store. They are for programs that run
//! [`run_registration_loop`](crate::register::run_registration_loop) and [`router_dds`](crate::http::router_dds)
//! themselves.
//!
//! | file | owns |
//! |---|---|
//! | `store` | the state of one node, and the one way to change it |
//! | `observed` | what the node's own tasks react to |
//! | `registration` | attempts, callbacks, probes and re-arms |
//! | `wait`, `waiters` | waiting for a change |
//! | `token` | the access token: who gets it, what a sign-in changes |
//! | `callback` | whether a callback confirms a registration |
//! | `record`, `replica` | the state as other processes read it, and a store that follows it |
//! | `requests` | callbacks that other processes have to decide |
//! | `reconcile` | a state that several machines write |
//! | `registration_state`, `default_store`, `lock_guard` | the functions of this module |

pub(crate) mod callback;
pub(crate) mod default_store;
pub(crate) mod lock_guard;
pub(crate) mod observed;
#[cfg(feature = "state-url")]
pub(crate) mod reconcile;
pub(crate) mod record;
pub(crate) mod registration;
pub(crate) mod registration_state;
mod replica;
#[cfg_attr(not(feature = "state-url"), allow(dead_code, reason = "without it every process decides alone"))]
pub(crate) mod requests;
pub(crate) mod store;
pub(crate) mod token;
pub(crate) mod wait;
pub(crate) mod waiters;

pub use default_store::{
    clear_node_secret, read_node_secret, read_state, set_status, touch_healthcheck_now, write_node_secret,
    write_state,
};
pub use lock_guard::LockGuard;
pub use registration_state::{RegistrationState, STATUS_DISCONNECTED, STATUS_REGISTERED, STATUS_REGISTERING};
pub use wait::Wait;

pub use crate::state_dir::{StateDir, StateDirLock};
