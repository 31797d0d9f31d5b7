//! The HTTP clients that lead to DDS, and whose turn it is.

mod keep_alive;
mod proxy;
mod roots;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;
use reqwest::header::CONNECTION;
use reqwest::{Client, RequestBuilder, Response, redirect};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;
use url::Url;

use crate::config::{Settings, is_loopback};
use crate::dns::SystemResolver;
use crate::error::{Error, ErrorCode, Result};
use crate::foreign::foreign_error;
use crate::secret::Secret;

use keep_alive::KeepAlive;
pub(crate) use keep_alive::Request;
use roots::{add_ca_file, system_roots};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A registration uses its connection twice within milliseconds, and then for hours not at all.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Nodes that register with one DDS at a time; the others wait for their turn. More connections would make
/// none of them faster, but thousands of nodes run out of file descriptors, and DDS out of patience.
const MAX_REGISTERING: usize = 64;

/// The way to one DDS. Cloning it is cheap.
#[derive(Clone)]
pub(crate) struct HttpClient {
    pair: ClientPair,
    keep_alive: Arc<KeepAlive>,
}

/// Two clients with the same settings.
#[derive(Clone)]
struct ClientPair {
    /// Keeps a connection for the next request.
    kept: Client,
    /// Opens a connection for each request, and closes it after the answer. A client of the host's keeps them
    /// all, so it has to announce the close instead.
    fresh: Option<Client>,
    /// As in the environment that they were made in.
    proxy_passwords: Arc<[Secret]>,
}

impl HttpClient {
    /// For a client that a host made. What its connections do is not known, so none is reused.
    pub(crate) fn of_host(client: &Client) -> Self {
        let pair = ClientPair { kept: client.clone(), fresh: None, proxy_passwords: Arc::default() };
        Self { pair, keep_alive: Arc::default() }
    }

    /// What a proxy must not be quoted with, percent-encoded. Those of a host's own client are not known.
    pub(crate) fn proxy_passwords(&self) -> &[Secret] {
        &self.pair.proxy_passwords
    }

    /// Sends the request that `build` makes with a client.
    pub(crate) async fn send(
        &self,
        request: Request,
        build: impl FnOnce(&Client) -> RequestBuilder,
    ) -> reqwest::Result<Response> {
        let Some(fresh) = &self.pair.fresh else {
            return build(&self.pair.kept).header(CONNECTION, "close").send().await;
        };
        let attempt = self.keep_alive.begin(request, Instant::now());
        let client = if attempt.is_fresh() { fresh } else { &self.pair.kept };
        let result = build(client).send().await;
        match &result {
            Ok(response) => attempt.answered(response),
            Err(error) => attempt.failed(error),
        }
        result
    }
}

/// The HTTP clients that the nodes of one runtime share, and whose turn it is.
#[derive(Default)]
pub(crate) struct HttpClients {
    loopback: OnceCell<ClientPair>,
    network: OnceCell<ClientPair>,
    turns: PerDds<Semaphore>,
    keep_alive: PerDds<KeepAlive>,
}

impl HttpClients {
    /// The client for a node with these settings. Reads the environment (proxies, `SSL_CERT_FILE`,
    /// `SSL_CERT_DIR`) and the system's certificates on first use, so it runs on the host's thread, in `start`.
    pub(crate) fn get(&self, settings: &Settings) -> Result<HttpClient> {
        let keep_alive = self.keep_alive.get(&settings.dds_base_url, KeepAlive::default);
        Ok(HttpClient { pair: self.pair(settings)?, keep_alive })
    }

    fn pair(&self, settings: &Settings) -> Result<ClientPair> {
        let loopback = is_loopback(&settings.dds_base_url);
        if !loopback {
            proxy::check_environment()?;
        }
        if let Some(path) = &settings.ca_file {
            let mut roots = system_roots();
            add_ca_file(&mut roots, path)?;
            return build_clients(roots, loopback);
        }
        if loopback && settings.dds_base_url.scheme() == "http" {
            // Never speaks TLS, so it needs no certificates; reading those takes longer than registering.
            let build = || build_clients(RootCertStore::empty(), true);
            return self.loopback.get_or_try_init(build).cloned();
        }
        if loopback {
            return build_clients(system_roots(), true);
        }
        self.network.get_or_try_init(|| build_clients(system_roots(), false)).cloned()
    }

    /// Gives out the turns to register with the DDS of these settings.
    pub(crate) fn turns(&self, settings: &Settings) -> Arc<Semaphore> {
        self.turns.get(&settings.dds_base_url, || Semaphore::new(MAX_REGISTERING))
    }
}

#[cfg(test)]
impl HttpClients {
    /// A client for a DDS on this machine.
    pub(crate) fn for_test() -> HttpClient {
        let pair = build_clients(RootCertStore::empty(), true).expect("a client");
        HttpClient { pair, keep_alive: Arc::default() }
    }
}

/// What the nodes of one DDS share, by its URL, as long as one of them holds it.
struct PerDds<T>(Mutex<BTreeMap<String, Weak<T>>>);

impl<T> Default for PerDds<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> PerDds<T> {
    fn get(&self, dds: &Url, make: impl FnOnce() -> T) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = all.get(dds.as_str()).and_then(Weak::upgrade) {
            return shared;
        }
        all.retain(|_, shared| shared.strong_count() > 0);
        let shared = Arc::new(make());
        all.insert(dds.to_string(), Arc::downgrade(&shared));
        shared
    }
}

fn build_clients(roots: RootCertStore, loopback: bool) -> Result<ClientPair> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        let error = foreign_error(error);
        Error::new(ErrorCode::Internal, format!("cannot set up the HTTP client: {error}"))
    };
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let build = |tls: ClientConfig, kept: usize| {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .dns_resolver(SystemResolver)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(kept)
            .user_agent(concat!("posemesh-node/", env!("CARGO_PKG_VERSION")));
        if loopback {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| failed(&error))
    };
    // They share the sessions of TLS, so a fresh connection resumes one.
    let (kept, fresh) = (build(tls.clone(), usize::MAX)?, Some(build(tls, 0)?));
    let proxy_passwords = if loopback { Vec::new() } else { proxy::passwords() };
    Ok(ClientPair { kept, fresh, proxy_passwords: proxy_passwords.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_nodes_of_one_dds_take_turns_and_no_others() {
        let settings = |dds_base_url: &str| {
            let mut config = Config::new();
            for (name, value) in [
                ("dds_base_url", dds_base_url),
                ("reg_secret", "r"),
                ("secp256k1_privhex", &"1".repeat(64)),
                ("capabilities", "/a"),
                ("node_version", "1.0.0"),
            ] {
                config.set(name, value).expect("a good option");
            }
            config.settings().expect("all that is required")
        };
        let clients = HttpClients::default();
        let first = clients.turns(&settings("https://one.example"));
        assert_eq!(first.available_permits(), MAX_REGISTERING);
        assert!(Arc::ptr_eq(&first, &clients.turns(&settings("https://one.example/"))));
        assert!(!Arc::ptr_eq(&first, &clients.turns(&settings("https://two.example"))));
        drop(first);
        drop(clients.turns(&settings("https://three.example")));
        assert_eq!(
            clients.turns.0.lock().expect("no panic").len(),
            1,
            "permits without a waiter are forgotten"
        );
    }
}
