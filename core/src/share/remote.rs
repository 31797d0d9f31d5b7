//! What a store on another machine must be able to do: one key, which is read, and swapped if it is unchanged.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::config::StateUrl;
use crate::dds::repeats;
use crate::error::Result;
use crate::foreign::foreign;

/// How long a read or a swap may take. Longer ones have failed.
pub(crate) const OPERATION_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a value may take to reach the copies of a store. See [`RemoteKey::replicated`].
pub(crate) const REPLICATION_TIMEOUT: Duration = Duration::from_millis(500);

pub(crate) type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// One key of a store that several machines can reach. All calls come from one task, within the library's runtime, one at
/// a time; only [`changed`](RemoteKey::changed) is awaited beside the others. Each future may be dropped before it is
/// ready. An error names the store without its user, password and path; the texts of the server and of TLS in it went
/// through [`foreign`](crate::foreign::foreign).
///
/// An implementation connects when it is first used, and again whenever the connection has broken or did not respond in
/// time. It never repeats a swap by itself.
pub(crate) trait RemoteKey: Send + Sync {
    /// The value. `None` if there is none. A read sees every swap that has succeeded before it began.
    ///
    /// Fails after [`OPERATION_TIMEOUT`] at the latest; a connection that it needs first may take as long again.
    fn read(&self) -> Reply<'_, Option<Vec<u8>>>;

    /// Replaces the value if it is still `expected`, byte for byte, in one atomic step. Tells all that listen to
    /// [`changed`](RemoteKey::changed). The value never expires.
    ///
    /// Fails as late as [`read`](RemoteKey::read). Whether a swap that has failed takes place, now or later, is not
    /// known.
    fn swap<'a>(&'a self, expected: Option<&'a [u8]>, value: &'a [u8]) -> Reply<'a, Swap>;

    /// Waits until the last swap cannot be lost with one server, as far as the store offers that, but not longer than
    /// [`REPLICATION_TIMEOUT`].
    fn replicated(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    /// Resolves when the value may have changed, by another client, since the last time that this resolved; also when
    /// that is unknown because the connection has just broken. A change between two calls is not lost. Pending while there
    /// is no connection: it opens none.
    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Closes the connections.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Words of the server, unless they repeat the user or the password.
pub(super) fn presentable(url: &StateUrl, words: impl Display) -> String {
    let shown = foreign(words);
    let password = url.password.iter().map(|password| password.expose());
    let secrets: Vec<_> = password
        .chain(url.user.as_deref())
        .map(|secret| Zeroizing::new(secret.as_bytes().to_vec()))
        .collect();
    if repeats(&shown, &secrets) { "[redacted] (the text repeats credentials)".into() } else { shown }
}

/// The outcome of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Swap {
    Done,
    /// The value is not the expected one, but this.
    Changed(Option<Vec<u8>>),
}
