//! Connections of a test to a leader.

use std::io::{ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::support::GUARD;

pub(crate) fn connect(state: &str) -> UnixStream {
    let stream = UnixStream::connect(Path::new(state).join("leader")).expect("the leader listens");
    stream.set_read_timeout(Some(GUARD)).expect("a timeout");
    stream
}

/// Waits for the end of a connection, and returns what came before.
pub(crate) fn until_closed(mut stream: UnixStream) -> Vec<u8> {
    stream.set_read_timeout(Some(GUARD)).expect("a timeout");
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    bytes
}
