//! Second station: how often this client may ask. It comes before the password, so that guessing
//! is limited too.

use domain::contract::record::Document;
use domain::settings::Settings;
use domain::settings::client_address::{client_address, counting_key, parse_hop};
use domain::settings::rate_limit::RateLimit;
use http::{HeaderMap, StatusCode};

use crate::problem::Problem;
use crate::router::Resource;

/// The field in which the host says who holds the connection. It appends it to the client's own
/// fields, so that only the last one is the host's.
const PEER: &str = "spin-client-addr";

/// The largest number of a structured field (RFC 9651, section 3.3.1).
const LARGEST: u64 = 999_999_999_999_999;

/// Which requests are counted together.
pub(crate) struct Scope<'a> {
    /// The resource: each is counted for itself.
    pub(crate) name: &'static str,
    /// What its clients are allowed.
    pub(crate) limits: &'a [RateLimit],
    /// The wrong passwords that a client may send: these are counted over all resources together.
    pub(crate) failure_limits: &'a [RateLimit],
    /// Whose requests.
    pub(crate) client: String,
}

impl<'a> Scope<'a> {
    /// What a request for `resource` with these `headers` counts towards.
    pub(crate) fn of(resource: Resource<'_>, headers: &HeaderMap, settings: &'a Settings) -> Self {
        let (name, limits) = match resource {
            Resource::Document(Document::Report) => ("incidents", &settings.incidents_rate_limits),
            Resource::Document(other) => (other.name(), &settings.incidents_rate_limits),
            Resource::Employee(_) => ("employee", &settings.incidents_rate_limits),
            Resource::Status => ("status", &settings.default_rate_limits),
            Resource::Shutdown => ("shutdown", &settings.default_rate_limits),
        };
        Self {
            name,
            limits,
            failure_limits: &settings.wrong_password_limits,
            client: client(headers, settings),
        }
    }

    /// The answer to a request that is one too many, of the limit at the place `limit`.
    pub(crate) fn too_many(&self, limit: usize, wait_ms: u64) -> Problem {
        let wait_s = seconds(wait_ms);
        let Some(limit) = self.limits.get(limit) else {
            return Problem::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests.")
                .retry_after(wait_s);
        };
        let policies: Vec<String> = self.limits.iter().map(policy).collect();
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("Only {limit} are allowed here. Try again in {wait_s} s."),
        )
        .retry_after(wait_s)
        // https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
        .with("ratelimit-policy", policies.join(", "))
        .with("ratelimit", format!("\"{limit}\";r=0;t={wait_s}"))
    }
}

/// How many seconds to tell a client to wait. A key lives to the end of its last millisecond: a whole
/// second more than fits is never too short.
const fn seconds(wait_ms: u64) -> u64 {
    wait_ms / 1000 + 1
}

/// The answer to a client that is locked out: the same whether its password is right now or not.
pub(crate) fn locked_out(wait_ms: u64) -> Problem {
    let wait_s = seconds(wait_ms);
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        format!(
            "Too many wrong passwords came from your address, so that for now no password is \
             looked at, not even the right one. Try again in {wait_s} s."
        ),
    )
    .retry_after(wait_s)
}

/// A limit as a quota policy; it is named by its own notation.
fn policy(limit: &RateLimit) -> String {
    format!(
        "\"{limit}\";q={};w={}",
        limit.count.min(LARGEST),
        limit.window_s()
    )
}

