//! A checked configuration: what depends on several options.

use std::ops::Deref;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::environment::ROBOT_CREDENTIALS;
use super::key::wallet_key;
use super::node_url::NodeUrl;
use super::option::ConfigOption;
use super::options::{Config, OPTIONS, Values};
use super::values::{Identity, is_loopback};
use crate::error::{Error, Result};
use crate::sign_in::signer::Signer;

/// How messages name the signer, which is not an option.
const SIGNER: &str = "a signer";

/// Everything that a node needs: the value of every option, and what several of them make together.
#[derive(Debug)]
pub(crate) struct Settings {
    values: Values,
    /// What signs for the node's wallet. None for a robot.
    pub(crate) signer: Option<Signer>,
}

impl Deref for Settings {
    type Target = Values;

    fn deref(&self) -> &Values {
        &self.values
    }
}

impl Settings {
    /// The parts of the node's URL and of the callback server's path that must not be shown when DDS repeats them.
    pub(crate) fn path_secrets(&self) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
        self.node_url.iter().flat_map(NodeUrl::secrets).chain(self.callback_path.secrets())
    }

    /// Options that are set and have no effect, each with the one that is missing.
    pub(crate) fn ineffective(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let without_server = self.callback_bind.is_none();
        let allow = self.callback_allow.as_ref().filter(|_| without_server);
        let tls = self.callback_tls_cert.as_ref().filter(|_| without_server);
        let proxies = self.trusted_proxies.as_ref().filter(|_| self.callback_allow.is_none());
        let path = Some(&self.callback_path).filter(|path| without_server && !path.as_str().is_empty());
        let path = path.map(|_| ("callback_path", "callback_bind"));
        let allow = allow.map(|_| ("callback_allow", "callback_bind"));
        let tls = tls.map(|_| ("callback_tls_cert", "callback_bind"));
        path.into_iter().chain(allow).chain(tls).chain(proxies.map(|_| ("trusted_proxies", "callback_allow")))
    }
}

impl Config {
    /// Checks the options as a start does before it uses the network, and returns the address of the node's wallet.
    /// `None` for a robot, which has no wallet.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfig`](crate::ErrorCode::InvalidConfig).
    pub fn check(&self) -> Result<Option<String>> {
        Ok(self.settings()?.signer.as_ref().map(Signer::address_text))
    }

    /// Written to the log when a node starts with this configuration.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Checks what depends on several options.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let robot = self.identity == Some(Identity::Robot);
        let mut config = self.clone();
        let key_options = self.key_options();
        if robot {
            if let Some(option) = key_options.first() {
                return Err(Error::invalid_config(format!(
                    "{option} is set although identity is robot, and a robot has no key; unset it, or set identity to \
                     wallet"
                )));
            }
            config.use_robot_defaults()?;
        }
        if self.signer.is_some()
            && let Some(option) = key_options.iter().find(|option| **option != SIGNER)
        {
            return Err(Error::invalid_config(format!(
                "{option} and a signer are both set; set one of them"
            )));
        }
        let mut missing = config.missing();
        if key_options.is_empty() && !robot {
            missing.push("secp256k1_privhex");
        }
        if !missing.is_empty() {
            return Err(missing_options(&missing, robot));
        }
        let mut values = config.values();
        if values.state_dir.is_some() && values.state_url.is_some() {
            return Err(Error::invalid_config(
                "state_dir and state_url are both set; set state_dir if all processes of this node run on one machine, and \
                 state_url otherwise",
            ));
        }
        if let Some(address) = &values.admin_bind
            && Some(address) == values.callback_bind.as_ref()
            && !address.ends_with(":0")
        {
            return Err(Error::invalid_config(format!(
                "admin_bind and callback_bind are both {address}; set admin_bind to another port, which DDS cannot reach"
            )));
        }
        let url = &values.dds_base_url;
        if url.scheme() == "http" && !is_loopback(url) && !values.allow_insecure_http {
            return Err(Error::invalid_config(format!(
                "dds_base_url {url} would send the credentials unencrypted to another machine; use https, or set \
                 allow_insecure_http to true"
            )));
        }
        if values.node_url.is_some() {
            self.check_node_url()?;
        }
        self.check_tls()?;
        let signer = match (values.identity, &self.signer) {
            (Identity::Robot, _) => None,
            (Identity::Wallet, Some(signer)) => Some(Signer::Host(Arc::clone(signer))),
            (Identity::Wallet, None) => Some(Signer::Key(wallet_key(&values)?.expect("it is not missing"))),
        };
        // Secrets that are not needed any more.
        values.secp256k1_privhex = None;
        values.secp256k1_keystore_password = None;
        Ok(Settings { values, signer })
    }

    /// The legacy registration is signed with a key.
    fn check_node_url(&self) -> Result<()> {
        let problem = if self.identity == Some(Identity::Robot) {
            "although identity is robot, and a robot does not register a URL; unset it, or set identity to wallet"
        } else if self.signer.is_some() {
            "although the node has a signer, and a registration with a URL needs the private key itself; unset it, or \
             set secp256k1_privhex in place of the signer"
        } else {
            return Ok(());
        };
        Err(Error::invalid_config(format!("node_url is set {problem}")))
    }

    /// A certificate is of no use without its key.
    fn check_tls(&self) -> Result<()> {
        let (cert, key) = (self.callback_tls_cert.is_some(), self.callback_tls_key.is_some());
        let (set, missing) = match self.callback_tls_client_ca {
            _ if cert != key && cert => ("callback_tls_cert", "callback_tls_key"),
            _ if cert != key => ("callback_tls_key", "callback_tls_cert"),
            Some(_) if !cert => ("callback_tls_client_ca", "callback_tls_cert and callback_tls_key"),
            _ => return Ok(()),
        };
        Err(Error::invalid_config(format!("{set} is set without {missing}; set both")))
    }

    /// What is set of a wallet's options.
    fn key_options(&self) -> Vec<&'static str> {
        let set = [
            ("secp256k1_privhex", self.secp256k1_privhex.is_some()),
            ("secp256k1_keystore_file", self.secp256k1_keystore_file.is_some()),
            ("secp256k1_keystore_password", self.secp256k1_keystore_password.is_some()),
            (SIGNER, self.signer.is_some()),
        ];
        set.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect()
    }

    /// A robot may have credentials of its own in the environment, and DDS does not ask it for capabilities.
    fn use_robot_defaults(&mut self) -> Result<()> {
        if let Some(credentials) = self.robot_credentials.take() {
            self.reg_secret = Some(credentials?);
        }
        self.capabilities.get_or_insert_default();
        Ok(())
    }
}

/// Names every required option that is not set, in the order of the table.
fn missing_options(missing: &[&str], robot: bool) -> Error {
    let missing = OPTIONS.iter().filter(|option| missing.contains(&option.name));
    let missing: Vec<_> = missing.map(|option| described(option, robot)).collect();
    Error::invalid_config(format!("missing required options: {}", missing.join("; ")))
}

fn described(option: &ConfigOption, robot: bool) -> String {
    let variables = match option.env_file {
        Some(_) if robot && option.name == "reg_secret" => {
            format!("{} ({ROBOT_CREDENTIALS} or {ROBOT_CREDENTIALS}_FILE)", option.name)
        }
        Some(file) => format!("{} ({} or {file})", option.name, option.env),
        None => format!("{} ({})", option.name, option.env),
    };
    if option.name == "secp256k1_privhex" {
        format!(
            "{variables} or secp256k1_keystore_file (SECP256K1_KEYSTORE_FILE) or a signer, unless the node is a robot"
        )
    } else {
        variables
    }
}
