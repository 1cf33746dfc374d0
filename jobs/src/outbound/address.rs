//! Which addresses are reachable from anywhere. Follows the IANA special-purpose registries (RFC 6890 and its
//! successors); what they do not list is public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is reachable from anywhere.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = a == 0
        || a >= 240
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        // Relays to 6to4, given up by RFC 7526: any network may answer there.
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b));
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, ..] = ip.segments();
    // An address that carries an IPv4 address (mapped, compatible, NAT64, 6to4) is judged by that one.
    let carried = match (a, b) {
        (0, 0) => ip.to_ipv4(),
        // 64:ff9b::/96 alone is the same everywhere; 64:ff9b:1::/48 is each network's own (RFC 8215).
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => Some(last_v4(ip)),
        (0x2002, _) => Some(Ipv4Addr::from((u32::from(b) << 16) | u32::from(c))),
        _ => None,
    };
    match carried {
        Some(v4) => !ip.is_loopback() && !ip.is_unspecified() && is_public_v4(v4),
        // Global unicast is 2000::/3. Within it 2001::/23 is for protocols, 2001:db8::/32 and 3fff::/20 are for
        // documentation.
        None => (a & 0xe000) == 0x2000 && !(a == 0x2001 && (b < 0x200 || b == 0xdb8)) && !(a == 0x3fff && b < 0x1000),
    }
}

fn last_v4(ip: Ipv6Addr) -> Ipv4Addr {
    let [.., g, h] = ip.segments();
    Ipv4Addr::from((u32::from(g) << 16) | u32::from(h))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().expect(text))
    }

    #[test]
    fn only_public_addresses_are_public() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "100::1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "5f00::1",
        ] {
            assert!(!public(text), "{text}");
        }
        for text in ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
        {
            assert!(public(text), "{text}");
        }
    }

    #[test]
    fn blocks_end_where_their_registry_says() {
        for (inside, outside) in [
            (["192.88.99.0", "192.88.99.255"], ["192.88.98.255", "192.88.100.0"]),
            (["3fff::", "3fff:fff:ffff::1"], ["3ffe:ffff::", "3fff:1000::"]),
            (["2001:db8::", "2001:db8:ffff::"], ["2001:db7:ffff::", "2001:db9::"]),
        ] {
            assert_eq!((inside.map(public), outside.map(public)), ([false; 2], [true; 2]), "{inside:?} {outside:?}");
        }
        for text in ["64:ff9b:1::", "64:ff9b:1::101:101", "64:ff9b:1:ffff::1", "64:ff9b:0:0:1::101:101"] {
            assert!(!public(text), "{text} belongs to the network that it is in");
        }
        assert!(!public("2002:c058:6301::"), "a carried relay is judged as the relay");
    }
}
