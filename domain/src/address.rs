//! IP addresses: one thing, however they are spelled.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// The address that `text` spells, in its one form: blanks around it, brackets around IPv6, upper or
/// lower case, any of the forms of IPv6 (RFC 4291, section 2.2) and the prefix length of a single address
/// (`/32`, `/128`) make no difference, and an IPv4-mapped IPv6 address is the IPv4 address.
#[must_use]
pub fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let (text, length) = match text.split_once('/') {
        Some((text, length)) => (text, Some(length)),
        None => (text, None),
    };
    let address = match text.strip_prefix('[') {
        Some(text) => IpAddr::V6(text.strip_suffix(']')?.parse().ok()?),
        None => text.parse().ok()?,
    };
    let is_single = match (length, address) {
        (None, _) => true,
        (Some(length), IpAddr::V4(_)) => length == "32",
        (Some(length), IpAddr::V6(_)) => length == "128",
    };
    is_single.then(|| address.to_canonical())
}

/// The network that `text` spells, in its one form: an address alone is a network of one, and a network
/// of IPv4-mapped addresses is one of IPv4 addresses.
#[must_use]
pub fn parse_network(text: &str) -> Option<IpNet> {
    if let Some(address) = parse(text) {
        return Some(address.into());
    }
    let network: IpNet = text.trim().parse().ok()?;
    let IpNet::V6(network) = network else {
        return Some(network.trunc());
    };
    let mapped = network.addr().to_ipv4_mapped();
    match (mapped, network.prefix_len().checked_sub(96)) {
        (Some(address), Some(length)) => Some(ipv4_network(address, length)?.into()),
        _ => Some(IpNet::V6(network.trunc())),
    }
}

fn ipv4_network(address: Ipv4Addr, length: u8) -> Option<Ipv4Net> {
    Some(Ipv4Net::new(address, length).ok()?.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_is_one_thing_however_it_is_spelled() {
        for (one, spellings) in [
            (
                "17.9.1.2",
                &[
                    "17.9.1.2",
                    " 17.9.1.2\t",
                    "17.9.1.2/32",
                    "::ffff:17.9.1.2",
                    "::FFFF:1109:102",
                    "[::ffff:17.9.1.2]",
                    "0:0:0:0:0:ffff:17.9.1.2/128",
                ][..],
            ),
            (
                "2001:db8::1",
                &[
                    "2001:db8::1",
                    "2001:DB8::1",
                    "2001:0db8:0:0:0:0:0:1",
                    "2001:db8:0:0::0.0.0.1",
                    "[2001:db8::1]",
                    "\n2001:db8::1/128 ",
                ],
            ),
        ] {
            for spelling in spellings {
                let address = parse(spelling).map(|address| address.to_string());
                assert_eq!(address.as_deref(), Some(one), "{spelling}");
                let network = parse_network(spelling).map(|network| network.addr().to_string());
                assert_eq!(network.as_deref(), Some(one), "{spelling}");
            }
        }
        for none in [
            "",
            "17.9.1",
            "17.9.1.2/24",
            "17.9.1.2/032",
            "017.9.1.2",
            "17.9.1.2:80",
            "[17.9.1.2]",
            "[::1",
            "::1]",
            "::1/64",
            "fe80::1%eth0",
            "17.9.1.2,",
        ] {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_network_is_one_thing_however_it_is_spelled() {
        for (spelling, one) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            (" 10.1.2.3/8 ", "10.0.0.0/8"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
            ("2001:DB8::1/32", "2001:db8::/32"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("[::1]", "::1/128"),
        ] {
            let network = parse_network(spelling).map(|network| network.to_string());
            assert_eq!(network.as_deref(), Some(one), "{spelling}");
        }
        for none in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "/8",
            "::/129",
            "[::]/64",
            "a",
        ] {
            assert_eq!(parse_network(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_the_same_address(bits in any::<u128>(), four in any::<u32>()) {
            for address in [IpAddr::V6(bits.into()), IpAddr::V4(four.into())] {
                let one = address.to_canonical();
                for spelling in [address.to_string(), address.to_string().to_uppercase(), one.to_string()] {
                    prop_assert_eq!(parse(&spelling), Some(one));
                }
            }
        }
    }
}
