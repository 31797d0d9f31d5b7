//! How DDS reaches the node: the URL that the node registers, and the path under which its server has the routes.
//!
//! A path may be the only thing that a stranger does not know, so neither is shown in errors, logs or debug output.

use std::fmt;

use url::Url;
use zeroize::Zeroizing;

use super::option::Invalid;
use super::values::not_a_url;

/// The route of the callback. DDS puts it after the URL of the node, and the callback server after `callback_path`.
pub(crate) const REGISTRATIONS_PATH: &str = "/internal/v1/registrations";

/// A path segment of at least this many characters is treated as a secret in the words of others.
const SECRET_SEGMENT: usize = 16;

/// The URL of the node, without a slash at its end.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NodeUrl(Url);

impl NodeUrl {
    pub(super) fn parse(value: &str) -> Result<Self, Invalid> {
        let url = Url::parse(value).map_err(|error| Invalid::hidden(not_a_url(error)))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Invalid::hidden("has a scheme other than http and https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Invalid::hidden("has user info"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Invalid::hidden("has a query or fragment"));
        }
        refuse_route(url.path())?;
        Ok(Self(url))
    }

    /// As it is registered. DDS puts the path of a route after it.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// What must not be shown when DDS repeats it.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
        secret_segments(self.0.path())
    }
}

impl fmt::Debug for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.0.path() == "/" { "" } else { "/[redacted]" };
        write!(f, "\"{}{path}\"", self.0.origin().ascii_serialization())
    }
}

/// The path before the routes of the callback server: empty, or with a slash at its start and none at its end.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct CallbackPath(Box<str>);

impl CallbackPath {
    pub(super) fn parse(value: &str) -> Result<Self, Invalid> {
        if !value.starts_with('/') {
            return Err(Invalid::hidden("does not start with a slash"));
        }
        let path = value.strip_suffix('/').unwrap_or(value);
        // The unreserved characters and the delimiters of a segment (RFC 3986, 3.3), and escapes.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&byte);
        if !path.bytes().all(allowed) {
            return Err(Invalid::hidden("has a character that a URL path cannot have"));
        }
        let mut after_percent = path.split('%').skip(1).map(str::as_bytes);
        if !after_percent.all(|rest| rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit)) {
            return Err(Invalid::hidden("has a percent sign that two hex digits do not follow"));
        }
        if path.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(Invalid::hidden("has an empty segment, or one that is . or .."));
        }
        refuse_route(path)?;
        Ok(Self(path.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What must not be shown when DDS repeats it.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
        secret_segments(&self.0)
    }
}

impl fmt::Debug for CallbackPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"/\"" } else { "\"/[redacted]\"" })
    }
}

/// What comes before the routes does not contain one.
fn refuse_route(path: &str) -> Result<(), Invalid> {
    if path.trim_end_matches('/').ends_with(REGISTRATIONS_PATH) {
        return Err(Invalid::hidden(format!("ends with {REGISTRATIONS_PATH}, which is added to it")));
    }
    Ok(())
}

fn secret_segments(path: &str) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
    let secret = |segment: &&str| segment.len() >= SECRET_SEGMENT;
    path.split('/').filter(secret).map(|segment| Zeroizing::new(segment.as_bytes().to_vec()))
}
