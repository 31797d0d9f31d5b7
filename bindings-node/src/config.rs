//! Options: core's table for TypeScript, and a checked configuration from the values that TypeScript passes.

use std::collections::BTreeMap;
use std::ffi::OsString;

use napi_derive::napi;
use posemesh_node_registration::bindings;
use posemesh_node_registration::config::{Config, OPTIONS, OptionKind};
use posemesh_node_registration::error::Result;

use crate::signer::NativeSigner;

/// One option of a node, from core's table.
#[napi(object, object_from_js = false)]
pub struct OptionInfo {
    /// Its name in core, in snake case.
    pub name: &'static str,
    /// The kind of its values.
    #[napi(ts_type = "'text' | 'path' | 'integer' | 'boolean' | 'list' | 'choice'")]
    pub kind: &'static str,
    /// The environment variables that hold its value, or name a file that does.
    pub variables: Vec<String>,
}

/// Every option, in the order of core's table.
#[napi]
pub fn options() -> Vec<OptionInfo> {
    let info = |option: &posemesh_node_registration::config::ConfigOption| OptionInfo {
        name: option.name,
        kind: match option.kind {
            OptionKind::Path => "path",
            OptionKind::Integer => "integer",
            OptionKind::Boolean => "boolean",
            OptionKind::List => "list",
            OptionKind::Choice(_) => "choice",
            // A kind that this addon does not know yet is passed as text, and core checks the value.
            _ => "text",
        },
        variables: option.variables(),
    };
    OPTIONS.iter().map(info).collect()
}

/// Completes an error for an unknown option: lists the known ones, and says which of them was probably meant.
#[napi]
pub fn suggestion(given: String, known: Vec<String>) -> String {
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    bindings::suggestion(&given, &known)
}

/// The configuration from the environment, the options, which win, and the signer.
pub(crate) fn config(
    options: &BTreeMap<String, String>,
    environment: &BTreeMap<String, String>,
    signer: Option<&NativeSigner>,
) -> Result<Config> {
    let mut config = Config::new();
    config.load_env_from(|name| environment.get(name).map(OsString::from))?;
    for (name, value) in options {
        config.set(name, value)?;
    }
    if let Some(signer) = signer {
        signer.set(&mut config)?;
    }
    Ok(config)
}
