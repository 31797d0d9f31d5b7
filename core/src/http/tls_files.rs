//! The files of a node's own server with TLS: its certificate, its private key, and who may connect.

use std::fmt::Display;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use crate::certificates::{MAX_PEM_FILE, read_certificates};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::file::read_regular;
use crate::foreign::foreign;

const CERT: (&str, &str) = (
    "callback_tls_cert",
    "a PEM file with the server's certificate, followed by those between it and its authority",
);
const KEY: (&str, &str) =
    ("callback_tls_key", "a PEM file with the unencrypted private key of callback_tls_cert");
const CLIENT_CA: (&str, &str) = ("callback_tls_client_ca", "a PEM file with at least one certificate");

/// Names one option and its file in errors.
type Named = (&'static str, &'static str);

/// Where the files are.
pub(super) struct TlsFiles {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

impl TlsFiles {
    /// None for a server without TLS.
    pub(super) fn of(settings: &Settings) -> Option<Self> {
        settings.callback_bind.as_ref()?;
        Some(Self {
            cert: settings.callback_tls_cert.clone()?,
            key: settings.callback_tls_key.clone()?,
            client_ca: settings.callback_tls_client_ca.clone(),
        })
    }

    /// Reads the files.
    pub(super) fn load(&self) -> Result<Arc<ServerConfig>> {
        let provider = Arc::new(default_provider());
        let certified = CertifiedKey::new(
            read_certificates(&self.cert).map_err(|why| failed(CERT, &self.cert, &why))?,
            read_key(&self.key).map_err(|why| failed(KEY, &self.key, &why))?,
        );
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                let why = format!("is not the key of the certificate in {}", self.cert.display());
                return Err(failed(KEY, &self.key, &why));
            }
            Err(error) => return Err(failed(CERT, &self.cert, &foreign(&error))),
        }
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default versions");
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = read_authorities(path).map_err(|why| failed(CLIENT_CA, path, &why))?;
                builder.with_client_cert_verifier(verifier(roots, &provider))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Differs from an earlier one if a file was changed or replaced. Follows symbolic links.
    pub(super) fn version(&self) -> Version {
        let paths = [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()];
        Version(paths.map(|path| path?.metadata().ok().map(|file| FileVersion::of(&file))))
    }
}

/// What [`TlsFiles::version`] compares. A file that cannot be looked at has none.
#[derive(PartialEq)]
pub(super) struct Version([Option<FileVersion>; 3]);

#[derive(PartialEq)]
struct FileVersion {
    length: u64,
    modified: Option<std::time::SystemTime>,
    /// The device, the file's number there, and when its content or its permissions changed.
    #[cfg(unix)]
    unix: (u64, u64, i64, i64),
}

impl FileVersion {
    fn of(file: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Self {
            length: file.len(),
            modified: file.modified().ok(),
            #[cfg(unix)]
            unix: (file.dev(), file.ino(), file.ctime(), file.ctime_nsec()),
        }
    }
}

fn read_key(path: &Path) -> std::result::Result<Arc<dyn SigningKey>, String> {
    let pem = read_regular(path, MAX_PEM_FILE)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            "it contains no private key that is not encrypted".into()
        }
        error => foreign(error),
    })?;
    // rustls keeps what it makes of it.
    let key = Zeroizing::new(key);
    any_supported_type(&key).map_err(foreign)
}

fn read_authorities(path: &Path) -> std::result::Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(foreign)?;
    }
    Ok(roots)
}

fn verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Arc<dyn rustls::server::danger::ClientCertVerifier> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .expect("there are authorities, and no revocation lists")
}

fn failed((option, expected): Named, path: &Path, why: &dyn Display) -> Error {
    Error::invalid_config(format!("{option} {}: {why}; expected {expected}", path.display()))
}
