//! Setting options from text, as C, Python and Node.js do.

use std::hint::black_box;

use super::option::{ConfigOption, cut};
use super::options::{Config, OPTIONS};
use super::suggestion::suggestion;
use crate::error::{Error, Result};

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// All options at their defaults.
    pub fn new() -> Self {
        let mut config = Self::empty();
        for option in OPTIONS {
            if let Some(default) = option.default {
                config.parse(option.name, default).expect("the defaults in the table are valid");
            }
        }
        config
    }

    /// Sets one option from its text form. On an error nothing has changed. Space around a value is ignored, unless
    /// the option is a secret.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfig`](crate::ErrorCode::InvalidConfig), naming the option and what it expects, and
    /// never a secret's value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<&mut Self> {
        self.set_bytes(name, value.as_bytes())
    }

    /// As [`set`](Config::set), for a value that may not be UTF-8, which is an error like any other bad value.
    ///
    /// # Errors
    /// Those of [`set`](Config::set).
    pub fn set_bytes(&mut self, name: &str, value: &[u8]) -> Result<&mut Self> {
        let option = find(name)?;
        self.apply(option, option.name, value)?;
        if option.name == "reg_secret" {
            // A value that the program sets replaces all values from the environment.
            self.robot_credentials = None;
        }
        Ok(self)
    }

    /// `shown_as` is the name under which the user gave the value.
    pub(super) fn apply(&mut self, option: &ConfigOption, shown_as: &str, value: &[u8]) -> Result<()> {
        let text = option.text(shown_as, value)?;
        self.parse(option.name, text).map_err(|invalid| option.error(shown_as, &invalid, text))
    }
}

fn find(name: &str) -> Result<&'static ConfigOption> {
    // LLVM 22 unrolls both loops over a table that it knows, and then spends more than ten minutes on this function.
    let options: &'static [ConfigOption] = black_box(OPTIONS);
    options.iter().find(|option| option.name == name).ok_or_else(|| {
        let known: Vec<_> = options.iter().map(|option| option.name).collect();
        Error::invalid_config(format!("unknown option {:?}; {}", cut(name), suggestion(name, &known)))
    })
}
