//! The private key of the node's wallet: given as text, or in an encrypted file.

use super::options::Values;
use crate::crypto::SecretKey;
use crate::error::{Error, Result};
use crate::file::read_regular;
use crate::keystore;

/// A larger file is not a keystore.
const MAX_KEYSTORE: u64 = 64 * 1024;

/// The private key, given or decrypted. `None` when neither it nor a keystore is set.
pub(super) fn wallet_key(values: &Values) -> Result<Option<SecretKey>> {
    let key = &values.secp256k1_privhex;
    let (path, password) = match (key, &values.secp256k1_keystore_file, &values.secp256k1_keystore_password) {
        (key, None, None) => return Ok(key.clone()),
        (None, Some(path), Some(password)) => (path, password),
        (None, Some(_), None) => {
            return Err(Error::invalid_config(
                "secp256k1_keystore_file is set without secp256k1_keystore_password; set both",
            ));
        }
        (None, None, Some(_)) => {
            return Err(Error::invalid_config(
                "secp256k1_keystore_password is set without secp256k1_keystore_file; set both",
            ));
        }
        (Some(_), _, _) => {
            return Err(Error::invalid_config(
                "secp256k1_privhex and a keystore are both set; set one of them",
            ));
        }
    };
    let failed = |what: &str| {
        Error::invalid_config(format!("secp256k1_keystore_file: the file {} {what}", path.display()))
    };
    let json = read_regular(path, MAX_KEYSTORE).map_err(|what| failed(&what))?;
    let json = std::str::from_utf8(&json).map_err(|_| failed("is not a keystore: it is not UTF-8"))?;
    keystore::decrypt(json, password.expose()).map(Some).map_err(|why| failed(&why))
}
