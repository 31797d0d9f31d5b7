//! The HTTP clients for DDS, and the permits to register.

mod connector;
#[cfg(feature = "state-url")]
mod direct;
mod error;
mod keep_alive;
mod proxy;
mod response;
mod roots;
mod tls;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::http::uri::Scheme;
use hyper::{Method, Uri};
use hyper_util::client::legacy;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use once_cell::sync::OnceCell;
use rustls::RootCertStore;
use tokio::sync::Semaphore;
use url::Url;

use crate::config::{Settings, is_loopback};
use crate::error::Result;
use crate::secret::Secret;

pub(crate) use connector::ProxyFailed;
use connector::{Connector, PRODUCT};
#[cfg(feature = "state-url")]
pub(crate) use direct::DirectClient;
pub(crate) use error::RequestError;
use keep_alive::KeepAlive;
pub(crate) use keep_alive::Request;
pub(crate) use response::Response;
use response::within;
use roots::{add_ca_file, system_roots};
use tls::tls_config;
#[cfg(feature = "state-url")]
pub(crate) use tls::tls_of_system;

/// A registration uses its connection twice within milliseconds, and then not for hours.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// How many nodes of a process register with one DDS at the same time. More connections would make none of them faster,
/// but thousands of nodes would run out of file descriptors and overload DDS.
const MAX_REGISTERING: usize = 64;

/// A client for one DDS. Cloning it is cheap.
#[derive(Clone)]
pub(crate) struct HttpClient(Kind);

#[derive(Clone)]
enum Kind {
    Own {
        clients: Arc<ClientPair>,
        keep_alive: Arc<KeepAlive>,
    },
    #[cfg(feature = "predecessor")]
    Host(reqwest::Client),
}

type Client = legacy::Client<Connector, Full<Bytes>>;

/// Two clients with the same settings.
struct ClientPair {
    /// Keeps a connection for the next request.
    kept: Client,
    /// Opens a connection for each request, and closes it after the answer.
    fresh: Client,
    /// From the environment at the time of creation. `None`: no proxy is used.
    proxies: Option<Arc<Matcher>>,
    proxy_passwords: Vec<Secret>,
}

impl HttpClient {
    /// The passwords of proxies, percent-encoded, which no error may repeat. Those of a host's client are not known.
    pub(crate) fn proxy_passwords(&self) -> &[Secret] {
        match &self.0 {
            Kind::Own { clients, .. } => &clients.proxy_passwords,
            #[cfg(feature = "predecessor")]
            Kind::Host(_) => &[],
        }
    }

    /// The host and the port of the proxy for this URL, without credentials. Those of a host's client are not known.
    pub(crate) fn proxy(&self, endpoint: &str) -> Option<String> {
        match &self.0 {
            Kind::Own { clients, .. } => {
                let proxy = clients.proxies.as_ref()?.intercept(&endpoint.parse().ok()?)?;
                let host = proxy.uri().host()?;
                Some(proxy.uri().port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
            }
            #[cfg(feature = "predecessor")]
            Kind::Host(_) => None,
        }
    }

    /// Whether the host made the client, and not this library with the options of a node.
    pub(crate) fn is_of_host(&self) -> bool {
        match &self.0 {
            Kind::Own { .. } => false,
            #[cfg(feature = "predecessor")]
            Kind::Host(_) => true,
        }
    }

    /// Posts JSON. The timeout is for the whole answer; `None`: the client's own, if it has one.
    pub(crate) async fn post(
        &self,
        request: Request,
        endpoint: &str,
        json: Vec<u8>,
        timeout: Option<Duration>,
    ) -> std::result::Result<Response, RequestError> {
        let deadline = timeout.map(|timeout| tokio::time::Instant::now() + timeout);
        match &self.0 {
            Kind::Own { clients, keep_alive } => {
                let attempt = keep_alive.begin(request, Instant::now());
                let client = if attempt.is_fresh() { &clients.fresh } else { &clients.kept };
                let sent = async {
                    let request = clients.request(endpoint, json)?;
                    Ok(within(deadline, client.request(request)).await??)
                };
                let mut result = sent.await.map(|response| Response::new(response, deadline));
                match &mut result {
                    Ok(response) => {
                        response.reused = attempt.may_reuse().then(|| Arc::clone(keep_alive));
                        attempt.answered(response.status(), response.headers(), response.local_address());
                    }
                    Err(error) => attempt.failed_with(error),
                }
                result
            }
            #[cfg(feature = "predecessor")]
            Kind::Host(client) => within(deadline, post_with_host(client, endpoint, json)).await?,
        }
    }
}

impl ClientPair {
    fn request(
        &self,
        endpoint: &str,
        json: Vec<u8>,
    ) -> std::result::Result<hyper::Request<Full<Bytes>>, RequestError> {
        let uri: Uri = endpoint.parse().map_err(|error| RequestError::Other(Box::new(error)))?;
        // A tunnel sends the credentials of its proxy in the CONNECT request instead.
        let proxy = self.proxies.as_ref().filter(|_| uri.scheme() == Some(&Scheme::HTTP));
        let proxy = proxy.and_then(|proxies| proxies.intercept(&uri));
        let mut request = hyper::Request::new(Full::from(json));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT, ANYTHING);
        headers.insert(USER_AGENT, PRODUCT);
        if let Some(credentials) = proxy.as_ref().and_then(|proxy| proxy.basic_auth()) {
            headers.insert(PROXY_AUTHORIZATION, credentials.clone());
        }
        Ok(request)
    }
}

