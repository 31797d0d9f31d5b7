//! The log records of the library. They go to `tracing`, for Rust hosts, and to a callback, for all others.
//!
//! The library installs no process-wide logger. Without a `tracing` subscriber and a callback of the host, a record
//! costs two comparisons. Records of dependencies are not included.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use crate::dispatcher::{Dispatcher, Subscription};
use crate::foreign::Line;
use crate::fork::PerProcess;

/// The severity of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// A bug in this library.
    Error = 1,
    /// Something that an operator should look at.
    Warn = 2,
    /// The main events of a node: registered, secret received, stopped.
    Info = 3,
    /// Every step.
    Debug = 4,
}

impl Level {
    /// Every level, the most severe first.
    pub const ALL: [Level; 4] = [Level::Error, Level::Warn, Level::Info, Level::Debug];

    /// `error`, `warn`, `info` or `debug`.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One log record. It never contains a key, registration credentials, a node secret or a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was written.
    pub at: SystemTime,
    /// How many records were dropped just before this one, because the callback was too slow.
    pub dropped: u64,
    /// The severity.
    pub level: Level,
    /// The part of the library that wrote it, such as `posemesh_node::register`.
    pub target: &'static str,
    /// The text: one line of at most 4096 bytes, with control characters escaped.
    pub message: String,
}

/// Sends the library's log records up to `max_level` to `callback`, for all nodes of this process.
///
/// The callback runs on the library's dispatcher thread, one record at a time, and may call anything except the `stop`
/// of a node. It replaces the previous callback, which is dropped once the records that are queued for it are
/// delivered.
pub fn set_callback(max_level: Level, callback: impl Fn(&Record) + Send + Sync + 'static) {
    SLOT.get().replace(max_level as u8, Some(Subscription::new(callback)));
}

/// Removes the callback that [`set_callback`] installed.
pub fn clear_callback() {
    SLOT.get().replace(0, None);
}

static SLOT: PerProcess<LogSlot> = PerProcess::new();

/// Has `dispatcher` deliver the records of this process from now on.
pub(crate) fn deliver_through(dispatcher: &Arc<Dispatcher>) {
    SLOT.get().lock().dispatcher = Arc::downgrade(dispatcher);
}

/// Says whether the callback had a use for a record of this level. If it had not, records of this level and less severe
/// ones may wait for others from now on, so that its thread wakes once for many; a warning never waits.
pub(crate) fn learn(level: Level, wanted: bool) {
    SLOT.get().learn(level, wanted);
}

/// The log callback of a process.
#[derive(Default)]
struct LogSlot {
    /// 0 without a callback.
    max_level: AtomicU8,
    /// Less severe records may wait for others.
    urgent: AtomicU8,
    listener: Mutex<Listener>,
}

#[derive(Default)]
struct Listener {
    subscription: Option<Arc<Subscription<Record>>>,
    dispatcher: Weak<Dispatcher>,
}

impl LogSlot {
    fn lock(&self) -> MutexGuard<'_, Listener> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, max_level: u8, subscription: Option<Arc<Subscription<Record>>>) {
        let previous = {
            let mut listener = self.lock();
            self.max_level.store(max_level, Ordering::Relaxed);
            self.urgent.store(max_level, Ordering::Relaxed);
            std::mem::replace(&mut listener.subscription, subscription)
        };
        // Runs the host's code, so it must not happen under the lock.
        drop(previous);
    }

    fn wants(&self, level: Level) -> bool {
        level as u8 <= self.max_level.load(Ordering::Relaxed)
    }

    fn is_urgent(&self, level: Level) -> bool {
        level as u8 <= self.urgent.load(Ordering::Relaxed)
    }

    fn learn(&self, level: Level, wanted: bool) {
        if wanted {
            self.urgent.fetch_max(level as u8, Ordering::Relaxed);
        } else {
            self.urgent.fetch_min((level as u8 - 1).max(Level::Warn as u8), Ordering::Relaxed);
        }
    }

    fn deliver(&self, level: Level, target: &'static str, message: String) {
        let listener = self.lock();
        if let (Some(subscription), Some(dispatcher)) =
            (&listener.subscription, listener.dispatcher.upgrade())
        {
            let push = if self.is_urgent(level) { Dispatcher::push } else { Dispatcher::push_lazily };
            subscription.deliver_by(push, &dispatcher, |dropped| Record {
                at: SystemTime::now(),
                dropped,
                level,
                target,
                message,
            });
        }
    }
}

/// Writes one record. Call it through [`log!`].
pub(crate) fn write(level: Level, target: &'static str, message: fmt::Arguments<'_>) {
    let message = Line(message);
    // `tracing` requires level and target to be constants, so the library's target is a field.
    match level {
        Level::Error => tracing::error!(target: "posemesh_node", part = target, "{message}"),
        Level::Warn => tracing::warn!(target: "posemesh_node", part = target, "{message}"),
        Level::Info => tracing::info!(target: "posemesh_node", part = target, "{message}"),
        Level::Debug => tracing::debug!(target: "posemesh_node", part = target, "{message}"),
    }
    let slot = SLOT.get();
    if slot.wants(level) {
        slot.deliver(level, target, message.to_string());
    }
}

/// `log!(Info, "register", "registered in {} ms", ms)`
macro_rules! log {
    ($level:ident, $part:literal, $($message:tt)+) => {
        $crate::log::write(
            $crate::log::Level::$level,
            concat!("posemesh_node::", $part),
            format_args!($($message)+),
        )
    };
}
pub(crate) use log;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_callback_did_not_want_may_wait_except_for_warnings() {
        let slot = LogSlot::default();
        slot.replace(Level::Debug as u8, None);
        let urgent = || Level::ALL.map(|level| slot.is_urgent(level));
        assert_eq!(urgent(), [true, true, true, true]);
        slot.learn(Level::Debug, false);
        assert_eq!(urgent(), [true, true, true, false]);
        slot.learn(Level::Warn, false);
        assert_eq!(urgent(), [true, true, false, false]);
        slot.learn(Level::Error, false);
        slot.learn(Level::Info, true);
        assert_eq!(urgent(), [true, true, true, false]);
        slot.replace(Level::Debug as u8, None);
        assert_eq!(urgent(), [true, true, true, true]);
    }
}
