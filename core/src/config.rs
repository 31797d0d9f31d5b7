//! The options of a node: one table for every language, the documentation and the environment.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use crate::crypto::{SecretKey, load_secp256k1_privhex};
use crate::error::{Error, Result};
use crate::file::read_regular;
use crate::keystore;
use crate::secret::Secret;
use values::{parse_base_url, parse_bind, parse_integer, parse_seconds, parse_siwe_domain};

mod environment;
mod values;

/// One option of a node.
#[derive(Debug)]
pub struct ConfigOption {
    /// Its name, as [`Config::set`], C and Python know it.
    pub name: &'static str,
    /// The environment variable that [`Config::load_env`] reads.
    pub env: &'static str,
    /// For secrets: the environment variable that names a file to read the value from.
    pub env_file: Option<&'static str>,
    /// What its values are.
    pub kind: OptionKind,
    /// The value when it is not set.
    pub default: Option<&'static str>,
    /// Whether a node starts without it.
    pub required: bool,
    /// Whether its value must never be shown.
    pub secret: bool,
    /// What a value must look like; ends the sentence "expected …".
    pub expects: &'static str,
    /// One line of help.
    pub help: &'static str,
    apply: fn(&mut Config, &str) -> std::result::Result<(), Invalid>,
}

/// The type of an option's values, for languages that have more than text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionKind {
    /// Any text.
    Text,
    /// A path of the file system.
    Path,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A list of texts, comma-separated where it is one text.
    List,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// Every option, in the order in which one needs them.
