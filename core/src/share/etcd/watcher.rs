//! A watch: a request whose response has a line for each change of the key, and does not end.

use super::gateway::Gateway;
use super::message::{Blob, CreateWatch, Event, Watch, WatchLine, Watched};
use crate::error::{Error, ErrorCode, Result};
use crate::http_client::Response;

/// The longest line. Records are much shorter.
const MAX_LINE: usize = 1024 * 1024;

pub(super) struct Watcher {
    response: Response,
    /// What was read of the next lines.
    buffer: Vec<u8>,
}

impl Watcher {
    /// Watches the key from this revision of the store on.
    pub(super) async fn open(gateway: &Gateway, key: &Blob, from: i64) -> Result<Self> {
        let request = Watch { create_request: CreateWatch { key, start_revision: from.to_string() } };
        let response = gateway.open("watch", &request).await?;
        let mut watcher = Self { response, buffer: Vec::new() };
        match watcher.line().await {
            Some(Watched { created: true, canceled: false, .. }) => Ok(watcher),
            refused => {
                gateway.watch_refused(&refused.map_or_else(String::new, |watched| watched.cancel_reason));
                Err(Error::new(ErrorCode::Io, "the watch was refused"))
            }
        }
    }

    /// The next changes. `None`: it has ended. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Vec<Event>> {
        let watched = self.line().await?;
        (!watched.canceled).then_some(watched.events)
    }

    async fn line(&mut self) -> Option<Watched> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = serde_json::from_slice::<WatchLine>(&self.buffer[..end]);
                self.buffer.drain(..=end);
                return line.ok()?.result;
            }
            let chunk = self.response.chunk().await.ok()??;
            if self.buffer.len() + chunk.len() > MAX_LINE {
                return None;
            }
            self.buffer.extend_from_slice(&chunk);
        }
    }
}
