//! Where a request comes from: its peer, or what a trusted proxy says of its own peer. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};

/// An address, or all addresses with the same first bits, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address belongs to it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, other) = (wide(self.address), wide(address.to_canonical()));
        let same_family = self.address.is_ipv4() == address.to_canonical().is_ipv4();
        let kept = u32::from(self.bits) + if self.address.is_ipv4() { 96 } else { 0 };
        same_family && (kept == 0 || (own ^ other) >> (128 - kept) == 0)
    }
}

/// The bits of an address, those of IPv4 at the end.
fn wide(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address or a network; write one such as `10.0.0.1` or `10.0.0.0/8`");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.trim().parse().map_err(|_| wrong()))?;
        if bits <= most { Ok(Self { address, bits }) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        match self.bits {
            bits if bits == whole => write!(f, "{}", self.address),
            bits => write!(f, "{}/{bits}", self.address),
        }
    }
}

/// Where a request comes from, and whether it came encrypted as far as a proxy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The address.
    pub address: IpAddr,
    /// What the proxy says about its own connection; `None` when there is no proxy that is believed.
    pub encrypted: Option<bool>,
}

/// Returns where a request comes from. The addresses that proxies have added are followed from the last one back, as
/// long as they are trusted: what stands before them anybody may have written.
pub fn origin(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Origin {
    let peer = peer.to_canonical();
    let believed = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if !believed(peer) {
        return Origin { address: peer, encrypted: None };
    }
    let mut address = peer;
    for said in list(headers, "x-forwarded-for").rev() {
        let Some(said) = read(said) else { break };
        address = said;
        if !believed(said) {
            break;
        }
    }
    let encrypted = list(headers, "x-forwarded-proto").next_back().map(|word| word.eq_ignore_ascii_case("https"));
    Origin { address, encrypted }
}

/// The values of a header that may be repeated, separated by commas.
fn list<'h>(headers: &'h HeaderMap, name: &'static str) -> impl DoubleEndedIterator<Item = &'h str> {
    let values: Vec<&str> = headers
        .get_all(HeaderName::from_static(name))
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .collect();
    values.into_iter()
}

/// An address as proxies write it: alone, or with a port.
fn read(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    let address = text.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|both| both.ip()));
    address.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()).map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    #[test]
    fn a_network_holds_the_addresses_with_its_first_bits() {
        for (text, address, inside) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("::/0", "2001:db8::1", true),
        ] {
            assert_eq!(network(text).contains(ip(address)), inside, "{address} in {text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "x", "::/129", "10.0.0.1/-1"] {
            text.parse::<Network>().expect_err(text);
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_as_far_as_they_reach() {
        let trusted = [network("10.0.0.0/8")];
        let from = |peer: &str, said: &str| {
            let headers =
                HeaderMap::from_iter([("x-forwarded-for".parse().expect("a name"), said.parse().expect("a value"))]);
            origin(ip(peer), &headers, &trusted).address
        };
        assert_eq!(from("192.0.2.1", "127.0.0.1"), ip("192.0.2.1"), "a stranger says what it likes");
        assert_eq!(from("10.0.0.1", "192.0.2.7"), ip("192.0.2.7"));
        assert_eq!(from("10.0.0.1", "127.0.0.1, 192.0.2.7, 10.0.0.2"), ip("192.0.2.7"), "what stands before is forged");
        assert_eq!(from("10.0.0.1", "\"[2001:db8::1]:443\""), ip("2001:db8::1"));
        assert_eq!(from("10.0.0.1", "unknown"), ip("10.0.0.1"));
    }
}