pub static OPTIONS: &[ConfigOption] = &[
    ConfigOption {
        name: "dds_base_url",
        env: "DDS_BASE_URL",
        env_file: None,
        kind: OptionKind::Text,
        default: Some("https://dds.auki.network"),
        required: false,
        secret: false,
        expects: "an https URL without user info, query or fragment (http only to a loopback address, or with allow_insecure_http)",
        help: "The discovery service to register with.",
        apply: |config, value| {
            config.dds_base_url = Some(parse_base_url(value)?);
            Ok(())
        },
    },
    ConfigOption {
        name: "reg_secret",
        env: "REG_SECRET",
        env_file: Some("REG_SECRET_FILE"),
        kind: OptionKind::Text,
        default: None,
        required: true,
        secret: true,
        expects: "the registration credentials from the console, as they are",
        help: "The registration credentials from the console; passed through untouched.",
        apply: |config, value| {
            config.reg_secret = Some(Secret::new(value));
            Ok(())
        },
    },
    ConfigOption {
        name: "secp256k1_privhex",
        env: "SECP256K1_PRIVHEX",
        env_file: Some("SECP256K1_PRIVHEX_FILE"),
        kind: OptionKind::Text,
        default: None,
        required: false,
        secret: true,
        expects: "a secp256k1 private key as 64 hex digits, 0x optional",
        help: "The private key of the node's wallet; required unless secp256k1_keystore_file is set.",
        apply: |config, value| {
            let key = load_secp256k1_privhex(value).map_err(|error| Invalid::because(error.message()))?;
            config.key = Some(key);
            Ok(())
        },
    },
    ConfigOption {
        name: "secp256k1_keystore_file",
        env: "SECP256K1_KEYSTORE_FILE",
        env_file: None,
        kind: OptionKind::Path,
        default: None,
        required: false,
        secret: false,
        expects: "the path of a keystore (Web3 Secret Storage, version 3)",
        help: "An encrypted file with the private key, in place of secp256k1_privhex.",
        apply: |config, value| {
            config.keystore_file = Some(PathBuf::from(value));
            Ok(())
        },
    },
    ConfigOption {
        name: "secp256k1_keystore_password",
        env: "SECP256K1_KEYSTORE_PASSWORD",
        env_file: Some("SECP256K1_KEYSTORE_PASSWORD_FILE"),
        kind: OptionKind::Text,
        default: None,
        required: false,
        secret: true,
        expects: "the password of the keystore",
        help: "The password of secp256k1_keystore_file.",
        apply: |config, value| {
            config.keystore_password = Some(Secret::new(value));
            Ok(())
        },
    },
    ConfigOption {
        name: "capabilities",
        env: "CAPABILITIES",
        env_file: None,
        kind: OptionKind::List,
        default: None,
        required: true,
        secret: false,
        expects: "at least one capability, comma-separated, none empty or with control characters",
        help: "What the node can do, such as /reconstruction/global-refinement/v1.",
        apply: |config, value| {
            let capabilities: Vec<String> = value.split(',').map(|entry| entry.trim().to_owned()).collect();
            if capabilities.iter().any(String::is_empty) {
                return Err(Invalid::value("has an empty entry"));
            }
            if value.contains(char::is_control) {
                return Err(Invalid::value("has a control character"));
            }
            config.capabilities = Some(capabilities);
            Ok(())
        },
    },
    ConfigOption {
        name: "node_version",
        env: "NODE_VERSION",
        env_file: None,
        kind: OptionKind::Text,
        default: None,
        required: true,
        secret: false,
        expects: "a semantic version such as 1.2.3 or v1.2.3",
        help: "The version of the node's own software.",
        apply: |config, value| {
            let number = value.strip_prefix(['v', 'V']);
            semver::Version::parse(number.unwrap_or(value))
                .map_err(|error| Invalid::value(format!("is not a semantic version ({error})")))?;
            config.node_version =
                Some(number.map_or_else(|| value.to_owned(), |number| format!("v{number}")));
            Ok(())
        },
    },
    ConfigOption {
        name: "max_concurrency",
        env: "MAX_CONCURRENCY",
        env_file: None,
        kind: OptionKind::Integer,
        default: None,
        required: false,
        secret: false,
        expects: "a whole number from 1 to 4294967295",
        help: "How many jobs the node takes at a time; not sent when not set.",
        apply: |config, value| {
            config.max_concurrency = Some(parse_integer(value, 1, u32::MAX)?);
            Ok(())
        },
    },
    ConfigOption {
        name: "register_interval_secs",
        env: "REGISTER_INTERVAL_SECS",
        env_file: None,
        kind: OptionKind::Integer,
        default: Some("120"),
        required: false,
        secret: false,
        expects: "a whole number of seconds from 1 to 4294967295, or a time such as 30s, 5m or 1h",
        help: "Seconds between attempts after a conflict, a lasting refusal, or max_retry failures.",
        apply: |config, value| {
            config.register_interval = parse_seconds(value, 1)?;
            Ok(())
        },
    },
    ConfigOption {
        name: "max_retry",
        env: "REGISTER_MAX_RETRY",
        env_file: None,
        kind: OptionKind::Integer,
        default: Some("-1"),
        required: false,
        secret: false,
        expects: "a whole number from -1 to 2147483647; -1 = never give up",
        help: "Failures in a row after which the registrar pauses for one interval; -1 = never.",
        apply: |config, value| {
            config.max_retry = parse_integer(value, -1, i32::MAX)?;
            Ok(())
        },
    },
    ConfigOption {
        name: "request_timeout_secs",
        env: "REQUEST_TIMEOUT_SECS",
        env_file: None,
        kind: OptionKind::Integer,
        default: Some("10"),
        required: false,
        secret: false,
        expects: "a whole number of seconds from 1 to 4294967295, or a time such as 30s, 5m or 1h",
        help: "Seconds that one request to DDS may take, from connecting to the last byte.",
        apply: |config, value| {
            config.request_timeout = parse_seconds(value, 1)?;
            Ok(())
        },
    },
    ConfigOption {
        name: "callback_bind",
        env: "CALLBACK_BIND",
        env_file: None,
        kind: OptionKind::Text,
        default: None,
        required: false,
        secret: false,
        expects: "host:port, such as 127.0.0.1:8080 or [::1]:0, or :8080 for all interfaces (port 0 = any)",
        help: "Where the callback server listens; without it there is none.",
        apply: |config, value| {
            config.callback_bind = Some(parse_bind(value)?);
            Ok(())
        },
    },
    ConfigOption {
        name: "callback_policy",
        env: "CALLBACK_POLICY",
        env_file: None,
        kind: OptionKind::Choice(&["per_registration", "open"]),
        default: Some("per_registration"),
        required: false,
        secret: false,
        expects: "per_registration or open",
        help: "Which secret wins among the callbacks that confirm a registration: the first one, or with open the last one.",
        apply: |config, value| {
            config.callback_policy = match value {
                "per_registration" => CallbackPolicy::PerRegistration,
                "open" => CallbackPolicy::Open,
                _ => return Err(Invalid::unknown_word()),
            };
            Ok(())
        },
    },
    ConfigOption {
        name: "healthcheck_ttl_secs",
        env: "HEALTHCHECK_TTL_SECS",
        env_file: None,
        kind: OptionKind::Integer,
        default: Some("0"),
        required: false,
        secret: false,
        expects: "a whole number of seconds from 0 to 4294967295, or a time such as 30s, 5m or 1h; 0 = off",
        help: "Seconds without a health probe, after a first one, until the node registers again; 0 = never.",
        apply: |config, value| {
            config.healthcheck_ttl = Some(parse_seconds(value, 0)?).filter(|ttl| !ttl.is_zero());
            Ok(())
        },
    },
    ConfigOption {
        name: "siwe_domain",
        env: "SIWE_DOMAIN",
        env_file: None,
        kind: OptionKind::Text,
        default: None,
        required: false,
        secret: false,
        expects: "host or host:port, or the word any",
        help: "The domain the node agrees to sign in to; by default that of dds_base_url, any = no check.",
        apply: |config, value| {
            config.siwe_domain = parse_siwe_domain(value)?;
            Ok(())
        },
    },
    ConfigOption {
        name: "siwe_format",
        env: "SIWE_FORMAT",
        env_file: None,
        kind: OptionKind::Choice(&["posemesh", "eip4361"]),
        default: Some("posemesh"),
        required: false,
        secret: false,
        expects: "posemesh or eip4361",
        help: "The form of the signed message: DDS's own, or strict EIP-4361.",
        apply: |config, value| {
            config.siwe_format = match value {
                "posemesh" => SiweFormat::Posemesh,
                "eip4361" => SiweFormat::Eip4361,
                _ => return Err(Invalid::unknown_word()),
            };
            Ok(())
        },
    },
    ConfigOption {
        name: "state_dir",
        env: "STATE_DIR",
        env_file: None,
        kind: OptionKind::Path,
        default: None,
        required: false,
        secret: false,
        expects: "the path of a directory for this node alone, on a disk of this machine; made if missing",
        help: "A directory for state that outlives the process and is shared by the processes of a node.",
        apply: |config, value| {
            config.state_dir = Some(PathBuf::from(value));
            Ok(())
        },
    },
    ConfigOption {
        name: "ca_file",
        env: "CA_FILE",
        env_file: None,
        kind: OptionKind::Path,
        default: None,
        required: false,
        secret: false,
        expects: "the path of a PEM file with at least one certificate",
        help: "Certificate authorities to trust beside the system's, such as a company proxy's.",
        apply: |config, value| {
            config.ca_file = Some(PathBuf::from(value));
            Ok(())
        },
    },
    ConfigOption {
        name: "allow_insecure_http",
        env: "ALLOW_INSECURE_HTTP",
        env_file: None,
        kind: OptionKind::Boolean,
        default: Some("false"),
        required: false,
        secret: false,
        expects: "true or false",
        help: "Allows http to a DDS that is not on this machine: credentials then travel in the open.",
        apply: |config, value| {
            config.allow_insecure_http = match value {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(Invalid::unknown_word()),
            };
            Ok(())
        },
    },
];

