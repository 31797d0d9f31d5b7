//! The waits of a node that JavaScript has begun.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use posemesh_node_registration::bindings::{NodeExt as _, PendingWait};
use posemesh_node_registration::error::{Error, Result};
use posemesh_node_registration::node::{Node, Wait};
use posemesh_node_registration::token::AccessToken;

use crate::channel::Channel;
use crate::error::Failure;
use crate::event::Message;

/// The waits of one node, by their numbers.
#[derive(Default)]
pub(crate) struct Waits {
    last: u32,
    begun: HashMap<u32, Begun>,
}

struct Begun {
    _pending: PendingWait,
    /// The result of a wait for an access token. It stays here until JavaScript takes it, because messages contain no
    /// token.
    token: Arc<OnceLock<AccessToken>>,
}

impl Waits {
    /// Begins a wait and returns its number. A [`Message::Waited`] is sent when it ends.
    pub(crate) fn begin(&mut self, node: &Node, what: &str, channel: Arc<Channel<Message>>) -> Result<u32> {
        let wait = self.last.wrapping_add(1);
        let send = move |error: Option<Error>| {
            channel.send(Message::Waited { wait, error: error.map(Failure::from) });
        };
        let token = Arc::new(OnceLock::new());
        let result = Arc::clone(&token);
        let pending = match what {
            "token" => node.access_token_then(move |token| send(token.map(|token| result.set(token)).err())),
            "secret" => node.wait_then_notify(Wait::Secret, move |secret| send(secret.err())),
            _ => node.wait_then_notify(Wait::Registered, move |registered| send(registered.err())),
        }?;
        self.last = wait;
        self.begun.insert(wait, Begun { _pending: pending, token });
        Ok(wait)
    }

    /// Removes a wait, finished or not, and returns its token, if it has one.
    pub(crate) fn end(&mut self, wait: u32) -> Option<AccessToken> {
        self.begun.remove(&wait).and_then(|begun| begun.token.get().cloned())
    }
}
