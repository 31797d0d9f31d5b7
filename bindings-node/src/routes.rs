//! Requests of DDS that arrive at the host's own web server.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Bytes;
use napi_derive::napi;
use posemesh_node_registration::bindings::{self, NodeExt as _, PendingHandle, Response};
use posemesh_node_registration::error::Result;
use posemesh_node_registration::node::Node;

use crate::channel::Channel;
use crate::event::Message;
use crate::http::HttpResponse;

/// The response to a request, or the number of the `handled` message that will have it. Neither: the request is not for
/// this library.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct Handled {
    /// The response, if it was decided at once.
    pub response: Option<HttpResponse>,
    /// The number of the message.
    pub pending: Option<u32>,
}

impl Handled {
    /// The request was handled, or is not for this library.
    pub(crate) fn now(response: Option<Response>) -> Self {
        Self { response: response.map(HttpResponse::from), pending: None }
    }
}

/// The requests of one node that were not decided at once, by their numbers.
#[derive(Default)]
pub(crate) struct Routes {
    last: u32,
    pending: HashMap<u32, PendingHandle>,
}

impl Routes {
    /// Handles a request. A [`Message::Handled`] is sent if it is not decided at once. Without a channel, the node was
    /// stopped, and decides at once.
    pub(crate) fn handle(
        &mut self,
        node: &Node,
        channel: Option<Arc<Channel<Message>>>,
        request: Request<Bytes>,
    ) -> Result<Handled> {
        let number = self.last.wrapping_add(1);
        let done = move |response: Option<Response>| {
            if let Some(channel) = channel {
                let response = response.map(HttpResponse::from);
                channel.send(Message::Handled { request: number, response });
            }
        };
        Ok(match node.handle_or_then(request, done)? {
            bindings::Handled::Now(response) => Handled::now(response),
            bindings::Handled::Later(pending) => {
                self.last = number;
                self.pending.insert(number, pending);
                Handled { response: None, pending: Some(number) }
            }
        })
    }

    /// Forgets a request, finished or not.
    pub(crate) fn end(&mut self, request: u32) {
        self.pending.remove(&request);
    }
}