/// A larger file is no keystore.
const MAX_KEYSTORE: u64 = 64 * 1024;

/// Which secrets the callback server accepts.
///
/// Under both policies a callback confirms a registration only from the moment that its signed challenge is handed
/// in until DDS refuses it. At any other time the callback is answered with 409 and changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallbackPolicy {
    /// The first secret of a registration wins; a different one is refused with 403 until the node is re-armed.
    #[default]
    PerRegistration,
    /// The last secret wins.
    Open,
}

/// The form of the message that is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SiweFormat {
    #[default]
    Posemesh,
    Eip4361,
}

/// The domain that the node agrees to sign in to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum SiweDomain {
    #[default]
    OfDds,
    Named(String),
    Any,
}

/// The options of a node to start. Setting one checks it at once; what depends on several is checked by
/// [`Node::start`](crate::node::Node::start).
///
/// ```
/// # fn main() -> posemesh_node_registration::error::Result<()> {
/// use posemesh_node_registration::config::Config;
///
/// let mut config = Config::new();
/// config.set("node_version", "1.0.0")?.set("capabilities", "/example/v1,/example/v2")?;
/// let error = config.set("max_retry", "many").expect_err("not a number");
/// assert!(error.message().starts_with("max_retry"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    dds_base_url: Option<Url>,
    reg_secret: Option<Secret>,
    key: Option<SecretKey>,
    keystore_file: Option<PathBuf>,
    keystore_password: Option<Secret>,
    capabilities: Option<Vec<String>>,
    node_version: Option<String>,
    max_concurrency: Option<u32>,
    register_interval: Duration,
    max_retry: i32,
    request_timeout: Duration,
    callback_bind: Option<String>,
    callback_policy: CallbackPolicy,
    healthcheck_ttl: Option<Duration>,
    siwe_domain: SiweDomain,
    siwe_format: SiweFormat,
    state_dir: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    allow_insecure_http: bool,
    /// What the log is to say when the node starts: before that, no host hears it.
    warnings: Vec<String>,
}

