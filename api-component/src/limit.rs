//! Second station: how often this client may ask. It comes before the password, so that guessing
//! is limited too.

use std::cell::Cell;
use std::time::Duration;

use domain::contract::document::Document;
use domain::contract::scripts::{Admission, CredentialCheck};
use domain::settings::Settings;
use domain::settings::client_address::{client_address, counting_key, parse_hop};
use domain::settings::rate_limit::RateLimit;
use http::{HeaderMap, StatusCode};

use crate::problem::Problem;
use crate::router::Resource;
use crate::store::{Scope, Store};

/// The field in which the host says who holds the connection. It appends it to the client's own
/// fields, so that only the last one is the host's.
pub(crate) const PEER: &str = "spin-client-addr";

/// The largest number of a structured field (RFC 9651, section 3.3.1).
const LARGEST: u64 = 999_999_999_999_999;

/// How long to wait before a request is tried again whose credential another one is having checked, in
/// milliseconds: together less than a second, within which a 503 is due. A browser sends several at once
/// after it has asked for the password.
const BUSY_PAUSES_MS: [u64; 4] = [50, 100, 150, 200];

/// How many requests of an instance may wait so: the others stay free for clients whose credential is
/// known.
const MAX_WAITING: usize = 4;

thread_local! {
    static WAITING: Cell<usize> = const { Cell::new(0) };
}

/// What an admitted request is told.
pub(crate) struct Admitted {
    /// Redis's clock, in milliseconds since the Unix epoch.
    pub(crate) now_ms: u64,
    /// The current record as it is stored; empty if there is none.
    pub(crate) current: Vec<u8>,
    /// Whether its credential is known to be right.
    pub(crate) right: bool,
}

/// What a request for `resource` with these `headers` counts towards.
pub(crate) fn scope<'a>(
    resource: Resource<'_>,
    headers: &HeaderMap,
    settings: &'a Settings,
) -> Scope<'a> {
    let (name, limits) = match resource {
        Resource::Document(Document::Report) => ("incidents", &settings.incidents_rate_limits),
        Resource::Document(Document::Summary) => ("summary", &settings.dashboard_rate_limits),
        Resource::Document(other) => (other.name(), &settings.incidents_rate_limits),
        Resource::Employee(_) => ("employee", &settings.incidents_rate_limits),
        Resource::Timeline => ("timeline", &settings.dashboard_rate_limits),
        Resource::Dashboard | Resource::DashboardFile(_) => {
            ("dashboard", &settings.dashboard_rate_limits)
        }
        Resource::Status => ("status", &settings.dashboard_rate_limits),
        Resource::Metrics => ("metrics", &settings.dashboard_rate_limits),
        Resource::Shutdown => ("shutdown", &settings.default_rate_limits),
    };
    Scope {
        name,
        limits,
        failure_limits: &settings.wrong_password_limits,
        client: client(headers, settings),
    }
}

/// What a request for the service's description counts towards. It needs no password, so that nobody is
/// locked out of it.
pub(crate) fn openapi_scope<'a>(headers: &HeaderMap, settings: &'a Settings) -> Scope<'a> {
    Scope {
        name: "openapi",
        limits: &settings.dashboard_rate_limits,
        failure_limits: &[],
        client: client(headers, settings),
    }
}

/// Counts a request, and its credential as a guess unless that is known to be right. `mac` stands for
/// a credential that is checked by hashing.
///
/// # Errors
/// 429 when it is one too many, or too many wrong passwords came before it; 503 when it cannot be
/// counted, or too many credentials are being checked.
pub(crate) async fn admit(
    store: &mut Store,
    scope: &Scope<'_>,
    credential: CredentialCheck,
    mac: Option<&str>,
) -> Result<Admitted, Problem> {
    let mut pauses = BUSY_PAUSES_MS.into_iter();
    loop {
        match store.admit(scope, credential, mac).await? {
            Admission::Admitted {
                now_ms,
                current,
                right,
            } => {
                return Ok(Admitted {
                    now_ms,
                    current,
                    right,
                });
            }
            Admission::RateLimited { limit, wait_ms } => {
                return Err(too_many(scope.limits, limit, seconds(wait_ms)));
            }
            Admission::LockedOut { wait_ms } => return Err(locked_out(seconds(wait_ms))),
            Admission::Busy { same: false } => return Err(busy()),
            Admission::Busy { same: true } => {
                let pause_ms = pauses.next().ok_or_else(busy)?;
                let _waiting = Waiting::begin().ok_or_else(busy)?;
                spin_sdk::time::sleep(Duration::from_millis(pause_ms)).await;
            }
        }
        store.renew_deadline();
    }
}

