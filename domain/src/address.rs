//! IP addresses: one thing, however they are spelled.

use std::net::{IpAddr, Ipv6Addr};

/// The address that `text` spells. Blanks at its edges, the case of its digits, IPv6's long and short
/// forms, brackets around IPv6 and the prefix of a single address (`/32`, `/128`) make no difference,
/// and an IPv4 address that is mapped into IPv6 (`::ffff:17.1.2.3`, RFC 4291, section 2.5.5.2) is that
/// IPv4 address.
///
/// `None` for what is no address: also for a network, and for parts with leading zeros, which some
/// read as octal.
#[must_use]
pub fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let (text, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = match bracketed {
        Some(text) => text.parse::<Ipv6Addr>().ok()?.into(),
        None => text.parse::<IpAddr>().ok()?,
    };
    let whole = if address.is_ipv4() { "32" } else { "128" };
    prefix
        .is_none_or(|prefix| prefix == whole)
        .then(|| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_address_is_that_address() {
        for (address, spellings) in [
            (
                "17.1.2.3",
                &[
                    "17.1.2.3",
                    " 17.1.2.3\t",
                    "\u{a0}17.1.2.3\n",
                    "17.1.2.3/32",
                    "::ffff:17.1.2.3",
                    "::FFFF:1101:203",
                    "[::ffff:17.1.2.3]",
                    "::ffff:17.1.2.3/128",
                ][..],
            ),
            (
                "2001:db8::1",
                &[
                    "2001:db8::1",
                    "2001:DB8:0:0:0:0:0:1",
                    "2001:0db8::0001",
                    "[2001:db8::1]",
                    " 2001:db8::1/128 ",
                ][..],
            ),
        ] {
            for spelling in spellings {
                let parsed = parse(spelling).map(|address| address.to_string());
                assert_eq!(parsed.as_deref(), Some(address), "{spelling:?}");
            }
        }
    }

    #[test]
    fn what_is_no_single_address_is_none() {
        for text in [
            "",
            " ",
            "host",
            "17.1.2",
            "17.1.2.3.4",
            "017.1.2.3",
            "17.1.2.256",
            "17.1.2.3/31",
            "17.1.2.3/",
            "17.1.2.3/032",
            "2001:db8::1/32",
            "2001:db8::/64",
            "fe80::1%eth0",
            "[17.1.2.3]",
            "[2001:db8::1",
            "17.1.2.3:80",
            "1 7.1.2.3",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
