//! A checked configuration: what depends on several options.

use std::ops::Deref;

use super::key::wallet_key;
use super::option::ConfigOption;
use super::options::{Config, OPTIONS, Values};
use super::values::is_loopback;
use crate::crypto::{SecretKey, derive_eth_address};
use crate::error::{Error, Result};

/// Everything that a node needs: the value of every option, and what several of them make together.
#[derive(Debug)]
pub(crate) struct Settings {
    values: Values,
    pub(crate) key: SecretKey,
}

impl Deref for Settings {
    type Target = Values;

    fn deref(&self) -> &Values {
        &self.values
    }
}

impl Config {
    /// Checks the options as a start does before it uses the network, and returns the wallet address that a node
    /// with them has.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfig`](crate::ErrorCode::InvalidConfig).
    pub fn check(&self) -> Result<String> {
        Ok(derive_eth_address(&self.settings()?.key))
    }

    /// Written to the log when a node starts with this configuration.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Checks what depends on several options.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let mut missing = self.missing();
        if self.secp256k1_privhex.is_none()
            && self.secp256k1_keystore_file.is_none()
            && self.secp256k1_keystore_password.is_none()
        {
            missing.push("secp256k1_privhex");
        }
        if !missing.is_empty() {
            return Err(missing_options(&missing));
        }
        let mut values = self.values();
        let url = &values.dds_base_url;
        if url.scheme() == "http" && !is_loopback(url) && !values.allow_insecure_http {
            return Err(Error::invalid_config(format!(
                "dds_base_url {url} would send the credentials unencrypted to another machine; use https, or set \
                 allow_insecure_http to true"
            )));
        }
        let key = wallet_key(&values)?.expect("it is not missing");
        // Secrets that are not needed any more.
        values.secp256k1_privhex = None;
        values.secp256k1_keystore_password = None;
        Ok(Settings { values, key })
    }
}

/// Names every required option that is not set, in the order of the table.
fn missing_options(missing: &[&str]) -> Error {
    let missing: Vec<_> =
        OPTIONS.iter().filter(|option| missing.contains(&option.name)).map(described).collect();
    Error::invalid_config(format!("missing required options: {}", missing.join(", ")))
}

fn described(option: &ConfigOption) -> String {
    let variables = match option.env_file {
        Some(file) => format!("{} ({} or {file})", option.name, option.env),
        None => format!("{} ({})", option.name, option.env),
    };
    if option.name == "secp256k1_privhex" {
        format!("{variables} or secp256k1_keystore_file (SECP256K1_KEYSTORE_FILE)")
    } else {
        variables
    }
}
