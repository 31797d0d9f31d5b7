//! A node's state in a directory: written for the next start, and shared by the processes of the node.
//!
//! The process that holds the directory's lock is the leader: it runs the registrar and the callback server, and writes
//! every change. The other processes follow it. Each follower holds a connection to the leader, over which it receives
//! the state whenever that changes, and sends its requests. When the connection ends, the leader has ended, and one of
//! the followers takes over. Nothing polls.
//!
//! | file in the directory | is |
//! |---|---|
//! | `state` | the record, always replaced as a whole |
//! | `state.new` | the next record, while it is being written |
//! | `state.damaged-…`, `state.foreign-…`, `state.newer-…` | records that could not be used |
//! | `leader` | the socket on which the leader listens |
//! | `leader.new` | the next socket, before it gets its name |
//!
//! | module | owns |
//! |---|---|
//! | `directory` | who may use the directory, and access to its files |
//! | `filesystem` | which file systems are refused |
//! | `lock` | the lock of the leader |
//! | `record_file` | the record on the disk |
//! | `socket`, `frame` | connections, and the messages on them |
//! | `writer`, `acceptor`, `followers` | the leader: writes, listens, serves |
//! | `link`, `questions` | the follower: its connection to the leader, and what it asks there |
//! | `leadership` | who leads: start, follow, take over |
//! | `handle` | `StateDir`, for programs that run the registrar themselves |

#[cfg(target_os = "linux")]
mod acceptor;
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
#[cfg_attr(not(target_os = "linux"), path = "state_dir/unsupported.rs")]
mod leadership;
#[cfg(target_os = "linux")]
mod link;
#[cfg(target_os = "linux")]
mod lock;
#[cfg(target_os = "linux")]
mod or_pending;
#[cfg(target_os = "linux")]
mod questions;
#[cfg(target_os = "linux")]
mod record_file;
#[cfg(target_os = "linux")]
mod socket;
#[cfg(target_os = "linux")]
mod writer;

#[cfg(all(target_os = "linux", feature = "fuzzing"))]
pub(crate) use frame::check_frames;
#[cfg(target_os = "linux")]
pub use handle::{StateDir, StateDirLock};
pub(crate) use leadership::Leadership;
