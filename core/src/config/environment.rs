//! Options from the environment, as operators write it: a blank variable counts as unset, and surrounding space is
//! ignored.

use std::ffi::OsString;
use std::path::Path;

use zeroize::Zeroizing;

use super::option::ConfigOption;
use super::options::{Config, OPTIONS};
use super::values::parse_seconds;
use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::file::read_regular;
use crate::secret::Secret;

/// Before the name of an option or of its variable. These variables win: the plain names may belong to other
/// programs, as `NODE_VERSION` does in the Docker images of Node.js.
const PREFIX: &str = "POSEMESH_";

/// Holds the value of `reg_secret` if the node is a robot.
pub(super) const ROBOT_CREDENTIALS: &str = "ROBOT_REGISTRATION_CREDENTIALS";

/// Operators write 0 for "as often as possible".
const AT_LEAST_A_SECOND: [&str; 2] = ["register_interval_secs", "request_timeout_secs"];

impl ConfigOption {
    /// The environment variables that [`Config::load_env`] reads for this option, in the order of precedence.
    ///
    /// `POSEMESH_` before the name of the option or of its variable, and then the variable itself. A secret has a
    /// second one at each step, ending in `_FILE`, that names a file. Those of `reg_secret` begin with
    /// `ROBOT_REGISTRATION_CREDENTIALS`, which counts only if the node is a robot.
    pub fn variables(&self) -> Vec<String> {
        let mut steps = self.steps();
        if self.name == "reg_secret" {
            steps.splice(0..0, robot_steps());
        }
        steps.into_iter().flat_map(|(direct, file)| std::iter::once(direct).chain(file)).collect()
    }

    /// The variables with the value and with a file's path, in the order of precedence.
    fn steps(&self) -> Vec<(String, Option<String>)> {
        let own = prefixed(&self.name.to_ascii_uppercase());
        steps_of(vec![own, prefixed(self.env), self.env.to_owned()], self.secret)
    }
}

impl Config {
    /// Sets every option that the environment has a variable for. On an error nothing has changed.
    ///
    /// Each option has a variable, listed in [`OPTIONS`], and the same with `POSEMESH_` before its name, which
    /// takes precedence. A secret may be in a file instead: `NAME_FILE` holds its path, and one line break at the end
    /// of the file is ignored. A blank variable counts as unset. Space around a value is ignored. An interval or
    /// timeout of 0 seconds becomes 1, with a warning in the log when the node starts. If the node is a robot,
    /// `ROBOT_REGISTRATION_CREDENTIALS` is read in place of `REG_SECRET`.
    ///
    /// The environment is read without a lock: no other thread may change it at the same time.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfig`](crate::ErrorCode::InvalidConfig), naming the variable and what it expects, and
    /// never a secret's value.
    pub fn load_env(&mut self) -> Result<&mut Self> {
        self.load_env_from(|name| std::env::var_os(name))
    }

    /// As [`load_env`](Config::load_env), from an environment that the host keeps itself, such as that of a
    /// Node.js worker. [`ConfigOption::variables`] lists the names that are read.
    ///
    /// # Errors
    /// As [`load_env`](Config::load_env).
    pub fn load_env_from(&mut self, variable: impl Fn(&str) -> Option<OsString>) -> Result<&mut Self> {
        let set = |name: &str| variable(name).filter(|value| !is_blank(value));
        let mut loaded = self.clone();
        for option in OPTIONS {
            if let Some((name, value)) = first_set(option.steps(), &set)? {
                loaded.apply_variable(option, &name, &value)?;
            }
        }
        loaded.robot_credentials = robot_credentials(&set).or(loaded.robot_credentials);
        *self = loaded;
        Ok(self)
    }

    fn apply_variable(&mut self, option: &ConfigOption, name: &str, value: &[u8]) -> Result<()> {
        if option.secret {
            return self.apply(option, name, without_line_break(value));
        }
        if let Ok(text) = std::str::from_utf8(value).map(str::trim)
            && AT_LEAST_A_SECOND.contains(&option.name)
            && parse_seconds(text).is_ok_and(|time| time.is_zero())
        {
            self.warnings.push(format!("{name} is {text}; using 1 second, the shortest possible time"));
            return self.apply(option, name, b"1");
        }
        self.apply(option, name, value)
    }
}

/// The value of the first variable that is set, or of the file that it names, and the name of that variable.
fn first_set(
    steps: Vec<(String, Option<String>)>,
    set: &impl Fn(&str) -> Option<OsString>,
) -> Result<Option<(String, Zeroizing<Vec<u8>>)>> {
    for (name, file) in steps {
        let direct = set(&name);
        let path = file.and_then(|file| set(&file).map(|path| (file, path)));
        return match (direct, path) {
            (Some(_), Some((file, _))) => {
                Err(Error::invalid_config(format!("{name} and {file} are both set; unset one of them")))
            }
            (Some(value), None) => Ok(Some((name, Zeroizing::new(value.into_encoded_bytes())))),
            (None, Some((file, path))) => {
                let value = read_secret_file(&file, Path::new(&path))?;
                Ok(Some((file, value)))
            }
            (None, None) => continue,
        };
    }
    Ok(None)
}

/// The credentials of a robot. Whether the node is one may be set later.
fn robot_credentials(set: &impl Fn(&str) -> Option<OsString>) -> Option<Result<Credentials>> {
    let (name, value) = match first_set(robot_steps(), set) {
        Ok(found) => found?,
        Err(error) => return Some(Err(error)),
    };
    let option = OPTIONS.iter().find(|option| option.name == "reg_secret").expect("it is in the table");
    Some(option.text(&name, without_line_break(&value)).map(|text| Credentials::new(Secret::new(text))))
}

/// Spaces may belong to a secret. A line break comes from the tool that wrote it.
fn without_line_break(value: &[u8]) -> &[u8] {
    value.strip_suffix(b"\r\n").or_else(|| value.strip_suffix(b"\n")).unwrap_or(value)
}

fn robot_steps() -> Vec<(String, Option<String>)> {
    steps_of(vec![prefixed(ROBOT_CREDENTIALS), ROBOT_CREDENTIALS.into()], true)
}

fn prefixed(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Each variable, with the one that names a file if the option is a secret.
fn steps_of(mut names: Vec<String>, secret: bool) -> Vec<(String, Option<String>)> {
    names.dedup();
    let with_file = |name: String| {
        let file = secret.then(|| format!("{name}_FILE"));
        (name, file)
    };
    names.into_iter().map(with_file).collect()
}

fn is_blank(value: &OsString) -> bool {
    value.to_str().is_some_and(|value| value.trim().is_empty())
}

/// Reads a secret from the file that an environment variable names.
fn read_secret_file(variable: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    const MAX: u64 = 64 * 1024;
    let failed = |what: String| {
        Error::invalid_config(format!(
            "{variable} names {}, which {what}; expected a readable file that holds the secret",
            path.display()
        ))
    };
    let bytes = read_regular(path, MAX).map_err(failed)?;
    match std::str::from_utf8(&bytes) {
        Err(_) => Err(failed("is not UTF-8".into())),
        Ok(text) if text.trim().is_empty() => Err(failed("is empty".into())),
        Ok(_) => Ok(bytes),
    }
}
