//! The addresses of other services: Redis, upstream, the store of the history, nodes to probe, Alertmanagers. Any of
//! them may have a password in it, so that no refusal shows one as it is.

use super::HistoryStore;
use super::credentials::Secret;
use super::given::{Given, Refusal, quoted_for_a_person};
use super::value::Value;

/// Nodes to probe; more are a mistake.
#[cfg(feature = "upstream")]
const MOST_NODES: usize = 256;

/// Alertmanagers; more are a mistake.
#[cfg(feature = "upstream")]
const MOST_ALERTMANAGERS: usize = 16;

const REDIS_ACCEPTED: &str = "redis://[user:password@]host:port[/database], or where Sentinel knows the primary \
     redis+sentinel://[user:password@]host:port[,host:port...]/SERVICE[/database]; rediss for TLS";

/// The parts of an address of Redis.
struct RedisAddress<'a> {
    scheme: &'a str,
    /// User and password as they are written.
    login: Option<&'a str>,
    /// Host and port, or those of the sentinels.
    hosts: &'a str,
    /// What follows, with its slash.
    path: &'a str,
}

impl<'a> RedisAddress<'a> {
    /// Takes an address apart, or says what is wrong with it.
    fn parse(text: &'a str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("not an address of Redis")?;
        let is_sentinel = match scheme {
            "redis" | "rediss" => false,
            "redis+sentinel" | "rediss+sentinel" => true,
            _ => return Err("an address with a scheme that is none of Redis"),
        };
        if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("an address with a blank or a control character in it");
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if path.contains('@') {
            return Err(
                "an address with a raw `/`, `?` or `#` in its user or password: write %2F, %3F and %23 there (percent-encoding)",
            );
        }
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        if login.is_some_and(|login| !is_percent_encoded(login)) {
            return Err(
                "an address with a raw `%` in its user or password: write %25 there (percent-encoding)",
            );
        }
        if path.contains('?') {
            return Err(
                "an address with a query: the database is the path, as in redis://host:6379/3",
            );
        }
        if path.contains('#') {
            return Err(
                "an address with a `#`: in a user or password write %23 (percent-encoding)",
            );
        }
        let address = Self {
            scheme,
            login,
            hosts,
            path,
        };
        address.check_hosts(is_sentinel)?;
        address.check_path(is_sentinel)?;
        Ok(address)
    }

    fn check_hosts(&self, is_sentinel: bool) -> Result<(), &'static str> {
        let usable = match is_sentinel {
            true => self.hosts.split(',').all(is_host_and_port),
            false => is_host_and_port(self.hosts),
        };
        let wrong =
            "an address without a usable host and port (IPv6 in brackets, a port from 1 to 65535)";
        usable.then_some(()).ok_or(wrong)
    }

    fn check_path(&self, is_sentinel: bool) -> Result<(), &'static str> {
        let path = self.path.strip_prefix('/').unwrap_or_default();
        let database = match (is_sentinel, path.split_once('/')) {
            (false, _) => path,
            (true, None) if !path.is_empty() => "",
            (true, Some((service, database))) if !service.is_empty() => database,
            (true, _) => {
                return Err("an address without the name of the service that Sentinel knows");
            }
        };
        let usable = database.is_empty()
            || (database.bytes().all(|byte| byte.is_ascii_digit())
                && database.parse::<u16>().is_ok());
        let wrong = "an address whose path is no number of a database";
        usable.then_some(()).ok_or(wrong)
    }
}

/// Whether every `%` begins an encoded byte (RFC 3986, section 2.1).
fn is_percent_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(text) => match text.split_once(']') {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port),
            _ => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let is_name = |c: char| c.is_alphanumeric() || "._-".contains(c);
    !host.is_empty()
        && host.chars().all(is_name)
        && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// The address of a Redis.
pub(super) fn redis_url(given: &Given<'_>) -> Result<Secret, Refusal> {
    let Value::Text(text) = given.0 else {
        return Err(given.refused(REDIS_ACCEPTED));
    };
    match RedisAddress::parse(text) {
        Ok(_) => Ok(Secret::new(text)),
        Err(wrong) => Err(Refusal::new(wrong, REDIS_ACCEPTED)),
    }
}

