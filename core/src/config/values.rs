//! The values of options: their types, and how they are read from text.

use std::net::{IpAddr, SocketAddr};
use std::num::IntErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use super::option::Invalid;
use crate::credentials::Credentials;
use crate::crypto::{SecretKey, load_secp256k1_privhex};
use crate::secret::Secret;

type Parsed<T> = std::result::Result<T, Invalid>;

/// Which secrets the callback server accepts.
///
/// Under both policies a callback confirms a registration only from the moment that its signed challenge is sent to
/// DDS until DDS refuses it. At any other time the callback is answered with 409 and changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallbackPolicy {
    /// The first secret of a registration wins; a different one is refused with 403 until the node is re-armed.
    #[default]
    PerRegistration,
    /// The last secret wins.
    Open,
}

/// The form of the message that is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SiweFormat {
    /// The form that DDS documents.
    #[default]
    Posemesh,
    /// Strict EIP-4361.
    Eip4361,
}

/// How a node proves its identity to DDS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// With the signature of its wallet.
    #[default]
    Wallet,
    /// With its registration credentials alone: a robot has no wallet.
    Robot,
}

/// The domain that the node agrees to sign in to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum SiweDomain {
    #[default]
    OfDds,
    Named(String),
    Any,
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

pub(super) fn parse_key(value: &str) -> Parsed<SecretKey> {
    load_secp256k1_privhex(value).map_err(|error| Invalid::because(error.message()))
}

pub(super) fn parse_secret(value: &str) -> Parsed<Secret> {
    Ok(Secret::new(value))
}

pub(super) fn parse_credentials(value: &str) -> Parsed<Credentials> {
    Ok(Credentials::new(Secret::new(value)))
}

pub(super) fn parse_path(value: &str) -> Parsed<PathBuf> {
    Ok(PathBuf::from(value))
}

pub(super) fn check_path(path: impl Into<PathBuf>) -> Parsed<PathBuf> {
    let path = path.into();
    if path.as_os_str().is_empty() { Err(Invalid::value("is empty")) } else { Ok(path) }
}

pub(super) fn parse_capabilities(value: &str) -> Parsed<Vec<String>> {
    check_capabilities(value.split(',').map(str::trim))
}

pub(super) fn check_capabilities(
    capabilities: impl IntoIterator<Item = impl Into<String>>,
) -> Parsed<Vec<String>> {
    let capabilities: Vec<String> = capabilities.into_iter().map(Into::into).collect();
    if capabilities.is_empty() {
        return Err(Invalid::value("is empty"));
    }
    for entry in &capabilities {
        if entry.trim().is_empty() {
            return Err(Invalid::value("has an empty entry"));
        }
        if entry.contains(char::is_control) {
            return Err(Invalid::value("has a control character"));
        }
        if entry.contains(',') {
            return Err(Invalid::value("has an entry with a comma"));
        }
    }
    Ok(capabilities)
}

/// A semantic version; a leading `V` becomes `v`.
pub(super) fn parse_version(value: &str) -> Parsed<String> {
    let number = value.strip_prefix(['v', 'V']);
    semver::Version::parse(number.unwrap_or(value))
        .map_err(|error| Invalid::value(format!("is not a semantic version ({error})")))?;
    Ok(number.map_or_else(|| value.to_owned(), |number| format!("v{number}")))
}

pub(super) fn parse_concurrency(value: &str) -> Parsed<u32> {
    check_concurrency(parse_integer(value)?)
}

pub(super) fn check_concurrency(number: u32) -> Parsed<u32> {
    Some(number).filter(|number| *number >= 1).ok_or_else(out_of_range)
}

pub(super) fn parse_max_retry(value: &str) -> Parsed<i32> {
    check_max_retry(parse_integer(value)?)
}

pub(super) fn check_max_retry(number: i32) -> Parsed<i32> {
    Some(number).filter(|number| *number >= -1).ok_or_else(out_of_range)
}

fn parse_integer<T: TryFrom<i64>>(value: &str) -> Parsed<T> {
    let number = value.parse::<i64>().map_err(|error| match error.kind() {
        IntErrorKind::NegOverflow | IntErrorKind::PosOverflow => out_of_range(),
        _ => Invalid::value("is not a whole number"),
    })?;
    T::try_from(number).map_err(|_| out_of_range())
}

fn out_of_range() -> Invalid {
    Invalid::value("is out of range")
}

/// A time of at least a second.
pub(super) fn parse_interval(value: &str) -> Parsed<Duration> {
    check_interval(parse_seconds(value)?)
}

