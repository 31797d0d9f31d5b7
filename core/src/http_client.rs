//! The HTTP clients that lead to DDS: TLS and its roots of trust, proxies, whose turn it is.

mod proxy;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use once_cell::sync::OnceCell;
use reqwest::{Client, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;

use crate::config::{Settings, is_loopback};
use crate::dns::SystemResolver;
use crate::error::{Error, ErrorCode, Result};
use crate::log::log;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A registration uses its connection twice within milliseconds, and then for hours not at all.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Nodes that register with one DDS at a time; the others wait for their turn. More connections would make
/// none of them faster, but thousands of nodes run out of file descriptors, and DDS out of patience.
const MAX_REGISTERING: usize = 64;

/// The HTTP clients that the nodes of one runtime share, and whose turn it is.
#[derive(Default)]
pub(crate) struct HttpClients {
    loopback: OnceCell<Client>,
    network: OnceCell<Client>,
    /// By the URL of DDS.
    turns: Mutex<BTreeMap<String, Weak<Semaphore>>>,
}

impl HttpClients {
    /// The client for a node with these settings. Reads the environment (proxies, `SSL_CERT_FILE`) and the
    /// system's certificates on first use, so it runs on the host's thread, in `start`.
    pub(crate) fn get(&self, settings: &Settings) -> Result<Client> {
        let loopback = is_loopback(&settings.dds_base_url);
        if !loopback {
            proxy::check_environment()?;
        }
        if let Some(path) = &settings.ca_file {
            let mut roots = system_roots();
            add_ca_file(&mut roots, path)?;
            return build_client(roots, loopback);
        }
        if loopback && settings.dds_base_url.scheme() == "http" {
            // Never speaks TLS, so it needs no certificates; reading those takes longer than registering.
            return self.loopback.get_or_try_init(loopback_client).cloned();
        }
        if loopback {
            return build_client(system_roots(), true);
        }
        self.network.get_or_try_init(|| build_client(system_roots(), false)).cloned()
    }

    /// Gives out the turns to register with the DDS of these settings.
    pub(crate) fn turns(&self, settings: &Settings) -> Arc<Semaphore> {
        let mut all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let dds = settings.dds_base_url.as_str();
        if let Some(turns) = all.get(dds).and_then(Weak::upgrade) {
            return turns;
        }
        all.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(MAX_REGISTERING));
        all.insert(dds.to_owned(), Arc::downgrade(&turns));
        turns
    }
}

/// For a DDS on this machine that does not speak TLS.
pub(crate) fn loopback_client() -> Result<Client> {
    build_client(RootCertStore::empty(), true)
}

fn build_client(roots: RootCertStore, loopback: bool) -> Result<Client> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(ErrorCode::Internal, format!("cannot set up the HTTP client: {error}"))
    };
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .dns_resolver(SystemResolver)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .user_agent(concat!("posemesh-node/", env!("CARGO_PKG_VERSION")));
    if loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| failed(&error))
}

/// The certificate authorities of the system (or of `SSL_CERT_FILE`), else those that come with the library.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map_or_else(|| "none found".into(), ToString::to_string);
        log!(Info, "dds", "using the bundled certificate authorities, for the system has none ({reason})");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn add_ca_file(roots: &mut RootCertStore, path: &Path) -> Result<()> {
    let failed = |what: &dyn std::fmt::Display| {
        Error::invalid_config(format!(
            "ca_file {}: {what}; expected a PEM file with at least one certificate",
            path.display()
        ))
    };
    let pem = std::fs::read(path).map_err(|error| failed(&error))?;
    let mut added = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| failed(&error))?;
        roots.add(certificate).map_err(|error| failed(&error))?;
        added += 1;
    }
    if added == 0 {
        return Err(failed(&"it holds no certificate"));
    }
    Ok(())
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
        assert_eq!(clients.turns.lock().expect("no panic").len(), 1, "what nobody waits for is forgotten");
    }
}
