//! Log records, from core's one callback per process to every environment that listens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::bindgen_prelude::{Either, Function};
use napi_derive::napi;
use posemesh_node_registration::error::{Error, ErrorCode};
use posemesh_node_registration::log::{self, Level, Record};

use crate::channel::Channel;
use crate::error::{Failure, outcome};
use crate::time::unix_millis;

/// One log record. `at` is in milliseconds since 1970 (UTC).
#[napi(object, object_from_js = false)]
pub struct LogRecord {
    /// When it was written.
    pub at: f64,
    /// Its severity.
    #[napi(ts_type = "'error' | 'warn' | 'info' | 'debug'")]
    pub level: &'static str,
    /// The part of the library that wrote it, such as `posemesh_node::register`.
    pub target: &'static str,
    /// One line of text.
    pub message: String,
    /// Records that were dropped just before this one.
    pub dropped: i64,
}

/// Every environment that listens. Core has one callback per process, which workers share through this list.
static SINKS: Mutex<Vec<Sink>> = Mutex::new(Vec::new());

struct Sink {
    level: Level,
    channel: Arc<Channel<LogRecord>>,
}

/// Where the log records of this process go in one environment.
#[napi]
pub struct LogSink {
    channel: Arc<Channel<LogRecord>>,
}

#[napi]
impl LogSink {
    /// A sink that does not listen yet.
    ///
    /// # Errors
    /// `ERR_INTERNAL` when Node-API fails.
    #[napi(constructor)]
    pub fn new(deliver: Function<'_, LogRecord, ()>) -> napi::Result<Self> {
        Ok(Self { channel: Arc::new(Channel::new(&deliver)?) })
    }

    /// Listens to records up to this level, or to none with `null`. Fails with `ERR_INVALID_ARGUMENT` if there is no
    /// such level.
    #[napi]
    pub fn set_level(&self, level: Option<String>) -> Either<(), Failure> {
        outcome(|| {
            let level = level.map(|name| parse(&name)).transpose()?;
            self.listen(level);
            Ok(())
        })
    }

    fn listen(&self, level: Option<Level>) {
        let mut sinks = sinks();
        sinks.retain(|sink| !Arc::ptr_eq(&sink.channel, &self.channel));
        sinks.extend(level.map(|level| Sink { level, channel: Arc::clone(&self.channel) }));
        // Under the lock, so that two environments cannot overwrite each other's level with an older one. Core checks
        // the level before it formats a record.
        match sinks.iter().map(|sink| sink.level).max() {
            Some(level) => log::set_callback(level, distribute),
            None => log::clear_callback(),
        }
    }
}

impl Drop for LogSink {
    fn drop(&mut self) {
        self.listen(None);
    }
}

fn distribute(record: &Record) {
    for sink in sinks().iter().filter(|sink| record.level <= sink.level) {
        sink.channel.offer(record.dropped, |dropped| {
            Some(LogRecord {
                at: unix_millis(record.at),
                level: record.level.name(),
                target: record.target,
                message: record.message.clone(),
                dropped,
            })
        });
    }
}

fn sinks() -> MutexGuard<'static, Vec<Sink>> {
    SINKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parse(name: &str) -> posemesh_node_registration::error::Result<Level> {
    Level::ALL.into_iter().find(|level| level.name() == name).ok_or_else(|| {
        Error::new(ErrorCode::InvalidArgument, "the log level must be error, warn, info or debug")
    })
}
