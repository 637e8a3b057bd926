//! All settings, a row each: what knows of their keys, defaults and notation takes it from here.

use std::fmt;

use super::client_address::ForwardingHeader;
use super::credentials::ExpectedPassword;
use super::given::{Given, Refusal, listed, quoted};
use super::rate_limit::{RateLimit, RateLimitError};
use super::value::Value;
use super::{Settings, addresses, logins, types};
use crate::address::parse_network;
use crate::incident::Priority;

/// A setting.
pub struct Setting {
    /// Its key in the file and in the environment.
    pub key: &'static str,
    /// Of a secret: the key that names a file which holds it.
    pub file_key: Option<&'static str>,
    /// The application's variables in Spin that give it; the first that is not empty counts. Empty where
    /// the component has no use for it.
    pub variables: &'static [&'static str],
    /// What it is where nobody sets it, as the environment would have it; empty for nothing.
    pub default: &'static str,
    /// What it does: one line of Markdown, with links as the README has them.
    pub help: &'static str,
    /// Whether it is of an account: what is wrong with it is told where somebody has to log in.
    pub(super) is_login: bool,
    /// Fills the field.
    pub(super) set: fn(&mut Settings, &Given<'_>) -> Result<(), Refusal>,
    /// The value in force as the file would have it, without secrets; `None` where there is none.
    pub(super) show: fn(&Settings) -> Option<String>,
}

impl Setting {
    /// The keys of the file and the environment that give it.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        [self.key].into_iter().chain(self.file_key)
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key)
    }
}

/// What most rows leave as it is.
const ROW: Setting = Setting {
    key: "",
    file_key: None,
    variables: &[],
    default: "",
    help: "",
    is_login: false,
    set: |_, _| Ok(()),
    show: |_| None,
};

/// How many networks of proxies are taken: each is looked at in every request.
const MOST_PROXIES: usize = 256;

