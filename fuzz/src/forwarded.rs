//! The client's address: nobody is taken for somebody else by what he wrote himself.

use std::net::IpAddr;

use domain::settings::client_address::{ForwardingHeader, client_address, counting_key, parse_hop};
use domain::settings::{Settings, Sources};

/// Reads a peer's address, the trusted networks as the settings hold them, and the lines of a
/// forwarding header.
///
/// # Panics
/// When the client is not the one that a plain model finds.
pub fn check(data: &[u8]) {
    let [peer, trusted, lines] = super::parts(data);
    let Some(peer) = std::str::from_utf8(peer).ok().and_then(parse_hop) else {
        return;
    };
    let trusted = String::from_utf8_lossy(trusted).into_owned();
    let settings = Settings::read(&Sources {
        overrides: &|key| (key == "TRUSTED_PROXIES").then(|| trusted.clone().into()),
        ..Sources::file("")
    });
    let networks = settings.map_or_else(|_| Vec::new(), |settings| settings.trusted_proxies);
    let is_trusted = |address: &IpAddr| networks.iter().any(|network| network.contains(address));
    let lines = String::from_utf8_lossy(lines);
    let header = ForwardingHeader::default();
    let client = client_address(peer, &networks, &header, lines.lines());

    let hops: Vec<Option<IpAddr>> = lines
        .lines()
        .flat_map(|line| line.split(','))
        .map(parse_hop)
        .collect();
    let mut model = peer.to_canonical();
    for hop in hops.iter().rev().take(32) {
        match hop {
            Some(hop) if is_trusted(&model) => model = *hop,
            _ => break,
        }
    }
    assert_eq!(client, model);
    // The same hops in the words of RFC 7239 tell the same, and no words of it panic.
    let forwarded = ForwardingHeader::from_name("Forwarded").expect("it tells addresses");
    let elements: Vec<String> = hops.iter().copied().map(element).collect();
    let told = client_address(
        peer,
        &networks,
        &forwarded,
        [elements.join(", ").as_str()].into_iter(),
    );
    assert_eq!(told, model);
    let _ = client_address(peer, &networks, &forwarded, lines.lines());
    if !is_trusted(&peer.to_canonical()) {
        assert_eq!(client, peer.to_canonical());
    }
    check_key(client);
}

/// A hop as an element of `Forwarded`.
fn element(hop: Option<IpAddr>) -> String {
    match hop {
        Some(IpAddr::V4(address)) => format!("for={address};proto=https"),
        Some(IpAddr::V6(address)) => format!("proto=http;For=\"[{address}]:4711\""),
        None => "for=unknown".to_owned(),
    }
}

/// An IPv4 address is counted by itself, an IPv6 address with its /64.
fn check_key(client: IpAddr) {
    let key = counting_key(client);
    match client {
        IpAddr::V4(address) => assert_eq!(key, address.to_string()),
        IpAddr::V6(address) => {
            let neighbour = u128::from(address) ^ 0xffff;
            let stranger = u128::from(address) ^ (1 << 64);
            assert_eq!(key, counting_key(IpAddr::V6(neighbour.into())));
            // Unless it is an IPv4 address in disguise.
            if IpAddr::V6(stranger.into()).to_canonical().is_ipv6() {
                assert_ne!(key, counting_key(IpAddr::V6(stranger.into())));
            }
        }
    }
}
