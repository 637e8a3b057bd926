//! The addresses that `up` is given.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Longer than a Redis near by needs to accept a connection.
const LIMIT: Duration = Duration::from_secs(3);

/// Reads the address of an upstream API; the refresher checks the rest of it.
pub(super) fn http(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() => Ok(text.to_owned()),
        _ => Err("it must begin with http:// or https:// and a host".to_owned()),
    }
}

/// The address of a Redis; it may hold a password, so it is never shown.
#[derive(Clone)]
pub(super) struct RedisUrl {
    url: String,
    host_and_port: String,
}

impl RedisUrl {
    /// Reads `redis://[user:password@]host[:port][/database]`, or `rediss://`.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("redis://")
            .or_else(|| url.strip_prefix("rediss://"))
            .ok_or("it must begin with redis:// or rediss://")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let place = authority.rsplit('@').next().unwrap_or_default();
        if place.is_empty() || place.starts_with(':') {
            return Err("it names no host".to_owned());
        }
        // In `[::1]` the colons are the host's.
        let has_port = place
            .rsplit(']')
            .next()
            .is_some_and(|end| end.contains(':'));
        let host_and_port = if has_port {
            place.to_owned()
        } else {
            format!("{place}:6379")
        };
        Ok(Self {
            url: url.to_owned(),
            host_and_port,
        })
    }

    /// The whole address.
    pub(super) fn as_str(&self) -> &str {
        &self.url
    }

    /// The address without user, password and database: what the manifest lets the component reach.
    pub(super) fn place(&self) -> String {
        let scheme = self.url.split("://").next().unwrap_or_default();
        format!("{scheme}://{}", self.host_and_port)
    }

    pub(super) fn check(&self) -> Result<()> {
        let place = &self.host_and_port;
        let addresses = place
            .to_socket_addrs()
            .with_context(|| format!("--redis: cannot find {place}"))?;
        let mut problem = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, LIMIT) {
                Ok(_) => return Ok(()),
                Err(error) => problem = Some(error),
            }
        }
        match problem {
            Some(error) => bail!("--redis: no Redis at {place}: {error}"),
            None => bail!("--redis: cannot find {place}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_redis_is_found_in_its_address() {
        let place = |url| RedisUrl::parse(url).map(|redis| redis.host_and_port).ok();
        let is = |url, expected: &str| assert_eq!(place(url).as_deref(), Some(expected), "{url}");
        is("redis://127.0.0.1:7000", "127.0.0.1:7000");
        is("redis://cache", "cache:6379");
        is(
            "rediss://user:p@ss:word@cache.example.com:6380/2",
            "cache.example.com:6380",
        );
        is("redis://[::1]/1", "[::1]:6379");
        is("redis://[::1]:7000", "[::1]:7000");
        for url in [
            "cache:6379",
            "http://cache",
            "redis://",
            "redis://:6379",
            "redis://user@/0",
        ] {
            assert_eq!(place(url), None, "{url}");
        }
    }

    #[test]
    fn what_may_be_reached_is_said_without_password_and_database() {
        let place = |url| RedisUrl::parse(url).map(|redis| redis.place());
        let bare = Ok("redis://cache:7000".to_owned());
        assert_eq!(place("redis://user:p@ss@cache:7000/2"), bare);
        assert_eq!(place("redis://cache:7000"), bare);
        assert_eq!(
            place("rediss://:p@cache"),
            Ok("rediss://cache:6379".to_owned())
        );
    }

    #[test]
    fn a_redis_that_is_not_there_is_told_without_its_password() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let redis = RedisUrl::parse(&format!("redis://:secret@{address}")).unwrap();
        redis.check().unwrap();
        drop(listener);
        let error = redis.check().unwrap_err().to_string();
        assert!(
            error.contains(&address.to_string()) && !error.contains("secret"),
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
