//! The task of a running node: it leads or follows, serves callbacks, and keeps the registration and the token.
//!
//! What few nodes do, and what they do rarely, is boxed: a future holds room for all that it may ever wait for.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use super::listener::{bind_patiently, serve};
use crate::callback_watch::watch_for_callback;
use crate::config::Settings;
use crate::healthcheck::watch_healthchecks;
use crate::http::{Server, Tls};
use crate::http_client::HttpClient;
use crate::register::registrar::Registrar;
use crate::share::Share;
use crate::state::store::Store;
use crate::status::Role;
use crate::token_refresh::run_token_refresher;

/// Everything that one node runs.
pub(super) struct Supervisor {
    pub(super) store: Arc<Store>,
    pub(super) settings: Arc<Settings>,
    pub(super) client: HttpClient,
    pub(super) turns: Arc<Semaphore>,
    /// None for a node whose callback server speaks HTTP without TLS.
    pub(super) tls: Option<Arc<Tls>>,
    /// None for a node that has no callback server, and for one that follows and leaves this to the leader.
    pub(super) server: Option<Server>,
    /// Every process that has `admin_bind` has one, whether it leads or follows.
    pub(super) admin: Option<Server>,
    pub(super) share: Share,
}

impl Supervisor {
    /// Runs until the sender of `stopped` is dropped, then closes what it has opened.
    pub(super) async fn run(mut self, stopped: oneshot::Receiver<()>) {
        let (store, settings) = (Arc::clone(&self.store), Arc::clone(&self.settings));
        let client = self.client.clone();
        let mut admin = self.admin.take();
        let mut own_server = if self.share.has_servers_everywhere() { self.server.take() } else { None };
        tokio::select! {
            _ = stopped => {}
            () = self.live() => {}
            () = run(&mut own_server) => {}
            () = run_token_refresher(&store, &settings, client) => {}
            () = run(&mut admin) => {}
            () = store.requests().expire() => {}
        }
        for server in self.server.into_iter().chain(own_server).chain(admin) {
            Box::pin(server.close()).await;
        }
        self.share.close().await;
    }

    /// Follows while another process leads, and leads otherwise. Never returns.
    async fn live(&mut self) {
        loop {
            if self.store.status().role == Role::Follower {
                self.share.follow().await;
            }
            self.lead().await;
        }
    }

    /// Does what only the leader does. Returns when another process may lead.
    async fn lead(&mut self) {
        let mandate = self.share.mandate();
        let binds = !self.share.has_servers_everywhere();
        let share = self.share.lead();
        let register = async {
            if let Some(address) = &self.settings.callback_bind
                && self.server.is_none()
                && binds
            {
                let listener = Box::pin(bind_patiently(address, &self.store)).await;
                match serve(listener, &self.store, &self.settings, self.tls.as_ref()) {
                    Ok(server) => self.server = Some(server),
                    Err(error) => self.store.report(error),
                }
            }
            let watch = async {
                match self.settings.healthcheck_ttl {
                    Some(ttl) => watch_healthchecks(&self.store, ttl).await,
                    None => std::future::pending().await,
                }
            };
            let registrar = Registrar::new(&self.store, &self.settings, &self.client, &self.turns);
            let again = async {
                match self.settings.reregister_interval {
                    Some(interval) => registrar.run_again(interval).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = registrar.run() => {}
                () = again => {}
                () = watch => {}
                () = watch_for_callback(&self.store) => {}
                () = run(&mut self.server) => {}
            }
        };
        // Pinned here, because whatever a future is passed to holds room for it once more.
        let register = pin!(register);
        // Followers are served even while the port of a leader that has just died is still taken.
        tokio::select! {
            () = share => {}
            () = mandate.within(register) => {}
        }
    }
}

/// Runs a server. Pending if there is none. Boxed, because most nodes have none.
async fn run(server: &mut Option<Server>) {
    match server {
        Some(server) => Box::pin(server.run()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::http_client::HttpClients;

    /// A process may run thousands of nodes, and each has this future.
    #[test]
    fn a_node_without_options_takes_little_memory() {
        let mut config = Config::new();
        for (name, value) in [
            ("dds_base_url", "http://127.0.0.1:1"),
            ("reg_secret", "r"),
            ("secp256k1_privhex", &"1".repeat(64)),
            ("capabilities", "/a"),
            ("node_version", "1.0.0"),
        ] {
            config.set(name, value).expect("a good option");
        }
        let supervisor = Supervisor {
            store: Arc::default(),
            settings: Arc::new(config.settings().expect("all that is required")),
            client: HttpClients::for_test(),
            turns: Arc::new(Semaphore::new(1)),
            tls: None,
            server: None,
            admin: None,
            share: Share::Alone,
        };
        let (_stop, stopped) = oneshot::channel();
        let size = size_of_val(&supervisor.run(stopped));
        assert!(size <= 8 * 1024, "the task of a node takes {size} bytes");
    }
}
