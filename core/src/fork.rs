//! What the library does about `fork`.

#[cfg(target_os = "linux")]
mod close_on_fork;
#[cfg(not(target_os = "linux"))]
#[path = "fork/unsupported.rs"]
mod close_on_fork;

pub(crate) use close_on_fork::CloseOnFork;
#[cfg(target_os = "linux")]
pub(crate) use close_on_fork::CloseOnForkTable;
