//! Which Redis servers the component may reach: the manifest's `allowed_outbound_hosts`.

use thiserror::Error;
use url::{Host, Url};

/// The port of a `redis://` address that names none. As in Spin, `rediss://` has no such port.
const DEFAULT_REDIS_PORT: u16 = 6379;

/// Why an entry of `allowed_outbound_hosts` is refused. Never holds the entry: a value put into
/// it may carry a password.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum AllowedHostError {
    /// Another protocol, or no protocol at all.
    #[error(
        "only redis://HOST[:PORT] and rediss://HOST:PORT are understood here (nothing but Redis can be reached)"
    )]
    NotRedis,
    /// A pattern, where Spin would allow one.
    #[error("patterns (*, ranges, networks) are not understood here: name the host and the port")]
    Pattern,
    /// Something besides the host and the port.
    #[error(
        "it must be redis://HOST[:PORT] or rediss://HOST:PORT without user, password, path or database, as Spin has it"
    )]
    NotOnlyHostAndPort,
}

/// The Redis servers that the component may reach: none, unless the manifest says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllowedHosts(Vec<Place>);

/// A Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Whether it is reached by TLS alone, or without it alone.
    has_tls: bool,
    /// In the normal form: lower case, IPv4 in dotted form.
    host: Host,
    port: u16,
}

impl AllowedHosts {
    /// Reads the entries, with their templates already expanded. An empty one allows nothing, as
    /// Spin has it, so that an address may be left out.
    ///
    /// # Errors
    /// The first entry's that this host does not understand, with that entry's index.
    pub(crate) fn parse<'a>(
        entries: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, (usize, AllowedHostError)> {
        entries
            .into_iter()
            .enumerate()
            .filter(|(_, entry)| !entry.is_empty())
            .map(|(index, entry)| parse_entry(entry).map_err(|error| (index, error)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a connection to this address may be opened.
    pub(crate) fn allows(&self, address: &Url) -> bool {
        place(address).is_some_and(|wanted| self.0.contains(&wanted))
    }
}

fn parse_entry(entry: &str) -> Result<Place, AllowedHostError> {
    let entry = entry.trim();
    let (_, authority) = entry
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "redis" | "rediss"))
        .ok_or(AllowedHostError::NotRedis)?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains('*') || authority.contains("..") {
        return Err(AllowedHostError::Pattern);
    }
    if authority.contains(['/', '@', '?', '#']) {
        return Err(AllowedHostError::NotOnlyHostAndPort);
    }
    Url::parse(entry)
        .ok()
        .and_then(|url| place(&url))
        .ok_or(AllowedHostError::NotOnlyHostAndPort)
}

fn place(address: &Url) -> Option<Place> {
    let (has_tls, default) = match address.scheme() {
        "redis" => (false, Some(DEFAULT_REDIS_PORT)),
        "rediss" => (true, None),
        _ => return None,
    };
    Some(Place {
        has_tls,
        host: Host::parse(address.host_str()?).ok()?,
        port: address.port().or(default)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(entries: &[&str], address: &str) -> bool {
        AllowedHosts::parse(entries.iter().copied())
            .unwrap()
            .allows(&Url::parse(address).unwrap())
    }

    #[test]
    fn only_the_same_host_and_port_are_allowed() {
        let entries = ["redis://127.0.0.1:6380", "redis://Cache.Example"];
        for allowed in [
            "redis://127.0.0.1:6380",
            "redis://127.0.0.1:6380/3",
            "redis://user:secret@127.0.0.1:6380/",
            "redis://cache.example",
            "redis://CACHE.example:6379/1",
        ] {
            assert!(allows(&entries, allowed), "{allowed}");
        }
        for refused in [
            "redis://127.0.0.1",
            "redis://127.0.0.1:6381",
            "redis://127.0.0.2:6380",
            "redis://localhost:6380",
            "redis://cache.example:6380",
            "redis://evil.cache.example",
            "redis://cache.example.evil",
            "redis://cache.example@evil.example",
            "rediss://cache.example",
            "http://cache.example:6379",
            "unix:///run/redis.sock",
        ] {
            assert!(!allows(&entries, refused), "{refused}");
        }
    }

    #[test]
    fn tls_is_allowed_where_it_is_named_and_only_there() {
        let entries = ["rediss://cache.example:6380"];
        assert!(allows(&entries, "rediss://u:p@CACHE.example:6380/1"));
        for refused in [
            "redis://cache.example:6380",
            "rediss://cache.example",
            "rediss://cache.example:6379",
        ] {
            assert!(!allows(&entries, refused), "{refused}");
        }
        assert!(!allows(
            &["redis://cache.example:6380"],
            "rediss://cache.example:6380"
        ));
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        assert!(!allows(&[], "redis://127.0.0.1:6379"));
        assert!(!allows(&[""], "redis://127.0.0.1:6379"));
    }

    #[test]
    fn an_ipv6_address_is_understood() {
        assert!(allows(&["redis://[::1]:7000"], "redis://[0:0::1]:7000/2"));
        assert!(!allows(&["redis://[::1]:7000"], "redis://[::2]:7000"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (entry, error) in [
            ("127.0.0.1:6379", AllowedHostError::NotRedis),
            ("https://example.com", AllowedHostError::NotRedis),
            ("rediss://example.com", AllowedHostError::NotOnlyHostAndPort),
            (
                "redis+sentinel://example.com/main",
                AllowedHostError::NotRedis,
            ),
            ("redis://*:6379", AllowedHostError::Pattern),
            ("redis://*.example.com", AllowedHostError::Pattern),
            ("redis://example.com:1..9", AllowedHostError::Pattern),
            (
                "redis://u:p@example.com",
                AllowedHostError::NotOnlyHostAndPort,
            ),
            (
                "redis://example.com/0",
                AllowedHostError::NotOnlyHostAndPort,
            ),
            ("redis://10.0.0.0/8", AllowedHostError::NotOnlyHostAndPort),
            (
                "redis://example.com:port",
                AllowedHostError::NotOnlyHostAndPort,
            ),
            ("redis://", AllowedHostError::NotOnlyHostAndPort),
        ] {
            let parsed = AllowedHosts::parse(["redis://good", entry]);
            assert_eq!(parsed, Err((1, error)), "{entry}");
        }
    }
}
