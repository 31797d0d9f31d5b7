//! The legacy registration: a node with a wallet registers its URL, and DDS calls it back there. It needs no challenge:
//! the signature is over the URL and the time.

use chrono::{DateTime, Utc};

use crate::config::NodeUrl;
use crate::credentials::Credentials;
use crate::crypto::{
    SecretKey, format_timestamp_nanos, secp256k1_pubkey_uncompressed_hex, sign_recoverable_keccak_hex,
};
use crate::dds::{Dds, Failure, UrlRegistration};

/// Registers the URL. The timestamp is by DDS's clock.
pub(super) async fn register_url(
    dds: &Dds<'_>,
    url: &NodeUrl,
    key: &SecretKey,
    credentials: &Credentials,
    version: &str,
    capabilities: &[String],
) -> Result<(), Failure> {
    let timestamp = format_timestamp_nanos(DateTime::<Utc>::from(dds.clock.now()));
    let signed = format!("{}{timestamp}", url.as_str());
    let registration = UrlRegistration {
        url: url.as_str(),
        version,
        registration_credentials: credentials.expose(),
        signature: sign_recoverable_keccak_hex(key, signed.as_bytes()),
        timestamp,
        public_key: secp256k1_pubkey_uncompressed_hex(key),
        capabilities,
    };
    dds.register_url(&registration).await
}