#[cfg(feature = "predecessor")]
impl HttpClient {
    /// For a client of the host.
    pub(crate) fn of_host(client: &reqwest::Client) -> Self {
        Self(Kind::Host(client.clone()))
    }
}

/// Posts JSON with a client of the host. Whether its connections stay open is not known, so none is kept.
#[cfg(feature = "predecessor")]
async fn post_with_host(
    client: &reqwest::Client,
    endpoint: &str,
    json: Vec<u8>,
) -> std::result::Result<Response, RequestError> {
    use http_body_util::BodyExt as _;

    // The message around the error has the URL.
    let failed = |error: reqwest::Error| RequestError::Other(Box::new(error.without_url()));
    // A wrapped body cannot be sent twice, so a client that follows redirects cannot send the credentials elsewhere.
    let body = reqwest::Body::wrap(Full::<Bytes>::from(json));
    let response = client
        .post(endpoint)
        .header(CONTENT_TYPE, JSON)
        .header(hyper::header::CONNECTION, "close")
        .body(body)
        .send()
        .await
        .map_err(failed)?;
    let redirected_to = (response.url().as_str() != endpoint).then(|| response.url().to_string());
    let response = hyper::Response::<reqwest::Body>::from(response);
    let response = response.map(|body| body.map_err(reqwest::Error::without_url));
    let mut response = Response::new(response, None);
    response.redirected_to = redirected_to;
    Ok(response)
}

/// The HTTP clients that the nodes of one runtime share, and the permits to register.
#[derive(Default)]
pub(crate) struct HttpClients {
    loopback: OnceCell<Arc<ClientPair>>,
    network: OnceCell<Arc<ClientPair>>,
    permits: PerDds<Semaphore>,
    keep_alive: PerDds<KeepAlive>,
}

impl HttpClients {
    /// The client for a node with these settings. The first call reads the environment (proxies, `SSL_CERT_FILE`,
    /// `SSL_CERT_DIR`) and the system's certificates, so it is made on the host's thread, in `start`.
    pub(crate) fn get(&self, settings: &Settings) -> Result<HttpClient> {
        let keep_alive = self.keep_alive.get(&settings.dds_base_url, KeepAlive::default);
        Ok(HttpClient(Kind::Own { clients: self.clients(settings)?, keep_alive }))
    }

    fn clients(&self, settings: &Settings) -> Result<Arc<ClientPair>> {
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
            // Without TLS, it needs no certificates. Reading them takes longer than registering.
            let build = || build_clients(RootCertStore::empty(), true);
            return self.loopback.get_or_try_init(build).cloned();
        }
        if loopback {
            return build_clients(system_roots(), true);
        }
        self.network.get_or_try_init(|| build_clients(system_roots(), false)).cloned()
    }

    /// The permits to register with the DDS of these settings.
    pub(crate) fn permits(&self, settings: &Settings) -> Arc<Semaphore> {
        self.permits.get(&settings.dds_base_url, || Semaphore::new(MAX_REGISTERING))
    }
}

#[cfg(test)]
impl HttpClients {
    /// A client for a DDS on this machine.
    pub(crate) fn for_test() -> HttpClient {
        let clients = build_clients(RootCertStore::empty(), true).expect("a client");
        HttpClient(Kind::Own { clients, keep_alive: Arc::default() })
    }
}

/// What the nodes of one DDS share, by its URL, while one of them holds it.
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

fn build_clients(roots: RootCertStore, loopback: bool) -> Result<Arc<ClientPair>> {
    let tls = tls_config(roots)?;
    let (proxies, proxy_passwords) = if loopback {
        (None, Vec::new())
    } else {
        (Some(Arc::new(Matcher::from_system())), proxy::passwords())
    };
    // Both resume TLS sessions of either.
    let connector = Connector::new(tls, proxies.clone());
    let build = |kept: usize| {
        legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(kept)
            .build(connector.clone())
    };
    let (kept, fresh) = (build(usize::MAX), build(0));
    Ok(Arc::new(ClientPair { kept, fresh, proxies, proxy_passwords }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_nodes_of_one_dds_share_permits() {
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
        let first = clients.permits(&settings("https://one.example"));
        assert_eq!(first.available_permits(), MAX_REGISTERING);
        assert!(Arc::ptr_eq(&first, &clients.permits(&settings("https://one.example/"))));
        assert!(!Arc::ptr_eq(&first, &clients.permits(&settings("https://two.example"))));
        drop(first);
        drop(clients.permits(&settings("https://three.example")));
        assert_eq!(
            clients.permits.0.lock().expect("no panic").len(),
            1,
            "permits that no node holds are forgotten"
        );
    }
}