/// The address of a Redis without its password.
#[must_use]
pub fn without_password(redis_url: &Secret) -> String {
    let Ok(address) = RedisAddress::parse(redis_url.expose()) else {
        return "[not an address]".to_owned();
    };
    let login = match address
        .login
        .map(|login| login.split_once(':').unwrap_or((login, "")))
    {
        None => String::new(),
        Some((user, "")) => format!("{user}@"),
        Some((user, _)) => format!("{user}:***@"),
    };
    let RedisAddress {
        scheme,
        hosts,
        path,
        ..
    } = address;
    format!("{scheme}://{login}{hosts}{path}")
}

/// An address for a person, of which nothing is shown that may be a user, a password or a token: what
/// stands before an `@`, after a colon where a port would be, and in a query.
fn shown(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let (login, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("***@", rest),
        None => ("", rest),
    };
    let (rest, query) = match rest.split_once(['?', '#']) {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match host.split_once(':') {
        Some((host, port)) if !is_host_and_port(&format!("h:{port}")) && !host.starts_with('[') => {
            format!("{host}:***")
        }
        _ => host.to_owned(),
    };
    quoted_for_a_person(&format!("{scheme}{login}{host}{path}{query}"))
}

/// The address of the upstream API, or of the dashboard; its path ends in `/`, so that others are looked up below
/// it.
#[cfg(feature = "upstream")]
pub(super) fn base_endpoint(given: &Given<'_>) -> Result<url::Url, Refusal> {
    let accepted = "an http:// or https:// address without user, password, query and fragment";
    let text = given.text()?;
    base(text).ok_or_else(|| Refusal::new(shown(text), accepted))
}

/// The addresses of Alertmanagers; their paths end in `/`.
#[cfg(feature = "upstream")]
pub(super) fn alertmanager_urls(given: &Given<'_>) -> Result<Vec<url::Url>, Refusal> {
    let accepted = "a list of at most 16 http:// or https:// addresses without user, password and query, such as http://alertmanager:9093/, each once";
    let mut urls = Vec::new();
    for item in given.items(accepted)? {
        let Value::Text(text) = &item else {
            return Err(Given(&item).refused(accepted).in_a_list());
        };
        let url = base(text).filter(|url| !urls.contains(url));
        urls.push(url.ok_or_else(|| Refusal::new(shown(text), accepted).in_a_list())?);
    }
    match urls.len() {
        0..=MOST_ALERTMANAGERS => Ok(urls),
        many => Err(Refusal::new(
            format!("a list of {many} addresses"),
            accepted,
        )),
    }
}

/// An address below which others are; its path ends in `/`.
#[cfg(feature = "upstream")]
fn base(text: &str) -> Option<url::Url> {
    let mut url = http_url(text).filter(|url| url.query().is_none() && url.fragment().is_none())?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Some(url)
}

/// Addresses that are asked whether a node is well.
#[cfg(feature = "upstream")]
pub(super) fn nodes_to_probe(given: &Given<'_>) -> Result<Vec<url::Url>, Refusal> {
    let accepted = "a list of at most 256 http:// or https:// addresses without user and password, such as http://10.0.0.7:9000/healthz";
    let items = given.items(accepted)?;
    if items.len() > MOST_NODES {
        let found = format!("a list of {} addresses", items.len());
        return Err(Refusal::new(found, accepted));
    }
    let address = |item: &Value| match item {
        Value::Text(text) => {
            http_url(text).ok_or_else(|| Refusal::new(shown(text), accepted).in_a_list())
        }
        _ => Err(Given(item).refused(accepted).in_a_list()),
    };
    items.iter().map(address).collect()
}

#[cfg(feature = "upstream")]
fn http_url(text: &str) -> Option<url::Url> {
    let url = url::Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none();
    plain.then_some(url)
}

/// Where the history is kept.
pub(super) fn history_store(given: &Given<'_>) -> Result<Option<HistoryStore>, Refusal> {
    let text = given.text()?;
    let store = match text.split_once("://") {
        _ if text.contains(char::is_control) => None,
        None if text == "none" => Some(None),
        None => Some(Some(HistoryStore::Folder(text.to_owned()))),
        Some(("s3", rest)) => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_matches('/').to_owned();
            is_bucket(bucket).then(|| {
                Some(HistoryStore::S3 {
                    bucket: bucket.to_owned(),
                    prefix,
                })
            })
        }
        Some(_) => None,
    };
    let accepted = "a folder, `s3://bucket[/prefix]` (the keys are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) or `none`";
    store.ok_or_else(|| Refusal::new(shown(text), accepted))
}