/// Whom to count. Requests whose peer the host does not tell are counted together.
fn client(headers: &HeaderMap, settings: &Settings) -> String {
    let peer = headers.get_all(PEER).iter().next_back();
    let Some(peer) = peer
        .and_then(|value| value.to_str().ok())
        .and_then(parse_hop)
    else {
        return "unknown".to_owned();
    };
    let header = &settings.trusted_proxy_header;
    let forwarded = headers.get_all(header.name()).iter();
    // What is no text is no address either.
    let forwarded = forwarded.map(|value| value.to_str().unwrap_or_default());
    let trusted = &settings.trusted_proxies;
    counting_key(client_address(peer, trusted, header, forwarded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Reply;
    use domain::settings::Sources;

    fn settings() -> Settings {
        let file =
            "TRUSTED_PROXIES: [10.0.0.1]\nDEFAULT_RATE_LIMITS: ['5 per second', '1000 per day']";
        Settings::read(&Sources::file(file)).unwrap()
    }

    fn counted(fields: &[(&'static str, &[u8])]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, http::HeaderValue::from_bytes(value).unwrap());
        }
        let settings = settings();
        Scope::of(Resource::Document(Document::Report), &headers, &settings).client
    }

    #[test]
    fn only_the_hosts_own_word_about_the_peer_counts() {
        assert_eq!(counted(&[(PEER, b"192.0.2.7:4000")]), "192.0.2.7");
        assert_eq!(
            counted(&[(PEER, b"1.1.1.1:1"), (PEER, b"192.0.2.7:4000")]),
            "192.0.2.7"
        );
        assert_eq!(counted(&[(PEER, b"[2001:db8::1]:4000")]), "2001:db8::/64");
        assert_eq!(counted(&[]), "unknown");
        assert_eq!(counted(&[(PEER, b"\xff")]), "unknown");
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_nobody_else() {
        let forwarded = ("x-forwarded-for", &b"198.51.100.4"[..]);
        assert_eq!(counted(&[(PEER, b"10.0.0.1:9"), forwarded]), "198.51.100.4");
        assert_eq!(counted(&[(PEER, b"192.0.2.7:9"), forwarded]), "192.0.2.7");
        assert_eq!(
            counted(&[
                (PEER, b"10.0.0.1:9"),
                forwarded,
                ("x-forwarded-for", b"\xff")
            ]),
            "10.0.0.1"
        );
    }

    #[test]
    fn routes_have_their_own_scopes_and_limits() {
        let settings = settings();
        let scopes = [
            Resource::Document(Document::Report),
            Resource::Employee("7"),
            Resource::Document(Document::Unattributed),
            Resource::Status,
            Resource::Shutdown,
        ]
        .map(|resource| Scope::of(resource, &HeaderMap::new(), &settings));
        let mut names: Vec<_> = scopes.iter().map(|scope| scope.name).collect();
        names.dedup();
        assert_eq!(names.len(), 5);
        let limits = scopes.map(|scope| scope.limits.len());
        assert_eq!(limits, [1, 1, 1, 2, 2]);
    }

    #[test]
    fn a_refusal_says_how_long_to_wait() {
        let settings = settings();
        let scope = Scope::of(Resource::Status, &HeaderMap::new(), &settings);
        let refusal = |limit, wait_ms| Reply::from(scope.too_many(limit, wait_ms));
        let reply = refusal(0, 250);
        assert_eq!(reply.status, 429);
        assert_eq!(reply.value("retry-after"), "1");
        assert_eq!(
            reply.value("ratelimit-policy"),
            "\"5 per second\";q=5;w=1, \"1000 per day\";q=1000;w=86400"
        );
        assert_eq!(reply.value("ratelimit"), "\"5 per second\";r=0;t=1");
        let reply = refusal(1, 7000);
        assert_eq!(reply.value("retry-after"), "8");
        assert_eq!(reply.value("ratelimit"), "\"1000 per day\";r=0;t=8");
    }

    #[test]
    fn who_is_locked_out_is_told_why_and_for_how_long() {
        let settings = settings();
        let scope = Scope::of(Resource::Status, &HeaderMap::new(), &settings);
        assert_eq!(scope.failure_limits.len(), 1);
        let reply = Reply::from(locked_out(599_999));
        assert_eq!((reply.status, reply.value("retry-after")), (429, "600"));
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("wrong passwords"), "{detail}");
        assert!(detail.contains("600 s"), "{detail}");
    }
}