/// Every setting, in the order of the documentation.
pub static SETTINGS: [Setting; 28] = [
    Setting {
        key: "SERVICE_ID",
        variables: &["service_id"],
        help: "User id of the service (HTTP Basic). Required.",
        is_login: true,
        set: |settings, given| fill(&mut settings.service_id, logins::id(given).map(Some)),
        show: |settings| settings.service_id.as_deref().map(quoted),
        ..ROW
    },
    Setting {
        key: "SERVICE_PASSWORD",
        file_key: Some("SERVICE_PASSWORD_FILE"),
        variables: &["service_password"],
        help: "Its password, as text or as the argon2id hash that `refresher hash-password` prints. Required; `changeit` is refused.",
        is_login: true,
        set: |settings, given| {
            let password = logins::expected_password(given);
            fill(&mut settings.service_password, password.map(Some))
        },
        show: |settings| {
            let kind = match settings.service_password.as_ref()? {
                ExpectedPassword::Plain(_) => "'***' # plain text",
                ExpectedPassword::Argon2id(_) => "'***' # an argon2id hash",
            };
            Some(kind.to_owned())
        },
        ..ROW
    },
    Setting {
        key: "DEFAULT_CACHE_REFRESH",
        default: "60",
        help: "Seconds from the start of one refresh to the start of the next (1 to 86400).",
        set: |settings, given| fill(&mut settings.refresh_interval, given.seconds(1, 86_400)),
        show: |settings| shown(settings.refresh_interval.as_secs_f64()),
        ..ROW
    },
    Setting {
        key: "DEFAULT_RATE_LIMITS",
        variables: &["default_rate_limits"],
        default: "5 per second, 1000 per day",
        help: "Limits for each client address of `/shutdown`.",
        set: |settings, given| fill(&mut settings.default_rate_limits, limits(given)),
        show: |settings| Some(listed(&settings.default_rate_limits)),
        ..ROW
    },
    Setting {
        key: "INCIDENTS_API_RATE_LIMITS",
        variables: &["incidents_api_rate_limits"],
        default: "20 per minute",
        help: "Limits for each client address of everything else below `/incidents`.",
        set: |settings, given| fill(&mut settings.incidents_rate_limits, limits(given)),
        show: |settings| Some(listed(&settings.incidents_rate_limits)),
        ..ROW
    },
    Setting {
        key: "DASHBOARD_RATE_LIMITS",
        variables: &["dashboard_rate_limits"],
        default: "20 per second, 100000 per day",
        help: "Limits for each client address of `/`, `/status`, `/metrics`, `/incidents/summary`, `/incidents/timeline` and `/openapi.json`.",
        set: |settings, given| fill(&mut settings.dashboard_rate_limits, limits(given)),
        show: |settings| Some(listed(&settings.dashboard_rate_limits)),
        ..ROW
    },
    Setting {
        key: "WRONG_PASSWORD_LIMITS",
        variables: &["wrong_password_limits"],
        default: "10 per 10 minutes",
        help: "Wrong passwords that a client address may send; one more locks it out until the window ends. `[]`: never.",
        set: |settings, given| fill(&mut settings.wrong_password_limits, limits(given)),
        show: |settings| Some(listed(&settings.wrong_password_limits)),
        ..ROW
    },
    Setting {
        key: "EXECUTOR_MAX_WORKERS",
        default: "10",
        help: "Upstream requests at a time (1 to 1000).",
        set: |settings, given| fill(&mut settings.max_workers, given.whole(1, 1000)),
        show: |settings| shown(settings.max_workers),
        ..ROW
    },
    Setting {
        key: "BASE_ENDPOINT",
        help: "Address of the upstream API; `identities` and `incidents/<type>` are looked up below it. Required.",
        #[cfg(feature = "upstream")]
        set: |settings, given| {
            let address = addresses::base_endpoint(given);
            fill(&mut settings.base_endpoint, address.map(Some))
        },
        #[cfg(feature = "upstream")]
        show: |settings| Some(quoted(settings.base_endpoint.as_ref()?.as_str())),
        ..ROW
    },
    Setting {
        key: "UPSTREAM_ID",
        help: "User id for upstream; by default `SERVICE_ID`.",
        is_login: true,
        set: |settings, given| fill(&mut settings.upstream_id, logins::id(given).map(Some)),
        show: |settings| Some(quoted(&settings.upstream().ok()?.id)),
        ..ROW
    },
    Setting {
        key: "UPSTREAM_PASSWORD",
        file_key: Some("UPSTREAM_PASSWORD_FILE"),
        help: "Password for upstream; by default `SERVICE_PASSWORD`, unless that is a hash.",
        is_login: true,
        set: |settings, given| {
            let password = logins::password(given);
            fill(&mut settings.upstream_password, password.map(Some))
        },
        show: |settings| settings.upstream().ok().map(|_| "'***'".to_owned()),
        ..ROW
    },
    Setting {
        key: "API_TIMEOUT",
        default: "15",
        help: "Seconds that one upstream request may take, body included (1 to 3600).",
        set: |settings, given| fill(&mut settings.api_timeout, given.seconds(1, 3600)),
        show: |settings| shown(settings.api_timeout.as_secs_f64()),
        ..ROW
    },
    Setting {
        key: "API_RETRIES",
        default: "3",
        help: "Further tries of a failed upstream request within one refresh (0 to 20), with exponential backoff.",
        set: |settings, given| fill(&mut settings.api_retries, given.whole(0, 20)),
        show: |settings| shown(settings.api_retries),
        ..ROW
    },
    Setting {
        key: "API_MAX_BODY_BYTES",
        default: "268435456",
        help: "Bytes that all upstream answers of a refresh may have together, decompressed; where \
               that is not enough, the largest is not used.",
        set: |settings, given| {
            let bytes = given.whole(1024, u64::from(u32::MAX));
            fill(&mut settings.api_max_body_bytes, bytes)
        },
        show: |settings| shown(settings.api_max_body_bytes),
        ..ROW
    },
    Setting {
        key: "INCIDENTS_TYPES",
        default: "denial:reported_by:employee, intrusion:internal_ip:ip, executable:machine_ip:ip, \
                  misuse:employee_id:employee, unauthorized:employee_id:employee, probing:ip:ip, \
                  other:identifier:employee_or_ip",
        help: "Incident types in the order in which ties of time are broken: name, the row's member that says whom it concerns, and what that holds (`employee`, `ip`, `employee_or_ip`).",
        set: |settings, given| {
            let types = types::incident_types(given);
            fill(&mut settings.incident_types, types)
        },
        show: |settings| Some(listed(settings.incident_types.iter().map(types::notation))),
        ..ROW
    },
    Setting {
        key: "REDIS_URL",
        file_key: Some("REDIS_URL_FILE"),
        // The manifest says with `redis_url` what may be reached, where Spin takes no password.
        variables: &["redis_secret_url", "redis_url"],
        default: "redis://127.0.0.1:6379",
        help: "Address of Redis; Sentinel, clusters, TLS and users: [Redis](docs/deployment.md#redis), for the component [Spin](docs/deployment.md#on-spin).",
        set: |settings, given| fill(&mut settings.redis_url, addresses::redis_url(given)),
        show: |settings| Some(quoted(&addresses::without_password(&settings.redis_url))),
        ..ROW
    },
    Setting {
        key: "REDIS_KEY_PREFIX",
        variables: &["redis_key_prefix"],
        default: "incidents",
        help: "Hash tag of all keys; each service that shares a Redis has its own.",
        set: |settings, given| {
            let prefix = given.parsed("1 to 64 letters, digits, `.`, `_` or `-`", key_prefix);
            fill(&mut settings.redis_key_prefix, prefix)
        },
        show: |settings| Some(quoted(&settings.redis_key_prefix)),
        ..ROW
    },
    Setting {
        key: "SNAPSHOT_WAIT",
        variables: &["snapshot_wait"],
        default: "10",
        help: "Seconds that a request waits for the very first snapshot before it answers 503 (0 to 50).",
        set: |settings, given| fill(&mut settings.snapshot_wait, given.seconds(0, 50)),
        show: |settings| shown(settings.snapshot_wait.as_secs_f64()),
        ..ROW
    },
    Setting {
        key: "HISTORY_STORE",
        default: "history",
        help: "Where the [history](docs/history.md) of snapshots is kept: a folder, `s3://bucket/prefix` or `none`.",
        set: |settings, given| fill(&mut settings.history_store, addresses::history_store(given)),
        show: |settings| {
            let store = addresses::history_notation(settings.history_store.as_ref());
            Some(quoted(&store))
        },
        ..ROW
    },
    Setting {
        key: "HISTORY_MAX_DAYS",
        default: "30",
        help: "Days that a snapshot stays in the history; the newest good one always does.",
        set: |settings, given| {
            let days = given.whole::<u32>(1, 36_500);
            let age = days.map(|days| std::time::Duration::from_secs(86_400) * days);
            fill(&mut settings.history_max_age, age)
        },
        show: |settings| shown(settings.history_max_age.as_secs() / 86_400),
        ..ROW
    },
    Setting {
        key: "HISTORY_MAX_BYTES",
        default: "10737418240",
        help: "Largest size of the history, in bytes.",
        set: |settings, given| {
            fill(
                &mut settings.history_max_bytes,
                given.whole(1 << 20, 1 << 50),
            )
        },
        show: |settings| shown(settings.history_max_bytes),
        ..ROW
    },
    Setting {
        key: "SHUTDOWN_ENABLED",
        variables: &["shutdown_enabled"],
        default: "true",
        help: "Whether `/shutdown` may end the service.",
        set: |settings, given| fill(&mut settings.shutdown_enabled, given.boolean()),
        show: |settings| shown(settings.shutdown_enabled),
        ..ROW
    },
    Setting {
        key: "NODES_TO_PROBE",
        default: "[]",
        help: "`/healthz` addresses of nodes that cannot report themselves, such as Spin.",
        #[cfg(feature = "upstream")]
        set: |settings, given| {
            fill(
                &mut settings.nodes_to_probe,
                addresses::nodes_to_probe(given),
            )
        },
        #[cfg(feature = "upstream")]
        show: |settings| Some(listed(&settings.nodes_to_probe)),
        ..ROW
    },
    Setting {
        key: "ALERTMANAGER_URLS",
        default: "[]",
        help: "Alertmanagers to which new incidents are [handed over](docs/monitoring.md#alerts-of-new-incidents).",
        #[cfg(feature = "upstream")]
        set: |settings, given| {
            let urls = addresses::alertmanager_urls(given);
            fill(&mut settings.alertmanager_urls, urls)
        },
        #[cfg(feature = "upstream")]
        show: |settings| Some(listed(&settings.alertmanager_urls)),
        ..ROW
    },
    Setting {
        key: "ALERT_PRIORITIES",
        default: "critical",
        help: "Priorities of the incidents that are handed over.",
        set: |settings, given| fill(&mut settings.alert_priorities, priorities(given)),
        show: |settings| Some(listed(&settings.alert_priorities)),
        ..ROW
    },
    Setting {
        key: "DASHBOARD_URL",
        help: "Address at which people open the dashboard, for the links in what is handed over.",
        #[cfg(feature = "upstream")]
        set: |settings, given| {
            let address = addresses::base_endpoint(given);
            fill(&mut settings.dashboard_url, address.map(Some))
        },
        #[cfg(feature = "upstream")]
        show: |settings| Some(quoted(settings.dashboard_url.as_ref()?.as_str())),
        ..ROW
    },
    Setting {
        key: "TRUSTED_PROXIES",
        variables: &["trusted_proxies"],
        default: "[]",
        help: "Proxies (addresses or networks) whose word about the client's address is believed.",
        set: |settings, given| {
            let accepted = "a list of at most 256 addresses or networks such as 10.0.0.0/8";
            let networks = given.list(MOST_PROXIES, accepted, parse_network);
            fill(&mut settings.trusted_proxies, networks)
        },
        show: |settings| Some(listed(&settings.trusted_proxies)),
        ..ROW
    },
    Setting {
        key: "TRUSTED_PROXY_HEADER",
        variables: &["trusted_proxy_header"],
        default: "X-Forwarded-For",
        help: "The header in which they say it: `X-Forwarded-For` or the like, or `Forwarded` (RFC 7239).",
        set: |settings, given| {
            let accepted = "the name of a header that tells a client's address: X-Forwarded-For, X-Real-IP, Forwarded (RFC 7239) or the like";
            let header = given.parsed(accepted, ForwardingHeader::from_name);
            fill(&mut settings.trusted_proxy_header, header)
        },
        show: |settings| Some(quoted(settings.trusted_proxy_header.name())),
        ..ROW
    },
];