/// A place among those that wait.
struct Waiting;

impl Waiting {
    /// Takes one, if there is one left.
    fn begin() -> Option<Self> {
        let waiting = WAITING.get();
        (waiting < MAX_WAITING).then(|| {
            WAITING.set(waiting + 1);
            Self
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.set(WAITING.get() - 1);
    }
}

/// The answer to a request beyond the limit at the position `limit`.
fn too_many(limits: &[RateLimit], limit: usize, wait_s: u64) -> Problem {
    let Some(limit) = limits.get(limit) else {
        return Problem::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests.")
            .retry_after(wait_s);
    };
    let policies: Vec<String> = limits.iter().map(policy).collect();
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        format!("Only {limit} are allowed here. Try again in {wait_s} s."),
    )
    .retry_after(wait_s)
    // https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
    .with("ratelimit-policy", policies.join(", "))
    .with("ratelimit", format!("\"{limit}\";r=0;t={wait_s}"))
}

/// How many seconds to tell a client to wait. A key lives to the end of its last millisecond: a whole
/// second more than fits is never too short.
const fn seconds(wait_ms: u64) -> u64 {
    wait_ms / 1000 + 1
}

/// The answer to a client that is locked out: the same whether its password is right now or not.
fn locked_out(wait_s: u64) -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        format!(
            "Too many wrong passwords came from your address, so that for now none is looked at, not \
             even the right one, unless it was used from there within a day. Try again in {wait_s} s."
        ),
    )
    .retry_after(wait_s)
}

/// The answer to a client whose password cannot be checked now.
fn busy() -> Problem {
    Problem::unavailable(
        "Too many passwords are being checked at the moment. Try again in a moment.",
    )
    .retry_after(1)
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
        scope(Resource::Document(Document::Report), &headers, &settings).client
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
            Resource::Document(Document::Summary),
            Resource::Timeline,
            Resource::Status,
            Resource::Metrics,
            Resource::Shutdown,
        ]
        .map(|resource| scope(resource, &HeaderMap::new(), &settings));
        let mut names: Vec<_> = scopes.iter().map(|scope| scope.name).collect();
        names.dedup();
        assert_eq!(names.len(), 8);
        let of =
            |limits: &Vec<RateLimit>| limits.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (incidents, dashboard) = (
            &settings.incidents_rate_limits,
            &settings.dashboard_rate_limits,
        );
        let expected = [
            incidents,
            incidents,
            incidents,
            dashboard,
            dashboard,
            dashboard,
            dashboard,
            &settings.default_rate_limits,
        ];
        for (scope, expected) in scopes.iter().zip(expected) {
            assert_eq!(of(&scope.limits.to_vec()), of(expected), "{}", scope.name);
            assert_eq!(scope.failure_limits.len(), 1);
        }
        let openapi = openapi_scope(&HeaderMap::new(), &settings);
        assert_eq!(of(&openapi.limits.to_vec()), of(dashboard));
        assert!(openapi.failure_limits.is_empty() && !names.contains(&openapi.name));
    }

    #[test]
    fn a_refusal_says_how_long_to_wait() {
        let limits = settings().default_rate_limits;
        let refusal = |limit, wait_ms| Reply::from(too_many(&limits, limit, seconds(wait_ms)));
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
        let reply = Reply::from(locked_out(seconds(599_999)));
        assert_eq!((reply.status, reply.value("retry-after")), (429, "600"));
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("wrong passwords"), "{detail}");
        assert!(detail.contains("600 s"), "{detail}");
    }
}
