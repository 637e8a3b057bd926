//! The settings of `config/config.yaml`: one table of keys, read once, each value checked.
//!
//! A value comes from an override (an environment variable, in the component a Spin variable) or
//! from the file, or it is the default. An empty override counts as none.

pub mod client_address;
pub mod credentials;
pub mod rate_limit;

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use saphyr::{Scalar, ScalarStyle, Yaml, YamlLoader};
use saphyr_parser::Parser;
use thiserror::Error;
#[cfg(feature = "upstream")]
use url::Url;

use self::credentials::{Account, ExpectedPassword, PasswordError, Secret};
use self::rate_limit::RateLimit;
use crate::incident::{IdentityKind, IncidentType};

/// Every key that the file may have, in the order of the documentation.
pub const KEYS: [&str; 24] = [
    "SERVICE_ID",
    "SERVICE_PASSWORD",
    "DEFAULT_CACHE_REFRESH",
    "DEFAULT_RATE_LIMITS",
    "INCIDENTS_API_RATE_LIMITS",
    "WRONG_PASSWORD_LIMITS",
    "EXECUTOR_MAX_WORKERS",
    "BASE_ENDPOINT",
    "UPSTREAM_ID",
    "UPSTREAM_PASSWORD",
    "API_TIMEOUT",
    "API_RETRIES",
    "API_MAX_BODY_BYTES",
    "INCIDENTS_TYPES",
    "REDIS_URL",
    "REDIS_KEY_PREFIX",
    "SNAPSHOT_WAIT",
    "HISTORY_STORE",
    "HISTORY_MAX_DAYS",
    "HISTORY_MAX_BYTES",
    "SHUTDOWN_ENABLED",
    "NODES_TO_PROBE",
    "TRUSTED_PROXIES",
    "TRUSTED_PROXY_HEADER",
];

/// Where the application's manifest mounts the configuration file for the component.
pub const MOUNTED_FILE: &str = "/config/config.yaml";

/// The application's variables in Spin, and the settings that they are; of one setting, the first
/// variable that is not empty counts. There are two for Redis because the manifest says with
/// `redis_url` what may be reached, where Spin takes no password.
pub const VARIABLES: [(&str, &str); 12] = [
    ("redis_secret_url", "REDIS_URL"),
    ("redis_url", "REDIS_URL"),
    ("redis_key_prefix", "REDIS_KEY_PREFIX"),
    ("service_id", "SERVICE_ID"),
    ("service_password", "SERVICE_PASSWORD"),
    ("default_rate_limits", "DEFAULT_RATE_LIMITS"),
    ("incidents_api_rate_limits", "INCIDENTS_API_RATE_LIMITS"),
    ("wrong_password_limits", "WRONG_PASSWORD_LIMITS"),
    ("snapshot_wait", "SNAPSHOT_WAIT"),
    ("shutdown_enabled", "SHUTDOWN_ENABLED"),
    ("trusted_proxies", "TRUSTED_PROXIES"),
    ("trusted_proxy_header", "TRUSTED_PROXY_HEADER"),
];

/// What the application's variables say of the setting `key`, given their values: the overrides for
/// [`Settings::read`].
pub fn from_variables(key: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    VARIABLES
        .iter()
        .filter(|(_, setting)| *setting == key)
        .filter_map(|(variable, _)| value(variable))
        .find(|text| !text.is_empty())
}