/// The application's variables in Spin.
pub fn variables() -> impl Iterator<Item = &'static str> {
    SETTINGS
        .iter()
        .flat_map(|setting| setting.variables)
        .copied()
}

/// What the application's variables in Spin say of the setting `key`, given their values.
pub fn from_variables(key: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let setting = SETTINGS.iter().find(|setting| setting.key == key)?;
    let mut values = setting
        .variables
        .iter()
        .filter_map(|variable| value(variable));
    values.find(|text| !text.is_empty())
}

fn fill<T>(field: &mut T, value: Result<T, Refusal>) -> Result<(), Refusal> {
    *field = value?;
    Ok(())
}

fn shown(value: impl fmt::Display) -> Option<String> {
    Some(value.to_string())
}

fn key_prefix(text: &str) -> Option<String> {
    let usable = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    usable.then(|| text.to_owned())
}

fn priorities(given: &Given<'_>) -> Result<Vec<Priority>, Refusal> {
    let accepted = "a list of some of low, medium, high and critical, each once";
    let parse = |text: &str| Priority::from_name(text.as_bytes());
    let listed = given.list(Priority::ALL.len(), accepted, parse)?;
    let is_twice = |(at, priority)| listed[..at].contains(priority);
    match listed.iter().enumerate().any(is_twice) || listed.is_empty() {
        true => Err(given.refused(accepted)),
        false => Ok(listed),
    }
}

fn limits(given: &Given<'_>) -> Result<Vec<RateLimit>, Refusal> {
    let accepted = "limits such as `20 per minute`, as a list or separated by `;`, at most 8";
    let items = given.items(accepted)?;
    let mut limits = Vec::new();
    for item in &items {
        let Value::Text(text) = item else {
            return Err(Given(item).refused(accepted).in_a_list());
        };
        let read = RateLimit::parse_list(text);
        let refused = |error: RateLimitError| Refusal::new(error.reason(), accepted).in_a_list();
        limits.extend(read.map_err(refused)?);
    }
    match limits.len() {
        0..=RateLimit::MOST => Ok(limits),
        many => Err(Refusal::new(format!("a list of {many} limits"), accepted)),
    }
}
