//! Whom a request comes from: the peer, or what a trusted proxy says.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::address;

/// More hops than this in a forwarding header are not looked at.
const MOST_HOPS: usize = 32;

/// The header in which proxies say for whom they ask; its name is in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardingHeader(String);

impl Default for ForwardingHeader {
    fn default() -> Self {
        Self("x-forwarded-for".to_owned())
    }
}

impl ForwardingHeader {
    /// The header of this name, if it is one that may tell a client's address: `Forwarded` (RFC 7239), or
    /// one that is named like `X-Forwarded-For`, `X-Real-IP` or `X-Envoy-External-Address`. What Spin
    /// itself says of the peer is none: only a host writes it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let is_name = name.len() <= 64
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let tells_an_address = name == "forwarded"
            || ["-for", "-ip", "-clientip", "-addr", "-address"]
                .iter()
                .any(|ending| name.ends_with(ending));
        (is_name && tells_an_address && !name.starts_with("spin-")).then_some(Self(name))
    }

    /// Its name, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The last hops that one line of the header names, the last first; `None` for one that is no
    /// address.
    fn last_hops(&self, line: &str) -> Vec<Option<IpAddr>> {
        if self.0 != "forwarded" {
            return line.rsplit(',').take(MOST_HOPS).map(parse_hop).collect();
        }
        // Where a quote is never closed, nobody knows what belongs to what.
        let elements = split_outside_quotes(line, ',').unwrap_or_else(|| vec![""]);
        let last = elements.into_iter().rev().take(MOST_HOPS);
        last.map(forwarded_for).collect()
    }
}

/// The client's address for counting and logging.
///
/// `peer` is who holds the connection. Only if it is one of `trusted` is `forwarded` (the lines of
/// `header`, in their order) believed: the last address in it that is not itself a trusted proxy is the
/// client. A hop that is no address ends the search, so that a client can never be taken for somebody
/// else by what it wrote itself.
#[must_use]
pub fn client_address<'a>(
    peer: IpAddr,
    trusted: &[IpNet],
    header: &ForwardingHeader,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let hops = forwarded.rev().flat_map(|line| header.last_hops(line));
    for hop in hops.take(MOST_HOPS) {
        let Some(address) = hop else {
            break;
        };
        client = address;
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// An address as proxies write it: bare, with a port, or in brackets.
#[must_use]
pub fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim_ascii();
    let text = match text.strip_prefix('"') {
        Some(text) => text.strip_suffix('"')?,
        None => text,
    };
    address::parse(text).or_else(|| {
        let address: SocketAddr = text.parse().ok()?;
        Some(address.ip().to_canonical())
    })
}

/// Of an element of `Forwarded`, whom it was forwarded for (RFC 7239, section 4). `None` where it does not
/// say, says it twice, or only that it is `unknown` or has an obfuscated name (section 6).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    let pairs = split_outside_quotes(element, ';')?;
    for pair in pairs
        .into_iter()
        .filter(|pair| !pair.trim_ascii().is_empty())
    {
        let (name, value) = pair.split_once('=')?;
        if name.trim_ascii().eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    let value = found?.trim_ascii();
    match value.strip_prefix('"') {
        Some(quoted) => {
            let quoted = quoted.strip_suffix('"')?;
            parse_node(&quoted.replace('\\', ""))
        }
        None => parse_node(value),
    }
}

/// A node: an address, of IPv6 in brackets, maybe with a port, which may be obfuscated (RFC 7239,
/// section 6).
fn parse_node(text: &str) -> Option<IpAddr> {
    let port_at = match text.rfind(']') {
        Some(bracket) => text[bracket..].find(':').map(|colon| bracket + colon),
        None => text.find(':'),
    };
    let (name, port) = match port_at {
        Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
        None => (text, None),
    };
    let is_port = |port: &str| match port.strip_prefix('_') {
        Some(name) => !name.is_empty(),
        None => port.parse::<u16>().is_ok(),
    };
    let is_address = name.starts_with('[') || !name.contains(':');
    (is_address && !name.contains('/') && port.is_none_or(is_port))
        .then(|| address::parse(name))
        .flatten()
}

/// The parts of `text` between separators that are in no quoted string (RFC 9110, section 5.6.4); `None`
/// where a quote is never closed.
fn split_outside_quotes(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + character.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}

