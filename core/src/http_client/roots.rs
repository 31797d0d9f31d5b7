//! The trusted certificate authorities: those of the system or of the environment, and `ca_file`.
//!
//! Only regular files that are not too large are read, because a path may name a pipe or a device, and `start` must not
//! wait for one.

use std::env;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::certificates::{MAX_PEM_FILE, read_certificates};
use crate::error::{Error, Result};
use crate::file::read_regular;
use crate::foreign::foreign;
use crate::log::log;

/// The authorities of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR` if one of them is set. If there are none,
/// the authorities that are part of the library.
pub(super) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = Found::in_environment().unwrap_or_else(Found::in_system);
    roots.add_parsable_certificates(found.certificates);
    if roots.is_empty() {
        let reason = found.first_fault.unwrap_or_else(|| "none found".into());
        log!(Info, "dds", "using the bundled certificate authorities because the system has none ({reason})");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

#[derive(Default)]
struct Found {
    certificates: Vec<CertificateDer<'static>>,
    first_fault: Option<String>,
}

impl Found {
    fn in_system() -> Self {
        let found = rustls_native_certs::load_native_certs();
        Self { certificates: found.certs, first_fault: found.errors.first().map(foreign) }
    }

    /// `None` if neither variable is set.
    fn in_environment() -> Option<Self> {
        let file = env::var_os("SSL_CERT_FILE");
        let mut directories: Vec<_> =
            env::split_paths(&env::var_os("SSL_CERT_DIR").unwrap_or_default()).collect();
        directories.retain(|path| !path.as_os_str().is_empty());
        if file.is_none() && directories.is_empty() {
            return None;
        }
        let mut found = Self::default();
        file.into_iter().for_each(|path| found.read_file(path.as_ref()));
        directories.iter().for_each(|path| found.read_directory(path));
        // A directory of certificates also has symbolic links to them, and often a bundle of all of them.
        found.certificates.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
        found.certificates.dedup();
        Some(found)
    }

    fn read_file(&mut self, path: &Path) {
        let pem = match read_regular(path, MAX_PEM_FILE) {
            Ok(pem) => pem,
            Err(why) => return self.note(path, &why),
        };
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            match certificate {
                Ok(certificate) => self.certificates.push(certificate),
                Err(error) => self.note(path, &error),
            }
        }
    }

    /// Reads its files, but not those of its subdirectories.
    fn read_directory(&mut self, path: &Path) {
        match path.read_dir() {
            Ok(entries) => {
                entries.filter_map(|entry| entry.ok()).for_each(|entry| self.read_file(&entry.path()))
            }
            Err(error) => self.note(path, &format_args!("cannot be read: {error}")),
        }
    }

    fn note(&mut self, path: &Path, why: &dyn std::fmt::Display) {
        self.first_fault.get_or_insert_with(|| foreign(format_args!("{}: {why}", path.display())));
    }
}

/// Adds the certificates of the option `ca_file`.
pub(super) fn add_ca_file(roots: &mut RootCertStore, path: &Path) -> Result<()> {
    let failed = |what: &dyn std::fmt::Display| {
        Error::invalid_config(format!(
            "ca_file {}: {}; expected a PEM file with at least one certificate",
            path.display(),
            foreign(what)
        ))
    };
    for certificate in read_certificates(path).map_err(|why| failed(&why))? {
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    Ok(())
}
