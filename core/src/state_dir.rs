//! A node's state in a directory: kept for the next start, and shared by the processes of the node.
//!
//! One process holds the directory's lock and leads: it runs the registrar and the callback server, and writes
//! what changes. The others follow: each holds a connection to the leader, over which it gets the state whenever
//! that changes and sends its requests. The end of the connection is the end of the leader, and one of the
//! followers takes over. Nothing polls.
//!
//! | file | is |
//! |---|---|
//! | `state` | the record, replaced as a whole; for the next start |
//! | `state.new` | the next record, while it is being written |
//! | `state.damaged-…`, `state.foreign-…`, `state.newer-…` | what could not be used |
//! | `leader` | the socket on which the leader listens |
//! | `leader.new` | the next one, while it is being made |
//!
//! | module | owns |
//! |---|---|
//! | `directory` | who may use the directory, and the record in it |
//! | `filesystem` | which file systems are refused |
//! | `lock` | who leads |
//! | `socket`, `frame` | connections, and what is sent over them |
//! | `leadership`, `followers`, `keeper` | what a leader does: listens, serves, writes |
//! | `link` | a follower's connection to its leader |
//! | `shared` | one process's part: leads, follows, takes over |
//! | `handle` | `StateDir`, for programs that run the registrar themselves |

#[cfg(target_os = "linux")]
mod directory;
#[cfg(target_os = "linux")]
mod filesystem;
#[cfg(target_os = "linux")]
mod followers;
#[cfg(target_os = "linux")]
mod frame;
#[cfg(target_os = "linux")]
mod handle;
#[cfg(target_os = "linux")]
mod keeper;
#[cfg(target_os = "linux")]
mod leadership;
#[cfg(target_os = "linux")]
mod link;
#[cfg(target_os = "linux")]
mod lock;
#[cfg_attr(not(target_os = "linux"), path = "state_dir/unsupported.rs")]
mod shared;
#[cfg(target_os = "linux")]
mod socket;

#[cfg(all(target_os = "linux", feature = "fuzzing"))]
pub(crate) use frame::check_frames;
#[cfg(target_os = "linux")]
pub use handle::{StateDir, StateDirLock};
pub(crate) use shared::Shared;

/// The outcome of a job, if there is one; else it waits for ever.
#[cfg(target_os = "linux")]
async fn finished<R>(job: &mut Option<crate::blocking::Blocking<R>>) -> crate::error::Result<R> {
    match job {
        Some(job) => job.await,
        None => std::future::pending().await,
    }
}

#[cfg(target_os = "linux")]
async fn pause(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
