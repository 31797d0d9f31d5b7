//! What the library does about `fork`.
//!
//! A forked child has its parent's memory but not its parent's threads: a lock may be held by a thread that does
//! not exist in the child, and to join such a thread would wait forever. So a child never touches what belongs to
//! its parent. It starts with fresh statics, and the parent's stay where they are, unused.
//!
//! | module | owns |
//! |---|---|
//! | `generation` | which process this is |
//! | `close_on_fork` | files that a child closes |
//! | `per_process` | statics that a child does not inherit |

#[cfg_attr(unix, path = "fork/close_on_fork.rs")]
#[cfg_attr(windows, path = "fork/no_fork.rs")]
mod close_on_fork;
mod generation;
mod per_process;

pub(crate) use close_on_fork::CloseOnFork;
pub(crate) use generation::Generation;
pub(crate) use per_process::PerProcess;
