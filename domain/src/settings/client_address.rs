//! Whom a request comes from: the peer, or what a trusted proxy says.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// More hops than this in a forwarding header are not looked at.
const MOST_HOPS: usize = 32;

/// The client's address for counting and logging.
///
/// `peer` is who holds the connection. Only if it is one of `trusted` is `forwarded` (the values
/// of `X-Forwarded-For`, in their order) believed: the last address in it that is not itself a
/// trusted proxy is the client. A value that is no address ends the search, so that a client can
/// never be taken for somebody else by what it wrote itself.
#[must_use]
pub fn client_address<'a>(
    peer: IpAddr,
    trusted: &[IpNet],
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    for hop in forwarded
        .flat_map(|value| value.split(','))
        .rev()
        .take(MOST_HOPS)
    {
        let Some(address) = parse_hop(hop) else {
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
    let text = text.trim().trim_matches('"');
    text.parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .or_else(|_| {
            text.trim_start_matches('[')
                .trim_end_matches(']')
                .parse::<Ipv6Addr>()
                .map(IpAddr::V6)
        })
        .ok()
        .map(|address| address.to_canonical())
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

    fn client(peer: &str, trusted: &[&str], forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        client_address(peer.parse().unwrap(), &trusted, forwarded.iter().copied()).to_string()
    }

    #[test]
    fn headers_of_strangers_are_not_believed() {
        assert_eq!(client("203.0.113.9", &[], &["1.2.3.4"]), "203.0.113.9");
        assert_eq!(
            client("203.0.113.9", &["10.0.0.0/8"], &["1.2.3.4"]),
            "203.0.113.9"
        );
    }

    #[test]
    fn the_last_untrusted_hop_is_the_client() {
        let trusted = ["10.0.0.0/8", "::1/128"];
        assert_eq!(
            client("10.0.0.1", &trusted, &["6.6.6.6, 1.2.3.4"]),
            "1.2.3.4"
        );
        assert_eq!(
            client("10.0.0.1", &trusted, &["6.6.6.6, 1.2.3.4, 10.9.9.9"]),
            "1.2.3.4"
        );
        assert_eq!(
            client("10.0.0.1", &trusted, &["6.6.6.6", "1.2.3.4:5678"]),
            "1.2.3.4"
        );
        assert_eq!(
            client("::ffff:10.0.0.1", &trusted, &["[2001:db8::1]:443"]),
            "2001:db8::1"
        );
        assert_eq!(client("::1", &trusted, &[]), "::1");
        assert_eq!(
            client("10.0.0.1", &trusted, &["1.2.3.4, nonsense"]),
            "10.0.0.1"
        );
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
        fn no_header_panics(text in ".{0,80}") {
            let _ = client("10.0.0.1", &["10.0.0.0/8"], &[&text]);
        }
    }
}