pub(super) fn check_interval(time: Duration) -> Parsed<Duration> {
    Some(time).filter(|time| *time >= Duration::from_secs(1)).ok_or_else(out_of_range)
}

/// A time after which something happens; 0 = never.
pub(super) fn parse_period(value: &str) -> Parsed<Option<Duration>> {
    parse_seconds(value).and_then(check_period)
}

pub(super) fn check_period(time: Duration) -> Parsed<Option<Duration>> {
    if time.is_zero() {
        return Ok(None);
    }
    check_interval(time).map(Some)
}

/// Seconds, as a number or with a unit: `30s`, `5m`, `1h`.
pub(super) fn parse_seconds(value: &str) -> Parsed<Duration> {
    let (number, unit) = match value.as_bytes() {
        [.., b's'] => (&value[..value.len() - 1], 1),
        [.., b'm'] => (&value[..value.len() - 1], 60),
        [.., b'h'] => (&value[..value.len() - 1], 60 * 60),
        _ => (value, 1),
    };
    let seconds = parse_integer::<u32>(number)?.checked_mul(unit).ok_or_else(out_of_range)?;
    Ok(Duration::from_secs(seconds.into()))
}

pub(super) fn parse_base_url(value: &str) -> Parsed<Url> {
    let url = Url::parse(value).map_err(|error| Invalid::value(not_a_url(error)))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Invalid::value("has a scheme other than http and https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Invalid::value("has user info"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Invalid::value("has a query or fragment"));
    }
    Ok(url)
}

/// Why a text is not a URL. What ships lacks the Unicode tables for host names in other letters than ASCII: 250 kB.
pub(super) fn not_a_url(error: url::ParseError) -> String {
    match error {
        url::ParseError::IdnaError => {
            "has no valid host name (one with other letters than ASCII is written as DNS has it, with xn--)"
                .to_owned()
        }
        other => format!("is not a URL ({other})"),
    }
}

pub(super) fn parse_bind(value: &str) -> Parsed<String> {
    if value.parse::<SocketAddr>().is_ok() {
        return Ok(value.to_owned());
    }
    if value.parse::<u16>().is_ok() {
        return Err(Invalid::value("is a port without a host"));
    }
    let (host, port) = value.rsplit_once(':').ok_or_else(|| Invalid::value("has no port"))?;
    if port.parse::<u16>().is_err() {
        return Err(Invalid::value("has no port from 0 to 65535"));
    }
    match Host::parse(host) {
        // All interfaces.
        _ if host.is_empty() => Ok(value.to_owned()),
        Ok(Host::Domain(_)) => Ok(value.to_owned()),
        _ => Err(Invalid::value("has no host name or address before the port")),
    }
}

pub(super) fn parse_callback_policy(value: &str) -> Parsed<CallbackPolicy> {
    match value {
        "per_registration" => Ok(CallbackPolicy::PerRegistration),
        "open" => Ok(CallbackPolicy::Open),
        _ => Err(Invalid::choice()),
    }
}

pub(super) fn parse_identity(value: &str) -> Parsed<Identity> {
    match value {
        "wallet" => Ok(Identity::Wallet),
        "robot" => Ok(Identity::Robot),
        _ => Err(Invalid::choice()),
    }
}

pub(super) fn parse_siwe_format(value: &str) -> Parsed<SiweFormat> {
    match value {
        "posemesh" => Ok(SiweFormat::Posemesh),
        "eip4361" => Ok(SiweFormat::Eip4361),
        _ => Err(Invalid::choice()),
    }
}

pub(super) fn parse_boolean(value: &str) -> Parsed<bool> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Invalid::choice()),
    }
}

pub(super) fn parse_siwe_domain(value: &str) -> Parsed<SiweDomain> {
    if value == "any" {
        return Ok(SiweDomain::Any);
    }
    let authority: axum::http::uri::Authority =
        value.parse().map_err(|_| Invalid::value("is not an RFC 3986 authority"))?;
    if value.contains('@') {
        return Err(Invalid::value("has user info"));
    }
    // An authority may have no host and any text as its port, but no challenge can name such a domain.
    let host = authority.host();
    if host.is_empty() {
        return Err(Invalid::value("has no host"));
    }
    if value != host && authority.port_u16().is_none() {
        return Err(Invalid::value("has no port from 0 to 65535"));
    }
    Ok(SiweDomain::Named(authority.as_str().to_owned()))
}
