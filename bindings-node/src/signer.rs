//! A signer in JavaScript, in place of a private key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::bindgen_prelude::{Either, Function};
use napi_derive::napi;
use posemesh_node_registration::config::{Config, SigningRequest};
use posemesh_node_registration::error::Result;

use crate::channel::Channel;
use crate::error::{Failure, outcome};

/// A message for JavaScript to sign.
#[napi(object, object_from_js = false)]
pub struct SignatureRequest {
    /// The number to respond with.
    pub number: u32,
    /// The message.
    pub message: String,
}

/// Passes requests for signatures to JavaScript, and its responses to core.
#[napi]
#[derive(Clone)]
pub struct NativeSigner {
    address: String,
    requests: Arc<Mutex<Requests>>,
}

struct Requests {
    /// `None` once the signer is closed.
    channel: Option<Channel<SignatureRequest>>,
    last: u32,
    pending: HashMap<u32, SigningRequest>,
}

#[napi]
impl NativeSigner {
    /// A signer for an address. `deliver` receives the requests, and does not keep the process alive.
    ///
    /// # Errors
    /// `ERR_INTERNAL` when Node-API fails.
    #[napi(constructor)]
    pub fn new(address: String, deliver: Function<'_, SignatureRequest, ()>) -> napi::Result<Self> {
        let channel = Some(Channel::new(&deliver)?);
        let requests = Requests { channel, last: 0, pending: HashMap::new() };
        Ok(Self { address, requests: Arc::new(Mutex::new(requests)) })
    }

    /// Responds to a request with a signature, or with the reason why there is none. A response after the timeout is
    /// ignored.
    #[napi]
    pub fn respond(&self, number: u32, signature: Option<String>, reason: String) -> Either<(), Failure> {
        outcome(|| {
            let request = lock(&self.requests).pending.remove(&number);
            if let Some(request) = request {
                request.respond(signature.ok_or(reason));
            }
            Ok(())
        })
    }

    /// Ends the signer. It must be called once, because the channel keeps `deliver` alive.
    #[napi]
    pub fn close(&self) -> Either<(), Failure> {
        outcome(|| {
            let mut requests = lock(&self.requests);
            requests.channel = None;
            requests.pending.clear();
            Ok(())
        })
    }

    pub(crate) fn set(&self, config: &mut Config) -> Result<()> {
        let requests = Arc::clone(&self.requests);
        config.set_signer(&self.address, move |request| lock(&requests).send(request))?;
        Ok(())
    }
}

impl Requests {
    fn send(&mut self, request: SigningRequest) {
        // Those that JavaScript has not responded to in time.
        self.pending.retain(|_, request| request.is_pending());
        // Core signs text only.
        let message = String::from_utf8_lossy(request.message()).into_owned();
        let number = self.last.wrapping_add(1);
        // Dropping the request tells core that there is no response.
        let Some(channel) = &self.channel else { return };
        self.last = number;
        self.pending.insert(number, request);
        channel.send(SignatureRequest { number, message });
    }
}

fn lock(requests: &Mutex<Requests>) -> MutexGuard<'_, Requests> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}
