//! The option table. A row is all there is to say about an option: from it come the table for other languages, the
//! fields of [`Config`] and of [`Values`], the text form, the environment variable, the typed setter and its
//! documentation.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::networks::Networks;
use super::node_url::{CallbackPath, NodeUrl};
use super::option::{ConfigOption, Invalid, OptionKind};
use super::state_url::StateUrl;
use super::values::{
    CallbackPolicy, Identity, SiweDomain, SiweFormat, check_capabilities, check_concurrency, check_interval,
    check_max_retry, check_path, check_period, parse_base_url, parse_bind, parse_boolean,
    parse_callback_policy, parse_capabilities, parse_concurrency, parse_credentials, parse_identity,
    parse_interval, parse_key, parse_max_retry, parse_path, parse_period, parse_secret, parse_siwe_domain,
    parse_siwe_format, parse_version,
};
use crate::credentials::Credentials;
use crate::crypto::SecretKey;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::sign_in::signer::HostSigner;

/// `field: Type, presence, secret { … }`, where the presence is `required`, `optional` or `default = "text"`.
///
/// `name` is given where the option is not named as its field, and `typed` where its setter takes something other
/// than text.
macro_rules! options {
    ($(
        $field:ident: $type:ty, $presence:ident $(= $default:literal)? $(, $secret:ident)? {
            $(name: $name:literal,)?
            env: $env:literal,
            kind: $kind:expr,
            parse: $parse:expr,
            $(typed: ($argument:ty) $convert:expr,)?
            expects: $expects:literal,
            help: $help:literal,
        }
    )*) => {
        /// Every option, in the order in which one needs them.
        pub static OPTIONS: &[ConfigOption] = &[$(ConfigOption {
            name: options!(@name $field $($name)?),
            env: $env,
            env_file: options!(@env_file $env $($secret)?),
            kind: $kind,
            default: options!(@literal $($default)?),
            required: options!(@is_required $presence),
            secret: options!(@is_secret $($secret)?),
            expects: $expects,
            help: $help,
        },)*];

        /// The options of a node to start. Setting one checks it at once; what depends on several is checked by
        /// [`Node::start`](crate::Node::start).
        ///
        /// ```
        /// # fn main() -> posemesh_node_registration::Result<()> {
        /// use posemesh_node_registration::Config;
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
            $(pub(super) $field: Option<$type>,)*
            /// From the environment, in place of `reg_secret` for a robot. A bad value is an error only for a robot.
            pub(super) robot_credentials: Option<Result<Credentials>>,
            /// Signs in place of a private key.
            pub(super) signer: Option<Arc<HostSigner>>,
            /// Written to the log when the node starts, because only then does a host receive the log.
            pub(super) warnings: Vec<String>,
        }

        /// The values of all options. One that must be set has a value, as has one with a default.
        #[derive(Debug)]
        pub(crate) struct Values {
            $(pub(crate) $field: options!(@type $presence $type),)*
        }

        impl Config {
            /// No option is set, not even to its default.
            pub(super) fn empty() -> Self {
                Self { $($field: None,)* signer: None, robot_credentials: None, warnings: Vec::new() }
            }

            /// Sets the option of this name from a text that is neither empty nor surrounded by space.
            pub(super) fn parse(&mut self, name: &str, text: &str) -> std::result::Result<(), Invalid> {
                $(if name == options!(@name $field $($name)?) {
                    self.$field = Some($parse(text)?);
                })*
                Ok(())
            }

            /// The names of the required options that are not set.
            pub(super) fn missing(&self) -> Vec<&'static str> {
                let mut missing = Vec::new();
                $(options!(@missing $presence missing, self.$field, options!(@name $field $($name)?));)*
                missing
            }

            /// All values. Panics if a required one is [missing](Self::missing).
            pub(super) fn values(&self) -> Values {
                Values { $($field: options!(@value $presence self.$field.clone()),)* }
            }
        }

        /// Sets options with types in place of text.
        ///
        /// No setter fails: the first bad value is reported by [`build`](ConfigBuilder::build).
        ///
        /// ```
        /// use std::time::Duration;
        /// use posemesh_node_registration::Config;
        /// use posemesh_node_registration::config::CallbackPolicy;
        ///
        /// # fn main() -> posemesh_node_registration::Result<()> {
        /// let config = Config::builder()
        ///     .node_version("1.0.0")
        ///     .capabilities(["/example/v1"])
        ///     .register_interval(Duration::from_secs(60))
        ///     .callback_policy(CallbackPolicy::Open)
        ///     .build()?;
        ///
        /// let error = Config::builder().node_version("latest").build().expect_err("not a version");
        /// assert!(error.message().starts_with("node_version"));
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Clone, Debug)]
        #[must_use = "a builder does nothing until it is built"]
        pub struct ConfigBuilder {
            pub(super) config: Config,
            /// The first one.
            pub(super) error: Option<Error>,
        }

        impl ConfigBuilder {
            $(options! { @setter $field options!(@name $field $($name)?), [$($argument, $convert)?]
                #[doc = $help]
                ///
                #[doc = concat!("The option `", options!(@name $field $($name)?), "`; environment variable `", $env, "`.")]
            })*
        }
    };

    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
    (@env_file $env:literal) => { None };
    (@env_file $env:literal secret) => { Some(concat!($env, "_FILE")) };
    (@literal) => { None };
    (@literal $literal:literal) => { Some($literal) };
    (@is_required required) => { true };
    (@is_required $presence:ident) => { false };
    (@is_secret) => { false };
    (@is_secret secret) => { true };
    (@missing required $missing:ident, $value:expr, $name:expr) => {
        if $value.is_none() {
            $missing.push($name);
        }
    };
    (@missing $presence:ident $missing:ident, $value:expr, $name:expr) => {};
    (@type optional $type:ty) => { Option<$type> };
    (@type $presence:ident $type:ty) => { $type };
    (@value optional $value:expr) => { $value };
    (@value $presence:ident $value:expr) => { $value.expect("it is required or has a default") };
    (@setter $field:ident $name:expr, [] $(#[$doc:meta])*) => {
        $(#[$doc])*
        pub fn $field(mut self, value: impl AsRef<str>) -> Self {
            self.set_text($name, value.as_ref());
            self
        }
    };
    (@setter $field:ident $name:expr, [$argument:ty, $convert:expr] $(#[$doc:meta])*) => {
        $(#[$doc])*
        pub fn $field(mut self, value: $argument) -> Self {
            self.set_value($name, |config| {
                config.$field = Some($convert(value)?);
                Ok(())
            });
            self
        }
    };
}

options! {
    dds_base_url: Url, default = "https://dds.auki.network" {
        env: "DDS_BASE_URL",
        kind: OptionKind::Text,
        parse: parse_base_url,
        expects: "an https URL without user info, query or fragment (http only to a loopback address, or with allow_insecure_http)",
        help: "The discovery service to register with.",
    }
    identity: Identity, default = "wallet" {
        env: "IDENTITY",
        kind: OptionKind::Choice(&["wallet", "robot"]),
        parse: parse_identity,
        typed: (Identity) Ok,
        expects: "wallet or robot",
        help: "How the node identifies itself to DDS: with a wallet, or as a robot, which has no key.",
    }
    reg_secret: Credentials, required, secret {
        env: "REG_SECRET",
        kind: OptionKind::Text,
        parse: parse_credentials,
        expects: "the registration credentials from the console, unchanged",
        help: "The registration credentials from the console; sent unchanged. A robot's are also read from ROBOT_REGISTRATION_CREDENTIALS.",
    }
    secp256k1_privhex: SecretKey, optional, secret {
        env: "SECP256K1_PRIVHEX",
        kind: OptionKind::Text,
        parse: parse_key,
        expects: "a secp256k1 private key as 64 hex digits, 0x optional",
        help: "The private key of the node's wallet; required unless secp256k1_keystore_file is set. A robot has none.",
    }
    secp256k1_keystore_file: PathBuf, optional {
        env: "SECP256K1_KEYSTORE_FILE",
        kind: OptionKind::Path,
        parse: parse_path,
        typed: (impl Into<PathBuf>) check_path,
        expects: "the path of a keystore (Web3 Secret Storage, version 3)",
        help: "An encrypted file with the private key, in place of secp256k1_privhex.",
    }
    secp256k1_keystore_password: Secret, optional, secret {
        env: "SECP256K1_KEYSTORE_PASSWORD",
        kind: OptionKind::Text,
        parse: parse_secret,
        expects: "the password of the keystore",
        help: "The password of secp256k1_keystore_file.",
    }
    capabilities: Vec<String>, required {
        env: "CAPABILITIES",
        kind: OptionKind::List,
        parse: parse_capabilities,
        typed: (impl IntoIterator<Item = impl Into<String>>) check_capabilities,
        expects: "at least one capability, comma-separated, none empty or with control characters",
        help: "What the node can do, such as /reconstruction/global-refinement/v1. A robot need not name any.",
    }
    node_version: String, required {
        env: "NODE_VERSION",
        kind: OptionKind::Text,
        parse: parse_version,
        expects: "a semantic version such as 1.2.3 or v1.2.3",
        help: "The version of the node's own software.",
    }
    max_concurrency: u32, optional {
        env: "MAX_CONCURRENCY",
        kind: OptionKind::Integer,
        parse: parse_concurrency,
        typed: (u32) check_concurrency,
        expects: "a whole number from 1 to 4294967295",
        help: "How many jobs the node takes at a time; not sent when not set.",
    }
    register_interval: Duration, default = "120" {
        name: "register_interval_secs",
        env: "REGISTER_INTERVAL_SECS",
        kind: OptionKind::Integer,
        parse: parse_interval,
        typed: (Duration) check_interval,
        expects: "a whole number of seconds from 1 to 4294967295; as text it may have a unit, such as 30s, 5m or 1h",
        help: "Seconds between attempts after a conflict, a lasting refusal, or max_retry failures.",
    }
    max_retry: i32, default = "-1" {
        env: "REGISTER_MAX_RETRY",
        kind: OptionKind::Integer,
        parse: parse_max_retry,
        typed: (i32) check_max_retry,
        expects: "a whole number from -1 to 2147483647; -1 = never give up",
        help: "Failures in a row after which the registrar pauses for one interval; -1 = never.",
    }
    request_timeout: Duration, default = "10" {
        name: "request_timeout_secs",
        env: "REQUEST_TIMEOUT_SECS",
        kind: OptionKind::Integer,
        parse: parse_interval,
        typed: (Duration) check_interval,
        expects: "a whole number of seconds from 1 to 4294967295; as text it may have a unit, such as 30s, 5m or 1h",
        help: "Seconds that one request to DDS may take, from connecting to the last byte.",
    }
    reregister_interval: Option<Duration>, default = "0" {
        name: "reregister_secs",
        env: "REREGISTER_SECS",
        kind: OptionKind::Integer,
        parse: parse_period,
        typed: (Duration) check_period,
        expects: "a whole number of seconds from 0 to 4294967295, 0 = off; as text it may have a unit, such as 30s, 5m or 1h",
        help: "Seconds after which a registered node registers again in the background, ±20 %; 0 = never.",
    }
    callback_bind: String, optional {
        env: "CALLBACK_BIND",
        kind: OptionKind::Text,
        parse: parse_bind,
        expects: "host:port, such as 127.0.0.1:8080 or [::1]:0, or :8080 for all interfaces (port 0 = any)",
        help: "The address that the callback server listens on; there is no server unless it is set.",
    }
    callback_policy: CallbackPolicy, default = "per_registration" {
        env: "CALLBACK_POLICY",
        kind: OptionKind::Choice(&["per_registration", "open"]),
        parse: parse_callback_policy,
        typed: (CallbackPolicy) Ok,
        expects: "per_registration or open",
        help: "Which secret wins among the callbacks that confirm a registration: the first one, or with open the last one.",
    }
    healthcheck_ttl: Option<Duration>, default = "0" {
        name: "healthcheck_ttl_secs",
        env: "HEALTHCHECK_TTL_SECS",
        kind: OptionKind::Integer,
        parse: parse_period,
        typed: (Duration) check_period,
        expects: "a whole number of seconds from 0 to 4294967295, 0 = off; as text it may have a unit, such as 30s, 5m or 1h",
        help: "Seconds without a health probe, after a first one, until the node registers again; 0 = never.",
    }
    callback_path: CallbackPath, default = "/" {
        env: "CALLBACK_PATH",
        kind: OptionKind::Text,
        parse: CallbackPath::parse,
        expects: "a path that starts with a slash, such as /node-1, without empty segments",
        help: "The path under which the callback server has its routes; never logged, so it may be a secret one.",
    }
    callback_allow: Networks, optional {
        env: "CALLBACK_ALLOW",
        kind: OptionKind::List,
        parse: Networks::parse,
        typed: (impl IntoIterator<Item = impl AsRef<str>>) Networks::check,
        expects: "addresses and networks (CIDR), comma-separated, such as 192.0.2.7,10.0.0.0/8,2001:db8::/32",
        help: "Who may call the callback server, by address; others get 403. Without it, everyone may.",
    }
    trusted_proxies: Networks, optional {
        env: "TRUSTED_PROXIES",
        kind: OptionKind::List,
        parse: Networks::parse,
        typed: (impl IntoIterator<Item = impl AsRef<str>>) Networks::check,
        expects: "addresses and networks (CIDR), comma-separated, such as 192.0.2.7,10.0.0.0/8,2001:db8::/32",
        help: "Proxies whose X-Forwarded-For says who calls the callback server, for callback_allow.",
    }
    callback_tls_cert: PathBuf, optional {
        env: "CALLBACK_TLS_CERT",
        kind: OptionKind::Path,
        parse: parse_path,
        typed: (impl Into<PathBuf>) check_path,
        expects: "the path of a PEM file with the certificate of the callback server",
        help: "The certificate of the callback server, with its chain; the server then speaks TLS. Read again when it changes.",
    }
    callback_tls_key: PathBuf, optional {
        env: "CALLBACK_TLS_KEY",
        kind: OptionKind::Path,
        parse: parse_path,
        typed: (impl Into<PathBuf>) check_path,
        expects: "the path of a PEM file with the unencrypted private key of callback_tls_cert",
        help: "The private key of callback_tls_cert. Read again when it changes.",
    }
    callback_tls_client_ca: PathBuf, optional {
        env: "CALLBACK_TLS_CLIENT_CA",
        kind: OptionKind::Path,
        parse: parse_path,
        typed: (impl Into<PathBuf>) check_path,
        expects: "the path of a PEM file with at least one certificate",
        help: "Certificate authorities, one of which must have issued the certificate of who calls the callback server.",
    }
    admin_bind: String, optional {
        env: "ADMIN_BIND",
        kind: OptionKind::Text,
        parse: parse_bind,
        expects: "host:port, such as 127.0.0.1:9090 or [::1]:0, or :9090 for all interfaces (port 0 = any)",
        help: "The address where this process serves /livez, /readyz and /metrics; there is no such server unless it is set.",
    }
    node_url: NodeUrl, optional {
        env: "NODE_URL",
        kind: OptionKind::Text,
        parse: NodeUrl::parse,
        expects: "an http or https URL without user info, query or fragment",
        help: "The URL at which DDS reaches this node's callback routes, for the legacy registration.",
    }
    siwe_domain: SiweDomain, optional {
        env: "SIWE_DOMAIN",
        kind: OptionKind::Text,
        parse: parse_siwe_domain,
        expects: "host or host:port, or the word any",
        help: "The domain the node agrees to sign in to; by default that of dds_base_url, any = no check.",
    }
    siwe_format: SiweFormat, default = "posemesh" {
        env: "SIWE_FORMAT",
        kind: OptionKind::Choice(&["posemesh", "eip4361"]),
        parse: parse_siwe_format,
        typed: (SiweFormat) Ok,
        expects: "posemesh or eip4361",
        help: "The form of the signed message: DDS's own, or strict EIP-4361.",
    }
    state_dir: PathBuf, optional {
        env: "STATE_DIR",
        kind: OptionKind::Path,
        parse: parse_path,
        typed: (impl Into<PathBuf>) check_path,
        expects: "the path of a directory for this node alone, on a disk of this machine; created if missing",
        help: "A directory for state that outlives the process and is shared by the processes of a node.",
    }
    state_url: StateUrl, optional, secret {
        env: "STATE_URL",
        kind: OptionKind::Text,
        parse: StateUrl::parse,
        expects: "redis://, rediss://, etcd+http:// or etcd+https://, then user:password@ if needed, host:port, and /database or /prefix",
        help: "A Redis, Valkey or etcd that makes replicas on several machines one node; not with state_dir.",
    }
    ca_file: PathBuf, optional {
        env: "CA_FILE",
        kind: OptionKind::Path,
        parse: parse_path,
        typed: (impl Into<PathBuf>) check_path,
        expects: "the path of a PEM file with at least one certificate",
        help: "Certificate authorities to trust in addition to the system's, such as a company proxy's.",
    }
    allow_insecure_http: bool, default = "false" {
        env: "ALLOW_INSECURE_HTTP",
        kind: OptionKind::Boolean,
        parse: parse_boolean,
        typed: (bool) Ok,
        expects: "true or false",
        help: "Allows http to a DDS on another machine; the credentials are then sent unencrypted.",
    }
}
