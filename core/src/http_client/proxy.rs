//! The proxy variables of the environment. The matcher ignores a value that it cannot use, and the client would connect
//! directly, so such a value is refused before the first request.

use hyper::Uri;

use crate::error::{Error, Result};
use crate::secret::Secret;

/// The variables that the matcher reads. It uses the first of each pair that is set.
const VARIABLES: [&str; 6] =
    ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// Refuses a proxy variable whose value cannot be used. The error does not repeat the value, which may hold a
/// password.
pub(super) fn check_environment() -> Result<()> {
    VARIABLES.into_iter().try_for_each(|name| {
        match std::env::var_os(name) {
            Some(value) => value.to_str().map_or_else(|| Err("is not UTF-8"), check),
            None => Ok(()),
        }
        .map_err(|why| {
            Error::invalid_config(format!(
                "the environment variable {name} {why}; expected the URL of an http or https proxy, such as \
             http://proxy.example:3128, or unset it to connect directly"
            ))
        })
    })
}

/// The passwords in the proxy variables, or the user names that have none; percent-encoded as they are there.
pub(super) fn passwords() -> Vec<Secret> {
    VARIABLES.iter().filter_map(|name| password(&std::env::var(name).ok()?)).collect()
}

fn password(value: &str) -> Option<Secret> {
    let uri: Uri = value.parse().ok()?;
    let (user_and_password, _) = uri.authority()?.as_str().split_once('@')?;
    let (user, password) = user_and_password.split_once(':').unwrap_or((user_and_password, ""));
    // Without a password, the user name may be a token.
    let secret = if password.is_empty() { user } else { password };
    (!secret.is_empty()).then(|| Secret::new(secret))
}

/// Accepts the values that the matcher can use. It adds `http` if there is no scheme.
fn check(value: &str) -> std::result::Result<(), &'static str> {
    if value.is_empty() {
        return Ok(());
    }
    // The parser of URLs ends the host there, so the start of a password would be the port.
    let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
    if rest.split_once(['/', '?', '#']).is_some_and(|(_, rest)| rest.contains('@')) {
        return Err("has an unescaped /, ? or # in its user name or password");
    }
    let uri: Uri = value.parse().map_err(|_| "is not a URL")?;
    if !matches!(uri.scheme_str(), None | Some("http" | "https")) {
        return Err("has a scheme other than http and https");
    }
    let authority = uri.authority().ok_or("has no host")?;
    // The matcher splits at the first `@`, so the rest of a password with an unescaped one would be part of the host.
    let host_and_port = authority.as_str().split_once('@').map_or(authority.as_str(), |(_, rest)| rest);
    if host_and_port.contains('@') {
        return Err("has an unescaped @ in its user name or password");
    }
    let host = authority.host();
    if host.is_empty() {
        return Err("has no host");
    }
    if host_and_port != host && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("has no port from 1 to 65535");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_or_else_the_user_name_is_found() {
        for (value, found) in [
            ("http://user:p%40ss@proxy.example:3128", Some("p%40ss")),
            ("user:secret@proxy.example:3128", Some("secret")),
            ("http://token@proxy.example", Some("token")),
            ("http://token:@proxy.example", Some("token")),
            ("http://:@proxy.example", None),
            ("http://proxy.example:3128", None),
            ("", None),
        ] {
            assert_eq!(password(value).as_ref().map(Secret::expose), found, "{value}");
        }
    }

    #[test]
    fn only_usable_proxy_urls_are_accepted() {
        for good in [
            "",
            "http://proxy.example:3128",
            "https://proxy.example",
            "http://proxy.example:3128/",
            "HTTP://user:p%40ss@proxy.example:3128",
            "proxy.example:3128",
            "127.0.0.1:3128",
            "http://[::1]:3128",
            "proxy",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("not a url", "is not a URL"),
            (" ", "is not a URL"),
            ("http://", "is not a URL"),
            ("http://u:p@host name:1", "is not a URL"),
            ("http://proxy.example:3128 ", "is not a URL"),
            ("http://proxy.example\n", "is not a URL"),
            ("ftp://proxy.example", "has a scheme other than http and https"),
            ("socks5://proxy.example:1080", "has a scheme other than http and https"),
            ("/proxy.example", "has no host"),
            ("http://user:p@ss@proxy.example:3128", "has an unescaped @ in its user name or password"),
            (
                "http://user:4711#pass@proxy.example:3128",
                "has an unescaped /, ? or # in its user name or password",
            ),
            ("user:4711/pass@proxy.example:3128", "has an unescaped /, ? or # in its user name or password"),
            (
                "http://user:4711?p@ss@proxy.example",
                "has an unescaped /, ? or # in its user name or password",
            ),
            ("http://:3128", "has no host"),
            ("http://user:pass@", "is not a URL"),
            ("http://proxy.example:", "has no port from 1 to 65535"),
            ("http://proxy.example:0", "has no port from 1 to 65535"),
            ("http://proxy.example:65536", "has no port from 1 to 65535"),
            ("http://proxy.example:port", "has no port from 1 to 65535"),
        ] {
            assert_eq!(check(bad), Err(why), "{bad:?}");
        }
    }
}