/// A checked configuration: everything a node needs.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) dds_base_url: Url,
    pub(crate) reg_secret: Secret,
    pub(crate) key: SecretKey,
    pub(crate) capabilities: Vec<String>,
    pub(crate) node_version: String,
    pub(crate) max_concurrency: Option<u32>,
    pub(crate) register_interval: Duration,
    pub(crate) max_retry: i32,
    pub(crate) request_timeout: Duration,
    pub(crate) callback_bind: Option<String>,
    pub(crate) callback_policy: CallbackPolicy,
    /// None is off.
    pub(crate) healthcheck_ttl: Option<Duration>,
    pub(crate) siwe_domain: SiweDomain,
    pub(crate) siwe_format: SiweFormat,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// All options at their defaults.
    pub fn new() -> Self {
        let mut config = Self {
            dds_base_url: None,
            reg_secret: None,
            key: None,
            keystore_file: None,
            keystore_password: None,
            capabilities: None,
            node_version: None,
            max_concurrency: None,
            register_interval: Duration::ZERO,
            max_retry: 0,
            request_timeout: Duration::ZERO,
            callback_bind: None,
            callback_policy: CallbackPolicy::default(),
            healthcheck_ttl: None,
            siwe_domain: SiweDomain::default(),
            siwe_format: SiweFormat::default(),
            state_dir: None,
            ca_file: None,
            allow_insecure_http: false,
            warnings: Vec::new(),
        };
        for option in OPTIONS {
            if let Some(default) = option.default {
                (option.apply)(&mut config, default).expect("the defaults in the table are valid");
            }
        }
        config
    }

    /// Checks the options as a start does before it uses the network, and returns the wallet address that a node
    /// with them has.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfig`](crate::error::ErrorCode::InvalidConfig).
    pub fn check(&self) -> Result<String> {
        Ok(crate::crypto::derive_eth_address(&self.settings()?.key))
    }

    /// Sets one option from its text form. On an error nothing has changed.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfig`](crate::error::ErrorCode::InvalidConfig), naming the option and what it
    /// expects, and never a secret's value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<&mut Self> {
        self.set_bytes(name, value.as_bytes())
    }

    /// As [`set`](Config::set), for a value that may not be UTF-8; then it is refused as any other bad value.
    ///
    /// # Errors
    /// Those of [`set`](Config::set).
    pub fn set_bytes(&mut self, name: &str, value: &[u8]) -> Result<&mut Self> {
        let option = OPTIONS.iter().find(|option| option.name == name).ok_or_else(|| unknown_option(name))?;
        self.apply(option, option.name, value)?;
        Ok(self)
    }

    /// `shown_as` is the name under which the user gave the value.
    fn apply(&mut self, option: &ConfigOption, shown_as: &str, value: &[u8]) -> Result<()> {
        let value = std::str::from_utf8(value)
            .map_err(|_| option.error(shown_as, &Invalid::value("is not UTF-8"), ""))?;
        let checked = if value.trim().is_empty() {
            Err(Invalid::value("is empty"))
        } else if value.contains('\0') {
            Err(Invalid::value("has a NUL character"))
        } else {
            (option.apply)(self, value)
        };
        checked.map_err(|invalid| option.error(shown_as, &invalid, value))
    }

    /// What the log is to say when a node starts with this configuration.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Checks what depends on several options, and gives out the whole.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let (Some(dds_base_url), Some(reg_secret), Some(key), Some(capabilities), Some(node_version)) = (
            self.dds_base_url.clone(),
            self.reg_secret.clone(),
            self.wallet_key()?,
            self.capabilities.clone(),
            self.node_version.clone(),
        ) else {
            return Err(self.missing());
        };
        if dds_base_url.scheme() == "http" && !is_loopback(&dds_base_url) && !self.allow_insecure_http {
            return Err(Error::invalid_config(format!(
                "dds_base_url {dds_base_url} would send the credentials unencrypted to another machine; use \
                 https, or set allow_insecure_http to true"
            )));
        }
        Ok(Settings {
            dds_base_url,
            reg_secret,
            key,
            capabilities,
            node_version,
            max_concurrency: self.max_concurrency,
            register_interval: self.register_interval,
            max_retry: self.max_retry,
            request_timeout: self.request_timeout,
            callback_bind: self.callback_bind.clone(),
            callback_policy: self.callback_policy,
            healthcheck_ttl: self.healthcheck_ttl,
            siwe_domain: self.siwe_domain.clone(),
            siwe_format: self.siwe_format,
            state_dir: self.state_dir.clone(),
            ca_file: self.ca_file.clone(),
        })
    }

    /// The private key, given or decrypted. `None` when neither it nor a keystore is set.
    fn wallet_key(&self) -> Result<Option<SecretKey>> {
        let (path, password) = match (&self.key, &self.keystore_file, &self.keystore_password) {
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

    /// Every required option that is not set.
    fn missing(&self) -> Error {
        let set = [
            ("reg_secret", self.reg_secret.is_some()),
            ("secp256k1_privhex", self.key.is_some() || self.keystore_file.is_some()),
            ("capabilities", self.capabilities.is_some()),
            ("node_version", self.node_version.is_some()),
        ];
        let described = |option: &ConfigOption| {
            let name = option.name;
            let keystore = if name == "secp256k1_privhex" { " or secp256k1_keystore_file" } else { "" };
            match option.env_file {
                Some(file) => format!("{name}{keystore} ({} or {file})", option.env),
                None => format!("{name} ({})", option.env),
            }
        };
        let missing: Vec<String> =
            OPTIONS.iter().filter(|option| set.contains(&(option.name, false))).map(described).collect();
        Error::invalid_config(format!("missing required options: {}", missing.join(", ")))
    }
}

/// Why a value does not fit. Never holds the value of a secret.
struct Invalid {
    what: String,
    /// Whether `what` is a whole sentence that already says what is expected.
    complete: bool,
}

impl Invalid {
    fn value(what: impl Into<String>) -> Self {
        Self { what: what.into(), complete: false }
    }

    fn because(sentence: &str) -> Self {
        Self { what: sentence.to_owned(), complete: true }
    }

    fn unknown_word() -> Self {
        Self::value("is not one of its words")
    }
}

impl fmt::Debug for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl ConfigOption {
    fn error(&self, shown_as: &str, invalid: &Invalid, value: &str) -> Error {
        if invalid.complete {
            return Error::invalid_config(format!("{shown_as}: {}", invalid.what));
        }
        // A URL may hold a password.
        let hidden = self.secret || value.is_empty() || value.contains('@');
        let shown: String = if hidden { String::new() } else { format!(" {:?}", cut(value)) };
        Error::invalid_config(format!("{shown_as}{shown} {}; expected {}", invalid.what, self.expects))
    }
}

fn cut(value: &str) -> String {
    value.chars().take(80).collect()
}

fn unknown_option(name: &str) -> Error {
    let known: Vec<_> = OPTIONS.iter().map(|option| option.name).collect();
    Error::invalid_config(format!("unknown option {:?}; the options are {}", cut(name), known.join(", ")))
}

/// Whether a URL leads to this machine and nowhere else.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
