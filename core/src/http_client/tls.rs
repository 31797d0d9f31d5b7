//! TLS with ring, whose provider is passed explicitly and never becomes the process's default.

#[cfg(feature = "state-url")]
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

#[cfg(feature = "state-url")]
use super::roots::{add_ca_file, system_roots};
use crate::error::{Error, ErrorCode, Result};
use crate::foreign::foreign_error;

/// Trusts these authorities.
pub(super) fn tls_config(roots: RootCertStore) -> Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            Error::new(ErrorCode::Internal, format!("cannot set up TLS: {}", foreign_error(&error)))
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// For a server other than DDS. Reads the authorities of the system or the environment, and those of the option
/// `ca_file`.
#[cfg(feature = "state-url")]
pub(crate) fn tls_of_system(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>> {
    let mut roots = system_roots();
    if let Some(path) = ca_file {
        add_ca_file(&mut roots, path)?;
    }
    tls_config(roots)
}
