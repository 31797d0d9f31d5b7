//! Requests of DDS that reach a server of the host, handled by callback or by blocking.

use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::body::Bytes;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorCode, Result};
use crate::fork::Generation;
use crate::http::{Response, unavailable};
use crate::latch::latch;
use crate::node::Node;
use crate::state::registration::STOPPED;
use crate::tenants::Tenants;

type Done = Box<dyn FnOnce(Option<Response>) + Send>;

/// How a request is being handled.
pub enum Handled {
    /// It was handled at once, which is the usual case. `None` if it is not for this library.
    Now(Option<Response>),
    /// The callback will be called with the response.
    Later(PendingHandle),
}

/// A request that is being handled. Dropping it ends the wait for the response: the callback is not called any more,
/// unless it is being called.
pub struct PendingHandle {
    done: Arc<Mutex<Option<Done>>>,
    cancel: Option<oneshot::Sender<()>>,
    tenants: Arc<Tenants>,
    generation: Generation,
}

impl Drop for PendingHandle {
    fn drop(&mut self) {
        let cancel = self.cancel.take();
        if self.generation.is_foreign() {
            // What it would wake belongs to the parent.
            std::mem::forget(cancel);
            return;
        }
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.tenants.wake(|| drop(cancel));
        // Runs code of the host, which must not happen under the lock.
        drop(done);
    }
}

pub(super) fn handle_or_then(
    node: &Node,
    request: Request<Bytes>,
    done: impl FnOnce(Option<Response>) + Send + 'static,
) -> Result<Handled> {
    let handling = match begin(node, request)? {
        Begun::Now(response) => return Ok(Handled::Now(response)),
        Begun::Later(handling) => handling,
    };
    let (store, tenants) = node.store()?;
    let done: Arc<Mutex<Option<Done>>> = Arc::new(Mutex::new(Some(Box::new(done))));
    let (to_call, store) = (Arc::clone(&done), Arc::clone(store));
    let finish = move |response| {
        if let Some(done) = to_call.lock().unwrap_or_else(PoisonError::into_inner).take() {
            store.events().call(move || done(response));
        }
    };
    let Some(cancel) = continue_on_runtime(node, handling, finish)? else {
        return Ok(Handled::Now(Some(unavailable(STOPPED))));
    };
    let (tenants, generation) = (Arc::clone(tenants), Generation::current());
    Ok(Handled::Later(PendingHandle { done, cancel: Some(cancel), tenants, generation }))
}

pub(super) fn handle_within(
    node: &Node,
    request: Request<Bytes>,
    timeout: Duration,
) -> Result<Option<Response>> {
    let handling = match begin(node, request)? {
        Begun::Now(response) => return Ok(response),
        Begun::Later(handling) => handling,
    };
    let (opener, ended) = latch();
    let result = Arc::new(OnceLock::new());
    let to_caller = Arc::clone(&result);
    let finish = move |response| {
        let _ = to_caller.set(response);
        drop(opener);
    };
    let Some(cancel) = continue_on_runtime(node, handling, finish)? else {
        return Ok(Some(unavailable(STOPPED)));
    };
    // Without a deadline if the clock cannot represent it.
    match Instant::now().checked_add(timeout) {
        Some(deadline) => drop(ended.wait_until(deadline)),
        None => ended.wait(),
    }
    if let Some(response) = result.get() {
        return Ok(response.clone());
    }
    let (_, tenants) = node.store()?;
    tenants.wake(|| drop(cancel))?;
    Err(Error::new(ErrorCode::Timeout, "the request of DDS was not handled in time; DDS will repeat it"))
}

type Handling = Pin<Box<dyn Future<Output = Option<Response>> + Send>>;

enum Begun {
    Now(Option<Response>),
    Later(Handling),
}

fn begin(node: &Node, request: Request<Bytes>) -> Result<Begun> {
    node.store()?;
    let mut handling: Handling = Box::pin(node.handle(request));
    Ok(match handling.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => Begun::Now(response),
        Poll::Pending => Begun::Later(handling),
    })
}

/// Calls `finish` once, on the runtime's thread: with the response, or when the node ends before there is one. Dropping
/// what is returned ends the wait. `None` if the node is stopped; then `finish` is dropped.
fn continue_on_runtime(
    node: &Node,
    handling: Handling,
    finish: impl FnOnce(Option<Response>) + Send + 'static,
) -> Result<Option<oneshot::Sender<()>>> {
    let (cancel, cancelled) = oneshot::channel::<()>();
    let spawned = node.spawn(move || {
        let finish = FinishOnDrop { finish: Some(finish), response: Some(unavailable(STOPPED)) };
        async move {
            tokio::select! {
                biased;
                response = handling => finish.with(response),
                _ = cancelled => drop(finish),
            }
        }
    })?;
    Ok(spawned.then_some(cancel))
}

/// Calls a function when it is dropped, also together with the runtime.
struct FinishOnDrop<F: FnOnce(Option<Response>)> {
    finish: Option<F>,
    response: Option<Response>,
}

impl<F: FnOnce(Option<Response>)> FinishOnDrop<F> {
    fn with(mut self, response: Option<Response>) {
        self.response = response;
    }
}

impl<F: FnOnce(Option<Response>)> Drop for FinishOnDrop<F> {
    fn drop(&mut self) {
        if let Some(finish) = self.finish.take() {
            finish(self.response.take());
        }
    }
}
