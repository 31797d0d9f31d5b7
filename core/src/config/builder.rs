//! Setting options with types, as Rust programs do. The setters themselves come from the table in `options`.

use super::option::Invalid;
use super::options::{Config, ConfigBuilder, OPTIONS};
use crate::error::Result;

impl Config {
    /// A builder, which sets options with types in place of text. All options are at their defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder { config: Self::new(), error: None }
    }
}

impl ConfigBuilder {
    /// Sets every option that the environment has a variable for, as [`Config::load_env`] does.
    pub fn load_env(mut self) -> Self {
        self.keep_error(|config| config.load_env().map(drop));
        self
    }

    /// Sets one option from its text form, as [`Config::set`] does.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.keep_error(|config| config.set(name, value).map(drop));
        self
    }

    /// The configuration. What depends on several options is checked by [`Config::check`] and by
    /// [`Node::start`](crate::Node::start).
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfig`](crate::ErrorCode::InvalidConfig) for the first bad value, naming the option and
    /// what it expects.
    pub fn build(self) -> Result<Config> {
        match self.error {
            None => Ok(self.config),
            Some(error) => Err(error),
        }
    }

    /// Sets an option of the table from text.
    pub(super) fn set_text(&mut self, name: &str, value: &str) {
        self.keep_error(|config| config.set(name, value).map(drop));
    }

    /// Sets an option of the table to a typed value.
    pub(super) fn set_value(
        &mut self,
        name: &str,
        set: impl FnOnce(&mut Config) -> std::result::Result<(), Invalid>,
    ) {
        self.keep_error(|config| {
            let option = OPTIONS.iter().find(|option| option.name == name).expect("it is in the table");
            set(config).map_err(|invalid| option.error(name, &invalid, ""))
        });
    }

    pub(super) fn keep_error(&mut self, set: impl FnOnce(&mut Config) -> Result<()>) {
        if self.error.is_none() {
            self.error = set(&mut self.config).err();
        }
    }
}
