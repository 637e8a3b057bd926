//! The addresses that `up` is given.

use std::net::TcpStream;

use anyhow::{Context, Result};

/// Reads the address of an upstream API; the refresher checks the rest of it.
pub(super) fn http(text: &str) -> Result<String, &'static str> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let host = rest.filter(|rest| !rest.is_empty());
    host.map(|_| text.to_owned())
        .ok_or("it must begin with http:// or https:// and a host")
}

/// The address of a Redis; it may hold a password, so it is never shown.
#[derive(Clone)]
pub(super) struct RedisUrl {
    /// The whole address.
    pub(super) url: String,
    scheme: &'static str,
    host_and_port: String,
}

impl RedisUrl {
    /// Reads `redis://[user:password@]host[:port][/database]`, or `rediss://`.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let mut schemes = ["redis://", "rediss://"].into_iter();
        let scheme = schemes.find(|scheme| url.starts_with(scheme));
        let scheme = scheme.ok_or("it must begin with redis:// or rediss://")?;
        let authority = url[scheme.len()..]
            .split(['/', '?', '#'])
            .next()
            .unwrap_or_default();
        let place = authority.rsplit('@').next().unwrap_or_default();
        if place.is_empty() || place.starts_with(':') {
            return Err("it names no host");
        }
        // In `[::1]` the colons are the host's.
        let has_port = place
            .rsplit(']')
            .next()
            .is_some_and(|end| end.contains(':'));
        let port = if has_port { "" } else { ":6379" };
        let host_and_port = format!("{place}{port}");
        let url = url.to_owned();
        Ok(Self {
            url,
            scheme,
            host_and_port,
        })
    }

    /// The address without user, password and database: what the manifest lets the component reach.
    pub(super) fn place(&self) -> String {
        format!("{}{}", self.scheme, self.host_and_port)
    }

    /// Fails if nothing listens there.
    pub(super) fn check(&self) -> Result<()> {
        let connected = TcpStream::connect(&self.host_and_port);
        connected.with_context(|| format!("--redis: no Redis at {}", self.host_and_port))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_reached_is_said_without_password_and_database() {
        let place = |url| RedisUrl::parse(url).map(|redis| redis.place());
        let is = |url, expected: &str| assert_eq!(place(url), Ok(expected.to_owned()), "{url}");
        is("redis://127.0.0.1:7000", "redis://127.0.0.1:7000");
        is("redis://cache", "redis://cache:6379");
        is(
            "rediss://u:p@ss:w@cache.example.com:6380/2",
            "rediss://cache.example.com:6380",
        );
        is("redis://[::1]/1", "redis://[::1]:6379");
        is("redis://[::1]:7000", "redis://[::1]:7000");
        for url in [
            "cache:6379",
            "http://cache",
            "redis://",
            "redis://:6379",
            "redis://user@/0",
        ] {
            assert!(place(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_redis_that_is_not_there_is_told_without_its_password() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let redis = RedisUrl::parse(&format!("redis://:secret@{address}")).unwrap();
        redis.check().unwrap();
        drop(listener);
        let error = format!("{:#}", redis.check().unwrap_err());
        assert!(
            error.contains(&address) && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn an_upstream_is_a_web_address() {
        assert!(http("https://incidents.example.com/api").is_ok());
        assert!(http("incidents.example.com").is_err());
        assert!(http("https://").is_err());
    }
}
