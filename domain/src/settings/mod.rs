//! The settings: `config/config.yaml` and what overrides it, read once, each value checked.
//!
//! - [`table`]: all settings, a row each. To add one, add a row and the field of [`Settings`] that it fills.
//! - `sources`: which of file, environment and secret files a value comes from.
//! - `file`, `value`, `given`: YAML, a value as it stands there, and the ways in which settings read it.
//! - `logins`, `addresses`, `types`: the settings that have a notation of their own.
//! - [`credentials`], [`rate_limit`], [`client_address`]: what such settings mean.
//!
//! Invariants: a value that is there and cannot be used is an error and never counts as absent; no error
//! and no `Debug` shows a secret.

mod addresses;
pub mod client_address;
pub mod credentials;
mod error;
mod file;
mod given;
mod logins;
pub mod rate_limit;
mod sources;
pub mod table;
mod types;
mod value;

use std::fmt::Write as _;
use std::time::Duration;

use ipnet::IpNet;
#[cfg(feature = "upstream")]
use url::Url;

pub use self::addresses::without_password;
use self::client_address::ForwardingHeader;
use self::credentials::{ExpectedPassword, Secret};
pub use self::error::{SettingError, SettingErrors};
use self::given::Given;
use self::rate_limit::RateLimit;
pub use self::sources::{LONGEST_SECRET_FILE, Sources};
use self::table::SETTINGS;
pub use self::table::Setting;
use self::value::Value;
use crate::incident::{IncidentType, Priority};

/// Where the application's manifest mounts the configuration file for the component.
pub const MOUNTED_FILE: &str = "/config/config.yaml";

/// What the whole service is told.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    service_id: Option<String>,
    service_password: Option<ExpectedPassword>,
    upstream_id: Option<String>,
    upstream_password: Option<Secret>,
    /// What is wrong with these four, told where somebody has to log in.
    login_errors: Vec<SettingError>,
    /// `DEFAULT_CACHE_REFRESH`: from the start of one refresh to the start of the next.
    pub refresh_interval: Duration,
    /// `DEFAULT_RATE_LIMITS`: of routes that have none of their own.
    pub default_rate_limits: Vec<RateLimit>,
    /// `INCIDENTS_API_RATE_LIMITS`
    pub incidents_rate_limits: Vec<RateLimit>,
    /// `DASHBOARD_RATE_LIMITS`: of what a dashboard asks for all the time.
    pub dashboard_rate_limits: Vec<RateLimit>,
    /// `WRONG_PASSWORD_LIMITS`: wrong passwords that a client address may send before it is locked out
    /// until the window ends.
    pub wrong_password_limits: Vec<RateLimit>,
    /// `EXECUTOR_MAX_WORKERS`: upstream requests at a time.
    pub max_workers: usize,
    /// `BASE_ENDPOINT`, with a path that ends in `/`; only the refresher needs it.
    #[cfg(feature = "upstream")]
    pub base_endpoint: Option<Url>,
    /// `API_TIMEOUT`: of one upstream request, its body included.
    pub api_timeout: Duration,
    /// `API_RETRIES`: further tries of a failed upstream request within one refresh.
    pub api_retries: u32,
    /// `API_MAX_BODY_BYTES`: what all upstream answers of a refresh may have together.
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
    /// `ALERTMANAGER_URLS`: to whom new incidents are handed over, each with a path that ends in `/`; only the
    /// refresher needs them.
    #[cfg(feature = "upstream")]
    pub alertmanager_urls: Vec<Url>,
    /// `ALERT_PRIORITIES`: those of the incidents that are handed over.
    pub alert_priorities: Vec<Priority>,
    /// `DASHBOARD_URL`: where people open the dashboard, with a path that ends in `/`.
    #[cfg(feature = "upstream")]
    pub dashboard_url: Option<Url>,
    /// `TRUSTED_PROXIES`: the peers whose forwarding header is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `TRUSTED_PROXY_HEADER`
    pub trusted_proxy_header: ForwardingHeader,
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

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    /// Everything that is wrong, except with the accounts: that [`account`](Self::account) and
    /// [`upstream`](Self::upstream) tell, so that the rest of the service can still say so.
    pub fn read(sources: &Sources<'_>) -> Result<Self, SettingErrors> {
        let file = file::read(sources.file)?;
        let mut settings = Self::default();
        let mut errors = sources::unknown_keys(&file);
        for setting in &SETTINGS {
            match settings.fill(setting, &file, sources) {
                Ok(()) => {}
                Err(error) if setting.is_login => settings.login_errors.push(error),
                Err(error) => errors.push(error),
            }
        }
        match errors.is_empty() {
            true => Ok(settings),
            false => Err(SettingErrors(errors)),
        }
    }

    /// Fills the field of `setting`.
    fn fill(
        &mut self,
        setting: &Setting,
        file: &[(String, Value)],
        sources: &Sources<'_>,
    ) -> Result<(), SettingError> {
        let (key, value) = match sources.find(setting, file)? {
            Some(found) => found,
            None if setting.default.is_empty() => return Ok(()),
            None => (setting.key, Value::Text(setting.default.to_owned())),
        };
        (setting.set)(self, &Given(&value)).map_err(|refusal| refusal.of(key))
    }

    /// The settings in force, as the file would have them, without secrets.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for setting in &SETTINGS {
            if let Some(value) = (setting.show)(self) {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{}: {value}", setting.key);
            }
        }
        text
    }
}
