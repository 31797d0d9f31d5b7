//! The options of a node: one table for every language, the documentation and the environment.
//!
//! [`OPTIONS`] lists them. A [`Config`] holds their values. It is filled from text with [`Config::set`], from the
//! environment with [`Config::load_env`], or with the typed setters of a [`ConfigBuilder`]:
//!
//! ```
//! use std::time::Duration;
//! use posemesh_node_registration::Config;
//!
//! # fn main() -> posemesh_node_registration::Result<()> {
//! # let key = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90";
//! let config = Config::builder()
//!     .reg_secret("the credentials from the console")
//!     .secp256k1_privhex(key)
//!     .node_version("1.0.0")
//!     .capabilities(["/example/v1", "/example/v2"])
//!     .request_timeout(Duration::from_secs(30))
//!     .build()?;
//! assert_eq!(config.check()?.as_deref(), Some("0xfdbb6caf01414300c16ea14859fec7736d95355f"));
//! # Ok(())
//! # }
//! ```

mod builder;
mod environment;
mod key;
mod networks;
mod node_url;
mod option;
mod options;
mod set;
mod settings;
mod signer;
mod state_url;
mod suggestion;
mod values;

pub(crate) use networks::Networks;
pub(crate) use node_url::{CallbackPath, NodeUrl, REGISTRATIONS_PATH};
pub use option::{ConfigOption, OptionKind};
pub use options::{Config, ConfigBuilder, OPTIONS};
pub(crate) use settings::Settings;
#[cfg(feature = "state-url")]
pub(crate) use state_url::{Server, StateUrl, StoreKind};
pub(crate) use suggestion::suggestion;
pub use values::{CallbackPolicy, Identity, SiweFormat};
pub(crate) use values::{SiweDomain, is_loopback};

pub use crate::sign_in::signer::SigningRequest;
