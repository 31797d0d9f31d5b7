//! The routes in a server of the host.

use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use axum::extract::State;
use axum::routing::any;
use hyper::body::Body;
use hyper::{Request, StatusCode};

use super::routes::{Callback, PATHS, Response, Route, respond_on, respond_without_node, unavailable};
use crate::fork::Generation;
use crate::state::registration::STOPPED;
use crate::tenants::Tenants;

const FORKED: &str = "this process was forked, and its node runs in the parent";

/// The routes of one node, for a server of the host.
pub(crate) struct Mounted {
    callback: Callback,
    tenants: Arc<Tenants>,
    generation: Generation,
}

impl Mounted {
    pub(crate) fn new(callback: Callback, tenants: &Arc<Tenants>) -> Arc<Self> {
        Arc::new(Self { callback, tenants: Arc::clone(tenants), generation: Generation::current() })
    }

    /// From now on DDS may call the node through the host's server.
    pub(crate) fn expect_callbacks(&self) {
        if !self.generation.is_foreign() && !self.callback.store.expects_callbacks() {
            let _ = self.tenants.wake(|| self.callback.store.expect_callbacks());
        }
    }

    /// The response to a request; `None` when it is not for this library.
    ///
    /// The future needs no runtime if the body needs none, and is usually ready when it is polled for the first time.
    pub(crate) async fn handle<B>(&self, request: Request<B>) -> Option<Response>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if self.generation.is_foreign() {
            return respond_without_node(&request, FORKED);
        }
        self.expect_callbacks();
        let route = Route::of_dds(&request)?;
        if !self.callback.store.status().running {
            return respond_without_node(&request, STOPPED);
        }
        let mut handling = pin!(respond_on(route, &self.callback, request));
        // It wakes tasks of the runtime, which may have died.
        let handled = poll_fn(|context| match self.tenants.wake(|| handling.as_mut().poll(context)) {
            Ok(poll) => poll.map(Ok),
            Err(died) => Poll::Ready(Err(died)),
        });
        Some(handled.await.unwrap_or_else(|died| unavailable(died.message().to_owned())))
    }
}

/// The routes as an axum router. Its timer for slow bodies needs tokio.
pub(crate) fn router(mounted: Arc<Mounted>) -> Router {
    mounted.expect_callbacks();
    let handle = |State(mounted): State<Arc<Mounted>>, request: axum::extract::Request| async move {
        mounted
            .handle(request)
            .await
            .map(|response| response.map(axum::body::Body::new))
            .ok_or(StatusCode::NOT_FOUND)
    };
    let paths = PATHS.into_iter().flat_map(|path| [path.to_owned(), format!("{path}/")]);
    paths.fold(Router::new(), |router, path| router.route(&path, any(handle))).with_state(mounted)
}
