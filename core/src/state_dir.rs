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
//! | `leader` | the socket on which the leader listens (Linux, macOS) |
//! | `leader.new` | the next socket, before it gets its name |
//! | `lock` | the file with the lock (Windows) |
//!
//! | module | owns |
//! |---|---|
//! | `directory` | a directory, which a process uses once |
//! | `record_file` | the record on the disk |
//! | `connection`, `frame` | connections, and the messages on them |
//! | `fileless` | listening by a name that is no file |
//! | `writer`, `acceptor`, `followers` | the leader: writes, listens, serves |
//! | `link`, `questions` | the follower: its connection to the leader, and what it asks there |
//! | `leadership` | who leads: start, follow, take over |
//! | `handle` | `StateDir`, for programs that run the registrar themselves |
//!
//! What differs by system:
//!
//! | module | owns | Linux | macOS | Windows |
//! |---|---|---|---|---|
//! | `files` | access to the files of the directory | through its descriptor, also after a rename | as Linux | by its path, which cannot change while it is open |
//! | `access` | who may use them | modes | modes | access lists |
//! | `filesystem` | which file systems are refused | by number, FUSE by name | those that are not local | shares, drives of other machines |
//! | `lock` | the lock of the leader | `flock` | `flock` | `LockFileEx` |
//! | `socket` | how followers reach the leader | Unix sockets: in the directory, abstract | a Unix socket in the directory | a named pipe |
//! | `address` | where a Unix socket is | a path of any length | a path of at most 103 bytes | |
//! | `listeners` | what a leader listens on | both | the socket in the directory | the pipe |

mod acceptor;
#[cfg_attr(unix, path = "state_dir/access/unix.rs")]
#[cfg_attr(windows, path = "state_dir/access/windows.rs")]
mod access;
#[cfg(unix)]
#[cfg_attr(target_os = "linux", path = "state_dir/address/linux.rs")]
#[cfg_attr(target_os = "macos", path = "state_dir/address/macos.rs")]
mod address;
mod connection;
mod directory;
mod fileless;
#[cfg_attr(unix, path = "state_dir/files/unix.rs")]
#[cfg_attr(windows, path = "state_dir/files/windows.rs")]
mod files;
#[cfg_attr(target_os = "linux", path = "state_dir/filesystem/linux.rs")]
#[cfg_attr(target_os = "macos", path = "state_dir/filesystem/macos.rs")]
#[cfg_attr(windows, path = "state_dir/filesystem/windows.rs")]
mod filesystem;
mod followers;
mod frame;
mod handle;
mod leadership;
mod link;
#[cfg_attr(unix, path = "state_dir/listeners/unix.rs")]
#[cfg_attr(windows, path = "state_dir/listeners/windows.rs")]
mod listeners;
#[cfg_attr(unix, path = "state_dir/lock/unix.rs")]
#[cfg_attr(windows, path = "state_dir/lock/windows.rs")]
mod lock;
mod or_pending;
mod questions;
mod record_file;
#[cfg_attr(unix, path = "state_dir/socket/unix.rs")]
#[cfg_attr(windows, path = "state_dir/socket/windows.rs")]
mod socket;
mod writer;

#[cfg(feature = "fuzzing")]
pub(crate) use frame::check_frames;
pub use handle::{StateDir, StateDirLock};
pub(crate) use leadership::Leadership;