/// What the whole service is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `SERVICE_ID` and `SERVICE_PASSWORD`, or why they cannot be used: the rest of the service can
    /// still say so.
    pub account: Result<Account, SettingError>,
    /// `DEFAULT_CACHE_REFRESH`: from the start of one refresh to the start of the next.
    pub refresh_interval: Duration,
    /// `DEFAULT_RATE_LIMITS`: of routes that have none of their own.
    pub default_rate_limits: Vec<RateLimit>,
    /// `INCIDENTS_API_RATE_LIMITS`
    pub incidents_rate_limits: Vec<RateLimit>,
    /// `WRONG_PASSWORD_LIMITS`: wrong passwords that a client address may send before it is locked out
    /// until the window ends.
    pub wrong_password_limits: Vec<RateLimit>,
    /// `EXECUTOR_MAX_WORKERS`: upstream requests at a time.
    pub max_workers: usize,
    /// `BASE_ENDPOINT`, with a path that ends in `/`; only the refresher needs it.
    #[cfg(feature = "upstream")]
    pub base_endpoint: Option<Url>,
    /// `UPSTREAM_ID` and `UPSTREAM_PASSWORD`; by default the service's own, where that is plain.
    pub upstream: Result<UpstreamAccount, SettingError>,
    /// `API_TIMEOUT`: of one upstream request, its body included.
    pub api_timeout: Duration,
    /// `API_RETRIES`: further tries of a failed upstream request within one refresh.
    pub api_retries: u32,
    /// `API_MAX_BODY_BYTES`: the largest upstream answer that is read.
    pub api_max_body_bytes: u64,
    /// `INCIDENTS_TYPES`, in the order in which ties are broken.
    pub incident_types: Vec<IncidentType>,
    /// `REDIS_URL`; may hold a password, so it is a secret.
    pub redis_url: Secret,
    /// `REDIS_KEY_PREFIX`: the hash tag of every key.
    pub redis_key_prefix: String,
    /// `SNAPSHOT_WAIT`: how long a request waits for the first snapshot.
    pub snapshot_wait: Duration,
    /// `HISTORY_STORE`: where the history of snapshots is kept; none where it is `none`.
    pub history_store: Option<HistoryStore>,
    /// `HISTORY_MAX_DAYS`: how long a snapshot stays in the history.
    pub history_max_age: Duration,
    /// `HISTORY_MAX_BYTES`: how large the history may be.
    pub history_max_bytes: u64,
    /// `SHUTDOWN_ENABLED`: whether `/shutdown` exists.
    pub shutdown_enabled: bool,
    /// `NODES_TO_PROBE`: the `/healthz` addresses of nodes that cannot report themselves; only the
    /// refresher needs them.
    #[cfg(feature = "upstream")]
    pub nodes_to_probe: Vec<Url>,
    /// `TRUSTED_PROXIES`: the peers whose forwarding header is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `TRUSTED_PROXY_HEADER`, in lower case.
    pub trusted_proxy_header: String,
}

/// Where the history of snapshots is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryStore {
    /// A folder, seen from where the refresher runs.
    Folder(String),
    /// A bucket of an S3-compatible store, and the prefix of all names in it (may be empty).
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix, without slashes at its ends.
        prefix: String,
    },
}

