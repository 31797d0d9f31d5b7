//! Why a request to DDS has no answer.

use std::error::Error;
use std::fmt;

use hyper_util::client::legacy;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Why a request has no answer, or an incomplete one.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// No connection could be opened, so nothing was sent.
    Connect(BoxError),
    TimedOut,
    /// The connection failed.
    Other(BoxError),
}

impl From<legacy::Error> for RequestError {
    fn from(error: legacy::Error) -> Self {
        let is_connect = error.is_connect();
        let error = error.into();
        if is_connect { Self::Connect(error) } else { Self::Other(error) }
    }
}

impl RequestError {
    /// What failed. `source` begins below it, so a search for a type of error begins here.
    pub(crate) fn cause(&self) -> &(dyn Error + 'static) {
        match self {
            // The text of the client's own error says no more than that it is one.
            Self::Connect(error) | Self::Other(error) if error.is::<legacy::Error>() => {
                error.source().unwrap_or(&**error)
            }
            Self::Connect(error) | Self::Other(error) => &**error,
            Self::TimedOut => &TimedOut,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.cause(), f)
    }
}

impl Error for RequestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause().source()
    }
}

/// Something took longer than it may.
#[derive(Debug)]
pub(crate) struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl Error for TimedOut {}