/// Whether `text` may be a bucket's name
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).
fn is_bucket(text: &str) -> bool {
    (3..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A store as the setting has it.
pub(super) fn history_notation(store: Option<&HistoryStore>) -> String {
    match store {
        None => "none".to_owned(),
        Some(HistoryStore::Folder(folder)) => folder.clone(),
        Some(HistoryStore::S3 { bucket, prefix }) if prefix.is_empty() => format!("s3://{bucket}"),
        Some(HistoryStore::S3 { bucket, prefix }) => format!("s3://{bucket}/{prefix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Option<&'static str> {
        RedisAddress::parse(text).err()
    }

    #[test]
    fn an_address_of_redis_has_a_host() {
        for good in [
            "redis://localhost",
            "redis://127.0.0.1:6379/2",
            "redis://h/",
            "rediss://user:p%40ss@redis.example:6380",
            "redis://:password@[::1]:6379",
            "redis://:p@ss@h",
            "redis+sentinel://sentinel/main",
            "rediss+sentinel://user:p%40ss@a:26379,[::1]:26379/main/2",
        ] {
            assert_eq!(wrong(good), None, "{good}");
        }
        for bad in [
            "",
            "localhost:6379",
            "http://localhost",
            "unix:///run/redis.sock",
            "redis://",
            "redis://:6379",
            "redis://user:password@",
            "redis:///0",
            "redis://h:99999",
            "redis://h:0",
            "redis://h:",
            "redis://h:+1",
            "redis://::1:6379",
            "redis://[::1",
            "redis://[h]:1",
            "redis://h,i",
            "redis://h/x",
            "redis://h/70000",
            "redis://h/+1",
            "redis://h/1/2",
            "redis+sentinel://a:26379",
            "redis+sentinel://a:26379//2",
            "redis+sentinel://a,/main",
            "redis+sentinel://user:password@/main",
            "redis+sentinel://a:99999/main",
            "redis+sentinel://a/main/x",
            "redis://a b",
            "redis://me:a b@h",
            "redis://me:a\u{1}b@h",
        ] {
            assert!(wrong(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn what_has_to_be_percent_encoded_is_told() {
        for (text, told) in [
            ("redis://:a/b@h:6379", "%2F"),
            ("redis://:a#b@h:6379", "%23"),
            ("redis://:a?b@h:6379", "%3F"),
            ("redis://:a%b@h:6379", "%25"),
            ("redis://:a%@h:6379", "%25"),
            ("redis+sentinel://:a/b@h/main", "%2F"),
            ("redis://h:6379?db=3", "the path"),
            ("redis://h:6379/?db=3", "the path"),
            ("redis://h:6379/#3", "%23"),
        ] {
            let problem = wrong(text).expect(text);
            assert!(problem.contains(told), "{text}: {problem}");
        }
    }

    #[test]
    fn a_password_is_hidden_and_the_rest_is_shown() {
        for (url, shown) in [
            ("redis://me:secret@h:1/2", "redis://me:***@h:1/2"),
            ("redis://:se:cr@et@h:1", "redis://:***@h:1"),
            ("redis://me@h", "redis://me@h"),
            ("rediss://h", "rediss://h"),
            (
                "redis+sentinel://:secret@a:1,b:2/main/3",
                "redis+sentinel://:***@a:1,b:2/main/3",
            ),
            ("redis+sentinel://a,b/main", "redis+sentinel://a,b/main"),
            ("redis://:secret@h:x", "[not an address]"),
        ] {
            assert_eq!(without_password(&Secret::new(url)), shown);
        }
    }

    #[test]
    fn nothing_that_may_be_a_password_is_shown() {
        for (text, told) in [
            ("ftp://example.com", "`ftp://example.com`"),
            ("example.com:80/x", "`example.com:80/x`"),
            ("https://user:secret@h/x", "`https://***@h/x`"),
            ("https:/user:secret@h/x", "`***@h/x`"),
            ("https://user:sec/ret@h", "`https://***@h`"),
            ("https://user:secret", "`https://user:***`"),
            ("user:secret", "`user:***`"),
            ("https://h/x?token=secret", "`https://h/x?***`"),
            ("https://h/x#secret", "`https://h/x?***`"),
            ("s3://key:secret@bucket/x", "`s3://***@bucket/x`"),
        ] {
            assert_eq!(shown(text), told);
        }
    }
}