/// How the refresher identifies itself upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamAccount {
    /// The user id.
    pub id: String,
    /// The password, plain: Basic auth sends it.
    pub password: Secret,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingError {
    /// The file is not YAML, or no mapping of keys to values.
    #[error("the configuration file cannot be read: {0}")]
    Syntax(String),
    /// A key that means nothing here.
    #[error("`{key}` is not a setting; {}", .nearest.map_or_else(|| format!("known: {}", KEYS.join(", ")), |name| format!("did you mean `{name}`?")))]
    UnknownKey {
        /// The key as it is written.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// A value that is not accepted.
    #[error("`{key}` is {found}; accepted: {accepted}")]
    Value {
        /// Which setting.
        key: &'static str,
        /// What was found; never a secret.
        found: String,
        /// What would do.
        accepted: String,
    },
    /// A setting without which this program cannot work.
    #[error("`{key}` is not set; {accepted}")]
    Missing {
        /// Which setting.
        key: &'static str,
        /// What to set it to.
        accepted: &'static str,
    },
}

/// Everything that is wrong with the settings, so that it can be mended in one go.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct SettingErrors(pub Vec<SettingError>);

impl fmt::Display for SettingErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl From<SettingError> for SettingErrors {
    fn from(error: SettingError) -> Self {
        Self(vec![error])
    }
}

impl Settings {
    /// Reads the settings from the file's text and `overrides`, which answers the value that the
    /// environment gives a key.
    ///
    /// # Errors
    /// Everything that is wrong, except with the account: that is kept in its field.
    pub fn read(
        file: &str,
        overrides: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingErrors> {
        let mut reader = Reader::new(file, overrides)?;
        let account = reader.account();
        let upstream = reader.upstream(account.as_ref().ok());
        let settings = Self {
            account,
            upstream,
            refresh_interval: reader.seconds("DEFAULT_CACHE_REFRESH", 60, 1, 86_400),
            default_rate_limits: reader.limits("DEFAULT_RATE_LIMITS", "5 per second; 1000 per day"),
            incidents_rate_limits: reader.limits("INCIDENTS_API_RATE_LIMITS", "20 per minute"),
            wrong_password_limits: reader.limits("WRONG_PASSWORD_LIMITS", "10 per 10 minutes"),
            max_workers: usize::try_from(reader.number("EXECUTOR_MAX_WORKERS", 10, 1, 1000))
                .unwrap_or(usize::MAX),
            #[cfg(feature = "upstream")]
            base_endpoint: reader.base_endpoint(),
            api_timeout: reader.seconds("API_TIMEOUT", 15, 1, 3600),
            api_retries: u32::try_from(reader.number("API_RETRIES", 3, 0, 20)).unwrap_or(u32::MAX),
            api_max_body_bytes: reader.number(
                "API_MAX_BODY_BYTES",
                1 << 30,
                1024,
                u64::from(u32::MAX),
            ),
            incident_types: reader.incident_types(),
            redis_url: reader.redis_url(),
            redis_key_prefix: reader.redis_key_prefix(),
            snapshot_wait: reader.seconds("SNAPSHOT_WAIT", 10, 0, 60),
            history_store: reader.history_store(),
            history_max_age: Duration::from_secs(86_400)
                * u32::try_from(reader.number("HISTORY_MAX_DAYS", 30, 1, 36_500))
                    .unwrap_or(u32::MAX),
            history_max_bytes: reader.number("HISTORY_MAX_BYTES", 10 << 30, 1 << 20, 1 << 50),
            shutdown_enabled: reader.boolean("SHUTDOWN_ENABLED", true),
            #[cfg(feature = "upstream")]
            nodes_to_probe: reader.nodes_to_probe(),
            trusted_proxies: reader.trusted_proxies(),
            trusted_proxy_header: reader.trusted_proxy_header(),
        };
        if reader.errors.is_empty() {
            Ok(settings)
        } else {
            Err(SettingErrors(reader.errors))
        }
    }
}

/// A value of the file: every scalar is kept as it is written, so that a password `0123` stays so.
#[derive(Debug, Clone)]
enum Value {
    Text(String),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

impl Value {
    fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("`{}`", text.chars().take(80).collect::<String>()),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The texts of a list, or those of a text with separators in it.
    fn texts(&self) -> Option<Vec<&str>> {
        match self {
            Self::Text(text) => Some(
                text.split([',', ';', '\n'])
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .collect(),
            ),
            Self::List(items) => items
                .iter()
                .map(|item| match item {
                    Self::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            Self::Map(_) => None,
        }
    }
}

/// Reads key after key and collects what is wrong.
struct Reader<F> {
    file: Vec<(String, Value)>,
    overrides: F,
    errors: Vec<SettingError>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn new(text: &str, overrides: F) -> Result<Self, SettingErrors> {
        let file = parse_file(text)?;
        let errors = file
            .iter()
            .filter(|(key, _)| !KEYS.contains(&key.as_str()))
            .map(|(key, _)| SettingError::UnknownKey {
                key: key.clone(),
                nearest: nearest_key(key),
            })
            .collect();
        Ok(Self {
            file,
            overrides,
            errors,
        })
    }

    fn value(&self, key: &'static str) -> Option<Value> {
        (self.overrides)(key)
            .filter(|text| !text.is_empty())
            .map(Value::Text)
            .or_else(|| {
                let (_, value) = self.file.iter().find(|(name, _)| name == key)?;
                Some(value.clone())
            })
    }

    fn refuse(&mut self, key: &'static str, found: String, accepted: impl Into<String>) {
        self.errors.push(SettingError::Value {
            key,
            found,
            accepted: accepted.into(),
        });
    }

    /// The value as `parse` reads its text, or the default; what `parse` refuses is an error.
    fn text<T>(
        &mut self,
        key: &'static str,
        default: T,
        accepted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        let Some(value) = self.value(key) else {
            return default;
        };
        let parsed = match &value {
            Value::Text(text) => parse(text.trim()),
            _ => None,
        };
        parsed.unwrap_or_else(|| {
            self.refuse(key, value.describe(), accepted);
            default
        })
    }

    fn number(&mut self, key: &'static str, default: u64, least: u64, most: u64) -> u64 {
        let accepted = format!("a whole number from {least} to {most}");
        self.text(key, default, &accepted, |text| {
            text.parse()
                .ok()
                .filter(|number| (least..=most).contains(number))
        })
    }

    fn seconds(&mut self, key: &'static str, default: u64, least: u64, most: u64) -> Duration {
        let accepted = format!("seconds, from {least} to {most}");
        let parse = |text: &str| {
            let seconds: f64 = text.parse().ok()?;
            (least as f64 <= seconds && seconds <= most as f64)
                .then(|| Duration::from_secs_f64(seconds))
        };
        self.text(key, Duration::from_secs(default), &accepted, parse)
    }

    fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.text(key, default, "true or false", |text| {
            match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                _ => None,
            }
        })
    }

    fn limits(&mut self, key: &'static str, default: &str) -> Vec<RateLimit> {
        let accepted = "limits such as `20 per minute`, as a list or separated by `;`, at most 8";
        let value = self
            .value(key)
            .unwrap_or_else(|| Value::Text(default.to_owned()));
        let Some(texts) = value.texts() else {
            self.refuse(key, value.describe(), accepted);
            return Vec::new();
        };
        RateLimit::parse_list(&texts.join(";")).unwrap_or_else(|error| {
            self.refuse(key, format!("{} ({error})", value.describe()), accepted);
            Vec::new()
        })
    }

    fn account(&mut self) -> Result<Account, SettingError> {
        let missing = |key| SettingError::Missing {
            key,
            accepted: "set it in config/config.yaml or in the environment",
        };
        let found = |key| match self.value(key) {
            None => Err(missing(key)),
            Some(Value::Text(text)) => Ok(text),
            Some(other) => Err(SettingError::Value {
                key,
                found: other.describe(),
                accepted: "a text".to_owned(),
            }),
        };
        let id = found("SERVICE_ID")?;
        if id.is_empty() {
            return Err(missing("SERVICE_ID"));
        }
        if id.contains(':') || id.chars().any(char::is_control) {
            return Err(SettingError::Value {
                key: "SERVICE_ID",
                found: format!("`{}`", id.escape_debug()),
                accepted: "a text without colon and control characters (RFC 7617)".to_owned(),
            });
        }
        let password = found("SERVICE_PASSWORD")?;
        let password = ExpectedPassword::parse(&password).map_err(|problem| match problem {
            PasswordError::Empty => missing("SERVICE_PASSWORD"),
            problem => SettingError::Value {
                key: "SERVICE_PASSWORD",
                found: format!("not usable: {problem}"),
                accepted:
                    "a password of your own, or its hash as `refresher hash-password` prints it"
                        .to_owned(),
            },
        })?;
        Ok(Account { id, password })
    }

    fn upstream(&mut self, own: Option<&Account>) -> Result<UpstreamAccount, SettingError> {
        let set = |key| match self.value(key) {
            Some(Value::Text(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(other) => Err(SettingError::Value {
                key,
                found: other.describe(),
                accepted: "a text".to_owned(),
            }),
            None => Ok(None),
        };
        let missing = |key, accepted| SettingError::Missing { key, accepted };
        let id = set("UPSTREAM_ID")?.or_else(|| own.map(|account| account.id.clone()));
        let password = set("UPSTREAM_PASSWORD")?.or_else(|| match &own?.password {
            ExpectedPassword::Plain(password) => Some(password.expose().to_owned()),
            ExpectedPassword::Argon2id(_) => None,
        });
        Ok(UpstreamAccount {
            id: id.ok_or_else(|| missing("UPSTREAM_ID", "set it to the user id that upstream knows"))?,
            password: Secret::new(password.ok_or_else(|| {
                missing(
                    "UPSTREAM_PASSWORD",
                    "set it to the password that upstream knows: a hash in SERVICE_PASSWORD cannot be sent there",
                )
            })?),
        })
    }

    #[cfg(feature = "upstream")]
    fn base_endpoint(&mut self) -> Option<Url> {
        self.text(
            "BASE_ENDPOINT",
            None,
            "an http:// or https:// address without user, password, query and fragment",
            |text| {
                let mut url = Url::parse(text).ok()?;
                let plain = matches!(url.scheme(), "http" | "https")
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.query().is_none()
                    && url.fragment().is_none();
                if !url.path().ends_with('/') {
                    url.set_path(&format!("{}/", url.path()));
                }
                plain.then_some(Some(url))
            },
        )
    }

    fn redis_url(&mut self) -> Secret {
        let Some(value) = self.value("REDIS_URL") else {
            return Secret::new("redis://127.0.0.1:6379");
        };
        match value {
            Value::Text(text) if is_redis_url(&text) => Secret::new(text),
            _ => {
                self.refuse(
                    "REDIS_URL",
                    "not an address of Redis".to_owned(),
                    "redis://[user:password@]host:port[/database], or where Sentinel knows the primary \
                     redis+sentinel://[user:password@]host:port[,host:port...]/SERVICE[/database]; rediss for TLS",
                );
                Secret::new("")
            }
        }
    }

    fn history_store(&mut self) -> Option<HistoryStore> {
        let default = Some(HistoryStore::Folder("history".to_owned()));
        let accepted = "a folder, `s3://bucket[/prefix]` or `none`";
        self.text("HISTORY_STORE", default, accepted, |text| match text {
            "" => None,
            _ if text.contains(char::is_control) => None,
            "none" => Some(None),
            _ => match text.split_once("://") {
                None => Some(Some(HistoryStore::Folder(text.to_owned()))),
                Some(("s3", rest)) => {
                    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                    is_bucket(bucket).then(|| {
                        Some(HistoryStore::S3 {
                            bucket: bucket.to_owned(),
                            prefix: prefix.trim_matches('/').to_owned(),
                        })
                    })
                }
                Some(_) => None,
            },
        })
    }

    #[cfg(feature = "upstream")]
    fn nodes_to_probe(&mut self) -> Vec<Url> {
        let Some(value) = self.value("NODES_TO_PROBE") else {
            return Vec::new();
        };
        let address = |text: &str| {
            let url = Url::parse(text).ok()?;
            let plain = matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none();
            plain.then_some(url)
        };
        let addresses: Option<Vec<Url>> = value
            .texts()
            .and_then(|texts| texts.into_iter().map(address).collect());
        addresses
            .filter(|addresses| addresses.len() <= 256)
            .unwrap_or_else(|| {
                self.refuse(
                    "NODES_TO_PROBE",
                    value.describe(),
                    "a list of at most 256 http:// or https:// addresses without user and password, such as http://10.0.0.7:9000/healthz",
                );
                Vec::new()
            })
    }

    fn redis_key_prefix(&mut self) -> String {
        self.text(
            "REDIS_KEY_PREFIX",
            "incidents".to_owned(),
            "1 to 64 letters, digits, `.`, `_` or `-`",
            |text| {
                ((1..=64).contains(&text.len())
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)))
                .then(|| text.to_owned())
            },
        )
    }

    fn incident_types(&mut self) -> Vec<IncidentType> {
        let accepted = "a list of types such as `{ type: denial, field: reported_by, identity: employee }` \
             (or `denial:reported_by:employee` in the environment); identity is one of employee, ip, employee_or_ip";
        let Some(value) = self.value("INCIDENTS_TYPES") else {
            return IncidentType::defaults();
        };
        let types: Option<Vec<IncidentType>> = match &value {
            Value::Text(text) => text
                .split([',', ';', '\n'])
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(type_from_text)
                .collect(),
            Value::List(items) => items
                .iter()
                .map(|item| match item {
                    Value::Text(text) => type_from_text(text),
                    Value::Map(members) => type_from_members(members),
                    Value::List(_) => None,
                })
                .collect(),
            Value::Map(_) => None,
        };
        let Some(types) = types else {
            self.refuse("INCIDENTS_TYPES", value.describe(), accepted);
            return IncidentType::defaults();
        };
        let mut names: Vec<&str> = types.iter().map(|kind| kind.name.as_str()).collect();
        names.sort_unstable();
        if types.is_empty() || types.len() > 64 || names.windows(2).any(|pair| pair[0] == pair[1]) {
            let problem = "empty, has a type twice, or more than 64 of them".to_owned();
            self.refuse("INCIDENTS_TYPES", problem, accepted);
        }
        types
    }

    fn trusted_proxies(&mut self) -> Vec<IpNet> {
        let Some(value) = self.value("TRUSTED_PROXIES") else {
            return Vec::new();
        };
        let network = |text: &str| {
            text.parse::<IpNet>()
                .ok()
                .or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
        };
        let networks = value
            .texts()
            .and_then(|texts| texts.into_iter().map(network).collect());
        networks.unwrap_or_else(|| {
            self.refuse(
                "TRUSTED_PROXIES",
                value.describe(),
                "a list of addresses or networks such as 10.0.0.0/8",
            );
            Vec::new()
        })
    }

    fn trusted_proxy_header(&mut self) -> String {
        self.text(
            "TRUSTED_PROXY_HEADER",
            "x-forwarded-for".to_owned(),
            "the name of a header that holds a list of addresses, such as X-Forwarded-For",
            |text| {
                (!text.is_empty()
                    && text.len() <= 64
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
                .then(|| text.to_ascii_lowercase())
            },
        )
    }
}

/// Whether `text` has the parts of an address of Redis; whether they are right, Redis's client
/// finds out.
fn is_redis_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let hosts = authority.rsplit('@').next().unwrap_or_default();
    let is_host = |host: &str| !host.is_empty() && !host.starts_with(':');
    let has_hosts = match scheme {
        "redis" | "rediss" => is_host(hosts),
        // The name of a service comes first in the path.
        "redis+sentinel" | "rediss+sentinel" => {
            let service = path
                .strip_prefix('/')
                .and_then(|path| path.split(['/', '?', '#']).next());
            hosts.split(',').all(is_host) && service.is_some_and(|service| !service.is_empty())
        }
        _ => false,
    };
    has_hosts && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Whether `text` may be a bucket's name
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).
fn is_bucket(text: &str) -> bool {
    (3..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn type_from_text(text: &str) -> Option<IncidentType> {
    let mut parts = text.split(':').map(str::trim);
    let (name, field, identity) = (parts.next()?, parts.next()?, parts.next()?);
    incident_type(name, field, identity).filter(|_| parts.next().is_none())
}

fn type_from_members(members: &[(String, Value)]) -> Option<IncidentType> {
    let member = |key: &str| {
        members.iter().find_map(|(name, value)| match value {
            Value::Text(text) if name == key => Some(text.as_str()),
            _ => None,
        })
    };
    (members.len() == 3)
        .then(|| incident_type(member("type")?, member("field")?, member("identity")?))?
}

fn incident_type(name: &str, field: &str, identity: &str) -> Option<IncidentType> {
    // The report writes `type` and `priority` itself, and `timestamp` orders it.
    let field_is_free = !matches!(field, "type" | "priority" | "timestamp");
    (is_name(name) && is_name(field) && field_is_free).then_some(())?;
    Some(IncidentType {
        name: name.to_owned(),
        field: field.to_owned(),
        identity: IdentityKind::from_name(identity)?,
    })
}

fn nearest_key(key: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|known| (strsim::jaro_winkler(&key.to_uppercase(), known), *known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

fn parse_file(text: &str) -> Result<Vec<(String, Value)>, SettingError> {
    let mut loader = YamlLoader::<Yaml<'_>>::default();
    // Scalars stay as they are written.
    loader.early_parse(false);
    let syntax = |error: &dyn fmt::Display| SettingError::Syntax(error.to_string());
    Parser::new_from_str(text)
        .load(&mut loader, true)
        .map_err(|error| syntax(&error))?;
    if let Some(error) = loader.error() {
        return Err(syntax(error));
    }
    let documents = loader.into_documents();
    let mut documents = documents.iter();
    let value = documents
        .next()
        .map_or(Some(Value::Map(Vec::new())), value_of);
    if documents.next().is_some() {
        return Err(syntax(&"it holds more than one document"));
    }
    match value {
        Some(Value::Map(members)) => match first_twice(&members) {
            Some(key) => Err(syntax(&format_args!("`{key}` is there twice"))),
            None => Ok(members),
        },
        None => Ok(Vec::new()),
        Some(_) => Err(syntax(&"it must be a mapping of keys to values")),
    }
}

/// The loader only notices a key that is written the same way twice, not `a` and `'a'`.
fn first_twice(members: &[(String, Value)]) -> Option<&str> {
    members
        .iter()
        .enumerate()
        .find(|(index, (key, _))| members[..*index].iter().any(|(before, _)| before == key))
        .map(|(_, (key, _))| key.as_str())
}

/// `None` for null, which counts as not set.
fn value_of(node: &Yaml<'_>) -> Option<Value> {
    match node {
        Yaml::Representation(text, style, _) => {
            let plain = *style == ScalarStyle::Plain;
            (!(plain && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL")))
                .then(|| Value::Text(text.to_string()))
        }
        Yaml::Value(Scalar::String(text)) => Some(Value::Text(text.to_string())),
        Yaml::Value(_) | Yaml::Alias(_) | Yaml::BadValue => None,
        Yaml::Sequence(items) => Some(Value::List(items.iter().filter_map(value_of).collect())),
        Yaml::Mapping(members) => Some(Value::Map(
            members
                .iter()
                .filter_map(|(key, value)| match value_of(key)? {
                    Value::Text(key) => Some((key, value_of(value)?)),
                    _ => None,
                })
                .collect(),
        )),
        Yaml::Tagged(_, node) => value_of(node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_redis_has_a_host() {
        for good in [
            "redis://localhost",
            "redis://127.0.0.1:6379/2",
            "rediss://user:p%40ss@redis.example:6380",
            "redis://:password@[::1]:6379",
            "redis+sentinel://sentinel/main",
            "rediss+sentinel://user:p%40ss@a:26379,[::1]:26379/main/2",
        ] {
            assert!(is_redis_url(good), "{good}");
        }
        for bad in [
            "",
            "localhost:6379",
            "http://localhost",
            "redis://",
            "redis://:6379",
            "redis://user:password@",
            "redis:///0",
            "redis+sentinel://a:26379",
            "redis+sentinel://a:26379//2",
            "redis+sentinel://a,/main",
            "redis+sentinel://user:password@/main",
            "redis://a b",
        ] {
            assert!(!is_redis_url(bad), "{bad}");
        }
    }
}
