//! Certificates in a PEM file that a user names in an option.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::file::read_regular;
use crate::foreign::foreign;

/// Bundles of all authorities have about a quarter of a megabyte.
pub(crate) const MAX_PEM_FILE: u64 = 8 * 1024 * 1024;

/// Reads at least one certificate. The error continues a sentence that begins with the file's name.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read_regular(path, MAX_PEM_FILE)?;
    let certificates =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(foreign)?;
    if certificates.is_empty() { Err("it contains no certificate".into()) } else { Ok(certificates) }
}
