//! The store that a node's replicas share: a URL with its kind, its servers, and the way to sign in to it.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::option::Invalid;
use crate::secret::Secret;

/// What kind of store a URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// Redis, Valkey, and others that speak their protocol.
    Redis,
    Etcd,
}

/// One server of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// `redis://user:password@host:6379/0`, `etcd+https://user:password@one:2379,two:2379/prefix`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StateUrl {
    pub(crate) kind: StoreKind,
    pub(crate) tls: bool,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    /// At least one. Each holds the same data.
    pub(crate) servers: Vec<Server>,
    /// For Redis.
    pub(crate) database: u16,
    /// For etcd: before the name of each key. Empty, or without a slash at either end.
    pub(crate) prefix: String,
}

impl StateUrl {
    pub(super) fn parse(value: &str) -> Result<Self, Invalid> {
        if cfg!(not(feature = "state-url")) {
            return Err(Invalid::because(
                "this build cannot use it; enable the cargo feature state-url of this library",
            ));
        }
        let value = value.trim();
        let (scheme, rest) = value.split_once("://").ok_or_else(|| Invalid::value("is not a URL"))?;
        let (kind, tls, default_port) = match scheme {
            "redis" => (StoreKind::Redis, false, 6379),
            "rediss" => (StoreKind::Redis, true, 6379),
            "etcd+http" => (StoreKind::Etcd, false, 2379),
            "etcd+https" => (StoreKind::Etcd, true, 2379),
            _ => return Err(Invalid::value("has an unknown scheme")),
        };
        if rest.contains(['?', '#']) {
            return Err(Invalid::value("has a query or fragment; percent-encode ? and # in a password"));
        }
        if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Invalid::value("contains a space or line break; percent-encode those in a password"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // Otherwise the part of a password before a slash would be a host, which is shown.
        if path.contains('@') {
            return Err(Invalid::value(
                "has an @ after a slash; percent-encode / in a password, and @ in a prefix",
            ));
        }
        let (user_info, servers) = match authority.rsplit_once('@') {
            Some((user_info, servers)) => (user_info, servers),
            None => ("", authority),
        };
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        let (user, password) = (decode(user)?, decode(password)?);
        // The store would ignore the user.
        if user.is_some() && password.is_none() {
            return Err(Invalid::value("has a user without a password; a password alone is :password@"));
        }
        let servers: Result<Vec<_>, _> =
            servers.split(',').map(|server| parse_server(server, default_port)).collect();
        let path = path.trim_matches('/');
        let (database, prefix) = match kind {
            StoreKind::Redis if path.is_empty() => (0, String::new()),
            StoreKind::Redis => {
                let database = path
                    .parse()
                    .map_err(|_| Invalid::value("has a path that is not the number of a database"))?;
                (database, String::new())
            }
            StoreKind::Etcd => (0, decode(path)?.unwrap_or_default()),
        };
        Ok(Self { kind, tls, user, password: password.map(Secret::new), servers: servers?, database, prefix })
    }
}

// The tests of the stores, which run on Linux.
#[cfg(all(test, target_os = "linux", feature = "state-url"))]
impl StateUrl {
    pub(crate) fn for_test(value: &str) -> Self {
        Self::parse(value).unwrap_or_else(|invalid| panic!("{value}: {invalid:?}"))
    }
}

/// Percent-decodes a part of the URL. `None` if it is empty.
fn decode(part: &str) -> Result<Option<String>, Invalid> {
    let text =
        percent_decode_str(part).decode_utf8().map_err(|_| Invalid::value("is not UTF-8 when decoded"))?;
    if text.contains(char::is_control) {
        return Err(Invalid::value("contains a control character"));
    }
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

fn parse_server(server: &str, default_port: u16) -> Result<Server, Invalid> {
    let url =
        Url::parse(&format!("http://{server}")).map_err(|_| Invalid::value("has no valid host and port"))?;
    if url.path() != "/" || !url.username().is_empty() {
        return Err(Invalid::value("has no valid host and port"));
    }
    let is_in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let host = match url.host() {
        Some(Host::Domain(name)) if name.chars().all(is_in_name) => name.to_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        _ => return Err(Invalid::value("has no valid host")),
    };
    // The URL parser drops the default port of http.
    let port = if server.ends_with(":80") { 80 } else { url.port().unwrap_or(default_port) };
    if port == 0 { Err(Invalid::value("has the port 0")) } else { Ok(Server { host, port }) }
}

impl Server {
    /// As in a URL.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

/// The kind and the servers, for messages. Without the user, the password and the path.
impl fmt::Display for StateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.kind, self.tls) {
            (StoreKind::Redis, false) => "redis://",
            (StoreKind::Redis, true) => "rediss://",
            (StoreKind::Etcd, false) => "etcd+http://",
            (StoreKind::Etcd, true) => "etcd+https://",
        })?;
        for (nth, server) in self.servers.iter().enumerate() {
            if nth > 0 {
                f.write_str(",")?;
            }
            server.write(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for StateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(all(test, feature = "state-url"))]
mod tests {
    use super::*;

    fn parse(value: &str) -> StateUrl {
        StateUrl::parse(value).unwrap_or_else(|invalid| panic!("{value}: {invalid:?}"))
    }

    #[test]
    fn a_url_names_the_store_and_how_to_sign_in() {
        let url = parse("rediss://n%C3%B6de:p%40ss%2Fword:1@redis.example/3");
        assert_eq!((url.kind, url.tls, url.database), (StoreKind::Redis, true, 3));
        assert_eq!(url.user.as_deref(), Some("nöde"));
        assert_eq!(url.password.as_ref().map(Secret::expose), Some("p@ss/word:1"));
        assert_eq!(url.servers, [Server { host: "redis.example".into(), port: 6379 }]);
        let url = parse("redis://:p@ss@127.0.0.1:80");
        assert_eq!((url.user.as_deref(), url.password.as_ref().map(Secret::expose)), (None, Some("p@ss")));
        assert_eq!(url.servers[0].port, 80);
        let url = parse("etcd+https://one,two:1234,[::1]:2379/fleet/a/");
        assert_eq!((url.kind, url.tls, url.prefix.as_str()), (StoreKind::Etcd, true, "fleet/a"));
        assert_eq!(url.to_string(), "etcd+https://one:2379,two:1234,[::1]:2379");
        assert_eq!((parse("redis://localhost").database, parse("redis://localhost/").database), (0, 0));
    }

    #[test]
    fn a_bad_url_is_refused() {
        for bad in [
            "localhost:6379",
            "http://localhost",
            "REDIS://localhost",
            "redis+sentinel://localhost",
            "redis://",
            "redis:///1",
            "redis://localhost/first",
            "redis://localhost/65536",
            "redis://localhost?db=1",
            "redis://user:pass#word@localhost",
            "redis://localhost:65536",
            "redis://password@localhost",
            "redis://:pass/word@localhost",
            "redis://one,,two",
            "redis://user:%ff@localhost",
            "redis://user:a%0Ab@localhost",
            "redis://us er@lo cal",
            "redis://localhost:0",
            "redis://local\nhost",
            "redis://redis://localhost",
            "etcd+http://etcd+http://localhost",
            "etcd+http://user:12345/word@localhost",
        ] {
            assert!(StateUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let url = parse("redis://somebody:hunter22@localhost:1/7");
        for shown in [format!("{url:?}"), url.to_string()] {
            assert!(!shown.contains("hunter22") && !shown.contains("somebody"), "{shown}");
        }
        let invalid =
            StateUrl::parse("redis://somebody:hunter22@localhost/hunter22").expect_err("no database");
        assert!(!format!("{invalid:?}").contains("hunter22"));
    }
}
