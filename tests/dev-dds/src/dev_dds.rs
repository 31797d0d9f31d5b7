//! A running server.

use std::fmt;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::builder::Builder;
use crate::callback::{self, CallbackOutcome};
use crate::endpoint::Endpoint;
use crate::fault::Fault;
use crate::record::Request;
use crate::registry::RegisteredNode;
use crate::server;
use crate::shared::{Shared, State};

/// A running DDS on loopback. Dropping it stops it: connections are closed, its thread ends, and its port is free.
pub struct DevDds {
    shared: Arc<Shared>,
    runtime: Handle,
    /// Dropping it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl DevDds {
    /// Starts a server with the defaults of [`Builder`], on a free port of 127.0.0.1.
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// Returns the settings of a server, to change them and start it.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn start_with(builder: Builder) -> io::Result<Self> {
        let node_url = builder.node_url.map(|url| url.parse()).transpose().map_err(invalid)?;
        if builder.settings.health_interval == Some(Duration::ZERO) {
            return Err(invalid("the health interval must not be zero".into()));
        }
        let listener = server::listen(builder.bind)?;
        let authority = listener.local_addr()?.to_string();
        let shared = Arc::new(Shared::new(builder.settings, authority, node_url));

        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        // Not on the thread, because the caller needs to know when this fails.
        let listener = {
            let _entered = handle.enter();
            TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let serve = server::serve(listener, Arc::clone(&shared));
        let thread = thread::Builder::new().name("dev-dds".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    never = serve => match never {},
                    _ = stopped => {}
                }
            });
            // Dropping the runtime closes every connection.
        })?;
        Ok(Self { shared, runtime: handle, stop: Some(stop), thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        self.shared.url()
    }

    /// `127.0.0.1:PORT`
    pub fn authority(&self) -> String {
        self.shared.authority.clone()
    }

    /// Applies `fault` to the next `times` requests to `endpoint`, after the faults that were injected before.
    /// `u32::MAX`: to every request until [`clear_faults`](Self::clear_faults).
    ///
    /// # Panics
    /// If HTTP does not allow the fault's status or one of its headers.
    pub fn inject(&self, endpoint: Endpoint, fault: Fault, times: u32) {
        self.shared.inject(endpoint, fault, times).expect("a fault that HTTP allows");
    }

    /// Removes all faults. One that is being applied, such as a request that hangs, continues.
    pub fn clear_faults(&self) {
        self.shared.change(|state| state.faults.clear());
    }

    /// Every request so far, in order of arrival. Only the latest 10 000 are kept.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.read(|state| state.record.all())
    }

    /// Every request to `endpoint` so far.
    pub fn requests_to(&self, endpoint: Endpoint) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.endpoint == Some(endpoint));
        requests
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.shared.change(|state| state.record.clear());
    }

    /// Waits until `condition` holds, and returns true, or false after `timeout`. The condition is checked whenever
    /// something changes: a request, an answer, a registration, a callback.
    pub fn wait_for(&self, timeout: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        self.shared.wait_for(timeout, || condition(self))
    }

    /// Waits until at least `count` requests to `endpoint` have arrived. Returns false after `timeout`.
    pub fn wait_for_requests(&self, endpoint: Endpoint, count: usize, timeout: Duration) -> bool {
        self.wait_for(timeout, |dds| dds.requests_to(endpoint).len() >= count)
    }

    /// Changes every new challenge: the fields of this JSON object are added or replaced, and those that are `null`
    /// are removed. The signed message is checked against the result. A nonce that is set here is unused again in
    /// every challenge.
    ///
    /// # Panics
    /// If it is not an object.
    pub fn set_challenge(&self, overrides: Option<Value>) {
        self.shared.set_challenge(overrides).expect("a JSON object");
    }

    /// Sets the URL of the node's callback server: `http://127.0.0.1:PORT`, with a base path if there is one. Only
    /// plain HTTP to loopback is accepted. A node that registered with a URL is called there instead. `None`: no node
    /// is called.
    ///
    /// The node that registered last is called now, in the background, if it has not been called since, unless the
    /// server was set up with [`Callback::Never`](crate::Callback::Never).
    pub fn set_node_url(&self, url: Option<String>) -> io::Result<()> {
        self.shared.set_node_url(url).map_err(invalid)?;
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move { callback::after_node_url(&shared).await });
        Ok(())
    }

    /// Sets the secret of every future callback. `None`: a new random one for each registration.
    pub fn set_secret(&self, secret: Option<String>) {
        self.shared.change(|state| state.set_secret(secret));
    }

    /// The secret of the latest callback. It is set before the node has received it.
    pub fn last_secret(&self) -> Option<String> {
        self.shared.read(|state| state.last_secret.clone())
    }

    /// Calls back the node that registered last, with the secret of its registration, which is the same in every
    /// callback.
    pub fn call_back(&self) -> io::Result<CallbackOutcome> {
        let shared = Arc::clone(&self.shared);
        self.run(async move { callback::call_back(&shared).await })
    }

    /// Posts any body to the node's callback endpoint.
    pub fn call_back_with(
        &self,
        body: impl Into<Vec<u8>>,
        content_type: &str,
    ) -> io::Result<CallbackOutcome> {
        let (shared, body, content_type) = (Arc::clone(&self.shared), body.into(), content_type.to_owned());
        self.run(async move { callback::call_back_with(&shared, body, &content_type).await })
    }

    /// Probes the health of the node that registered last, as DDS does, and returns the status of the answer.
    pub fn probe_health(&self) -> io::Result<u16> {
        let shared = Arc::clone(&self.shared);
        self.run(async move { callback::probe_health(&shared).await })
    }

    /// The nodes that are registered, ordered by wallet, then robots by id.
    pub fn nodes(&self) -> Vec<RegisteredNode> {
        self.shared.read(|state| state.registry.all())
    }

    /// Forgets a node and revokes its tokens: it gets no access token until it has registered again.
    ///
    /// # Panics
    /// If `node` is neither an Ethereum address nor the id of a robot.
    pub fn forget(&self, node: &str) {
        let node = node.parse().expect("an Ethereum address or a robot's id");
        self.shared.change(|state| state.forget(node));
    }

    /// Forgets every node.
    pub fn forget_all(&self) {
        self.shared.change(State::forget_all);
    }

    /// Whether a token is valid, as a service behind DDS would check it: issued by this server, not expired, and its
    /// node has not been forgotten since.
    pub fn accepts_token(&self, token: &str) -> bool {
        self.shared.read(|state| state.tokens.is_valid(token))
    }

    /// The name of [`accepts_token`](Self::accepts_token) up to version 0.3.
    #[doc(hidden)]
    pub fn token_is_good(&self, token: &str) -> bool {
        self.accepts_token(token)
    }

    /// Sets whether another node with this wallet is online, so a registration is answered with 409.
    ///
    /// # Panics
    /// If `wallet` is not an Ethereum address.
    pub fn set_online_elsewhere(&self, wallet: &str, elsewhere: bool) {
        let wallet = wallet.parse().expect("an Ethereum address, in lowercase or with its EIP-55 checksum");
        self.shared.change(|state| state.registry.set_online_elsewhere(wallet, elsewhere));
    }

    /// Runs `work` on the server's thread and waits for its result.
    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let (sender, receiver) = mpsc::channel();
        self.runtime.spawn(async move { sender.send(work.await) });
        receiver.recv().unwrap_or_else(|_| Err(io::Error::other("the server has stopped")))
    }
}

impl Drop for DevDds {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic of that thread.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for DevDds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevDds").field("url", &self.url()).finish_non_exhaustive()
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