/// What requests are counted by: an IPv4 address, or the /64 of an IPv6 address, since one host
/// usually owns all of that (RFC 6177).
#[must_use]
pub fn counting_key(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(header: &str, peer: &str, trusted: &[&str], forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let header = ForwardingHeader::from_name(header).unwrap();
        let forwarded = forwarded.iter().copied();
        client_address(peer.parse().unwrap(), &trusted, &header, forwarded).to_string()
    }

    fn client(peer: &str, trusted: &[&str], forwarded: &[&str]) -> String {
        told("X-Forwarded-For", peer, trusted, forwarded)
    }

    #[test]
    fn a_backslash_escapes_within_quotes_only() {
        assert_eq!(
            split_outside_quotes(r#"a\,"b\",",c"#, ','),
            Some(vec![r"a\", r#""b\",""#, "c"])
        );
        assert_eq!(split_outside_quotes(r#""a\""#, ','), None);
    }

    #[test]
    fn headers_of_strangers_are_not_believed() {
        assert_eq!(client("203.0.113.9", &[], &["1.2.3.4"]), "203.0.113.9");
        assert_eq!(
            client("203.0.113.9", &["10.0.0.0/8"], &["1.2.3.4"]),
            "203.0.113.9"
        );
        assert_eq!(
            told(
                "Forwarded",
                "203.0.113.9",
                &["10.0.0.0/8"],
                &["for=1.2.3.4"]
            ),
            "203.0.113.9"
        );
    }

    #[test]
    fn the_last_untrusted_hop_is_the_client() {
        let trusted = ["10.0.0.0/8", "::1/128"];
        for (peer, forwarded, client_is) in [
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4"][..], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.9.9.9"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4:5678"], "1.2.3.4"),
            ("::ffff:10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("::1", &[], "::1"),
            ("10.0.0.1", &["1.2.3.4, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4, \"5.6.7.8\""], "5.6.7.8"),
            ("10.0.0.1", &["1.2.3.4, \"5.6.7.8"], "10.0.0.1"),
            ("10.0.0.1", &["1.2.3.4, [::2"], "10.0.0.1"),
        ] {
            assert_eq!(
                client(peer, &trusted, forwarded),
                client_is,
                "{forwarded:?}"
            );
        }
    }

    #[test]
    fn a_proxy_may_speak_rfc_7239() {
        let trusted = ["10.0.0.0/8", "2001:db8:cafe::/48"];
        for (lines, client_is) in [
            (
                &["for=192.0.2.60;proto=http;by=203.0.113.43"][..],
                "192.0.2.60",
            ),
            (&["For=192.0.2.43, for=198.51.100.17"], "198.51.100.17"),
            (&["for=192.0.2.43", "FOR=10.0.0.9"], "192.0.2.43"),
            (&["for=\"[2001:db8::17]:4711\""], "2001:db8::17"),
            (&["for=\"[2001:db8:cafe::17]\""], "2001:db8:cafe::17"),
            (
                &["for=192.0.2.43, for=\"[2001:db8:cafe::17]:4711\""],
                "192.0.2.43",
            ),
            (&["for=\"192.0.2.43:47011\""], "192.0.2.43"),
            (&["for=\"192.0.2.43:_port\""], "192.0.2.43"),
            (&["for=192.0.2.43:47011"], "192.0.2.43"),
            (&["proto=https; for = 192.0.2.43 "], "192.0.2.43"),
            (&["for=\"1\\92.0.2.43\""], "192.0.2.43"),
            (&["for=192.0.2.43;"], "192.0.2.43"),
            (&["for=192.0.2.43;host=\"a,b;for=6.6.6.6\""], "192.0.2.43"),
            // Whoever is not named ends the search at the proxy that says so.
            (&["for=192.0.2.43, for=unknown"], "10.0.0.1"),
            (&["for=192.0.2.43, for=_hidden"], "10.0.0.1"),
            (&["for=192.0.2.43, for=\"_SEVKISEK\""], "10.0.0.1"),
            (&["for=192.0.2.43, for=_hidden, for=10.0.0.9"], "10.0.0.9"),
            (&["for=192.0.2.43, proto=https"], "10.0.0.1"),
            (&["for=192.0.2.43, for=6.6.6.6;for=7.7.7.7"], "10.0.0.1"),
            (&["for=192.0.2.43, for=\"6.6.6.6"], "10.0.0.1"),
            (&["for=2001:db8::17"], "10.0.0.1"),
            (&["for=192.0.2.43:x"], "10.0.0.1"),
            (&["for=192.0.2.43/32"], "10.0.0.1"),
            (&["192.0.2.43"], "10.0.0.1"),
            (&["for="], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(
                told("Forwarded", "10.0.0.1", &trusted, lines),
                client_is,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn only_a_header_about_addresses_is_one() {
        for name in [
            "Forwarded",
            "X-Forwarded-For",
            "x-original-forwarded-for",
            "X-Real-IP",
            "CF-Connecting-IP",
            "True-Client-IP",
            "X-Azure-ClientIP",
            "X-Envoy-External-Address",
        ] {
            let header = ForwardingHeader::from_name(name).expect(name);
            assert_eq!(header.name(), name.to_lowercase());
        }
        for name in [
            "",
            "Host",
            "Authorization",
            "Cookie",
            "User-Agent",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "Via",
            "spin-client-addr",
            "X Forwarded-For",
            "X-Forwarded-For:",
        ] {
            assert_eq!(ForwardingHeader::from_name(name), None, "{name}");
        }
        let long = format!("x-{}-ip", "a".repeat(60));
        assert_eq!(ForwardingHeader::from_name(&long), None);
    }

    #[test]
    fn no_more_than_some_hops_are_looked_at() {
        let trusted = ["10.0.0.0/8"];
        let line = |hops| format!("1.2.3.4{}", ", 10.0.0.9".repeat(hops));
        assert_eq!(client("10.0.0.1", &trusted, &[&line(31)]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &trusted, &[&line(32)]), "10.0.0.9");
    }

    #[test]
    fn an_ipv6_host_is_counted_by_its_network() {
        assert_eq!(
            counting_key("2001:db8:1:2:3::4".parse().unwrap()),
            "2001:db8:1:2::/64"
        );
        assert_eq!(counting_key("::ffff:9.8.7.6".parse().unwrap()), "9.8.7.6");
    }

    proptest! {
        #[test]
        fn no_header_panics(text in ".{0,80}", syntax in "[for=\\\\\";,:_\\[\\]1.]{0,60}") {
            for header in ["Forwarded", "X-Forwarded-For"] {
                for text in [&text, &syntax] {
                    let _ = told(header, "10.0.0.1", &["10.0.0.0/8"], &[text]);
                }
            }
        }
    }
}
