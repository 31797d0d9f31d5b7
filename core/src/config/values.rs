//! What a value must look like.

use std::net::SocketAddr;
use std::time::Duration;

use url::{Host, Url};

use super::{Invalid, SiweDomain};

pub(super) fn parse_integer<T>(value: &str, min: T, max: T) -> std::result::Result<T, Invalid>
where
    T: std::str::FromStr + PartialOrd,
{
    let number: T = value.parse().map_err(|_| Invalid::value("is not such a number"))?;
    if number < min || number > max {
        return Err(Invalid::value("is out of range"));
    }
    Ok(number)
}

/// Seconds from `min` on, as a number, or with a unit: `30s`, `5m`, `1h`.
pub(super) fn parse_seconds(value: &str, min: u32) -> std::result::Result<Duration, Invalid> {
    let (number, unit) = match value.as_bytes() {
        [.., b's'] => (&value[..value.len() - 1], 1),
        [.., b'm'] => (&value[..value.len() - 1], 60),
        [.., b'h'] => (&value[..value.len() - 1], 60 * 60),
        _ => (value, 1),
    };
    let number: u32 = parse_integer(number, 0, u32::MAX)?;
    let seconds = number.checked_mul(unit).filter(|seconds| *seconds >= min);
    seconds
        .map(|seconds| Duration::from_secs(seconds.into()))
        .ok_or_else(|| Invalid::value("is out of range"))
}

pub(super) fn parse_base_url(value: &str) -> std::result::Result<Url, Invalid> {
    let url = Url::parse(value).map_err(|error| Invalid::value(format!("is not a URL ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Invalid::value("has another scheme"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Invalid::value("has user info"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Invalid::value("has a query or fragment"));
    }
    Ok(url)
}

pub(super) fn parse_bind(value: &str) -> std::result::Result<String, Invalid> {
    if value.parse::<SocketAddr>().is_ok() {
        return Ok(value.to_owned());
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

pub(super) fn parse_siwe_domain(value: &str) -> std::result::Result<SiweDomain, Invalid> {
    if value == "any" {
        return Ok(SiweDomain::Any);
    }
    let authority: axum::http::uri::Authority =
        value.parse().map_err(|_| Invalid::value("is not an RFC 3986 authority"))?;
    if value.contains('@') {
        return Err(Invalid::value("has user info"));
    }
    // An authority may have no host, and anything for a port; no challenge would ever be for that.
    let host = authority.host();
    if host.is_empty() {
        return Err(Invalid::value("has no host"));
    }
    if value != host && authority.port_u16().is_none() {
        return Err(Invalid::value("has no port from 0 to 65535"));
    }
    Ok(SiweDomain::Named(authority.as_str().to_owned()))
}
