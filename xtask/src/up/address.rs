//! The addresses that `up` is given.

use std::net::TcpStream;

use anyhow::{Context, Result};

/// Reads the address of an upstream API; the refresher checks the rest of it.
pub(super) fn http(text: &str) -> Result<String, &'static str> {
    match text.split_once("://") {
        Some(("http" | "https", host)) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("it must begin with http:// or https:// and a host"),
    }
}

/// The address of a Redis; it may hold a password, so it is never shown.
#[derive(Clone)]
pub(super) struct RedisUrl {
    pub(super) url: String,
    scheme: String,
    host_and_port: String,
}

impl RedisUrl {
    /// Reads `redis://[user:password@]host[:port][/database]`, or `rediss://`.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let Some((scheme @ ("redis" | "rediss"), rest)) = url.split_once("://") else {
            return Err("it must begin with redis:// or rediss://");
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let place = authority.rsplit('@').next().unwrap_or_default();
        if place.is_empty() || place.starts_with(':') {
            return Err("it names no host");
        }
        // In `[::1]` the colons are the host's.
        let after_host = place.rsplit(']').next().unwrap_or_default();
        let port = if after_host.contains(':') {
            ""
        } else {
            ":6379"
        };
        Ok(Self {
            url: url.to_owned(),
            scheme: scheme.to_owned(),
            host_and_port: format!("{place}{port}"),
        })
    }

    /// The address without user, password and database: what the manifest lets the component reach.
    pub(super) fn place(&self) -> String {
        format!("{}://{}", self.scheme, self.host_and_port)
    }

    /// Fails if nothing listens there.
    pub(super) fn check(&self) -> Result<()> {
        let place = &self.host_and_port;
        TcpStream::connect(place).with_context(|| format!("--redis: no Redis at {place}"))?;
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
            "rediss://u:p@ss:w@cache.example:6380/2",
            "rediss://cache.example:6380",
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
        let redis = |address: &str| RedisUrl::parse(&format!("redis://:secret@{address}")).unwrap();
        redis(&address).check().unwrap();
        // A port that no other program is given.
        let address = "127.0.0.1:1";
        let error = format!("{:#}", redis(address).check().unwrap_err());
        assert!(
            error.contains(address) && !error.contains("secret"),
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
