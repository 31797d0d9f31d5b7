//! Networks of IP addresses, as the options list them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::option::Invalid;

/// The bits of an IPv6 address before the IPv4 address in it (RFC 4291, 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// At least one network. IPv4 addresses that are written as IPv6 (`::ffff:192.0.2.1`) are IPv4 addresses.
#[derive(Clone, Debug)]
pub(crate) struct Networks(Vec<IpNet>);

impl Networks {
    pub(super) fn parse(value: &str) -> Result<Self, Invalid> {
        Self::check(value.split(','))
    }

    pub(super) fn check(entries: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, Invalid> {
        let networks = entries.into_iter().enumerate();
        let networks: Vec<_> =
            networks.map(|(at, entry)| network(at + 1, entry.as_ref().trim())).collect::<Result<_, _>>()?;
        if networks.is_empty() { Err(Invalid::value("is empty")) } else { Ok(Self(networks)) }
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Parses the entry that has this number in its list.
fn network(number: usize, entry: &str) -> Result<IpNet, Invalid> {
    if entry.is_empty() {
        return Err(Invalid::value("has an empty entry"));
    }
    let address = entry.parse::<IpAddr>().map(IpNet::from);
    let network = address.or_else(|_| entry.parse()).map_err(|_| {
        Invalid::value(format!("has an entry, number {number}, that is not an IP address or network"))
    })?;
    // Its author may mean the one address, or the whole network.
    if network.addr() != network.network() {
        let (address, whole) = (network.addr(), network.trunc());
        return Err(Invalid::value(format!("has the entry {network}; write {address} or {whole}")));
    }
    Ok(canonical(network))
}

fn canonical(network: IpNet) -> IpNet {
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED_PREFIX)) {
        (IpAddr::V4(address), Some(prefix)) if matches!(network, IpNet::V6(_)) => {
            Ipv4Net::new(address, prefix).expect("at most 32 bits remain").into()
        }
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(networks: &str, address: &str) -> bool {
        let networks = Networks::parse(networks).expect("good networks");
        networks.contains(address.parse().expect("an address"))
    }

    #[test]
    fn an_address_is_compared_with_networks_of_its_kind() {
        for (networks, inside, outside) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.0/24", "::ffff:192.0.2.255", "192.0.3.0"),
            ("0.0.0.0/0", "::ffff:203.0.113.1", "2001:db8::1"),
            ("::/0", "2001:db8::1", "::ffff:203.0.113.1"),
            ("::/0", "::1", "127.0.0.1"),
            ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
            ("::ffff:0:0/96", "203.0.113.1", "::1"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("2001:db8::/32, 10.0.0.0/8 ,::1", "::1", "2001:db9::"),
            ("10.0.0.0/31", "10.0.0.1", "10.0.0.2"),
        ] {
            assert!(contains(networks, inside), "{inside} in {networks}");
            assert!(!contains(networks, outside), "{outside} in {networks}");
        }
    }
}
