//! The settings as the refresher needs them: read from file and environment, checked as a whole,
//! and shown with the secrets hidden.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use domain::settings::credentials::ExpectedPassword;
use domain::settings::{HistoryStore, SettingError, SettingErrors, Settings, UpstreamAccount};
use thiserror::Error;
use url::Url;

use crate::store::hidden;

/// Why there are no settings.
#[derive(Debug, Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; name the configuration file with --config", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in it, or in the environment, is wrong.
    #[error("{} and the environment: settings that cannot be used:\n{errors}", .path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// All that is wrong.
        errors: SettingErrors,
    },
}

/// What a refresh needs to know of upstream.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// `BASE_ENDPOINT`
    pub base: Url,
    /// `UPSTREAM_ID` and `UPSTREAM_PASSWORD`
    pub account: UpstreamAccount,
}

/// Reads the settings from the file at `path` and the environment.
///
/// # Errors
/// When the file cannot be read or a value cannot be used.
pub fn read(path: &Path) -> Result<Settings, ConfigurationError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigurationError::File {
        path: path.to_owned(),
        source,
    })?;
    let from_environment = |key: &str| env::var_os(key)?.into_string().ok();
    Settings::read(&text, from_environment).map_err(|errors| unusable(path, errors))
}

/// Checks what a refresh needs besides.
///
/// # Errors
/// When the accounts or the upstream address cannot be used.
pub fn upstream(path: &Path, settings: &Settings) -> Result<UpstreamSettings, ConfigurationError> {
    let mut errors = Vec::new();
    if let Err(error) = &settings.account {
        errors.push(error.clone());
    }
    let base = settings.base_endpoint.clone();
    if base.is_none() {
        errors.push(SettingError::Missing {
            key: "BASE_ENDPOINT",
            accepted: "set it to the address of the upstream API, such as https://incidents.example.com/api/",
        });
    }
    match (&settings.upstream, base) {
        (Ok(account), Some(base)) if errors.is_empty() => {
            return Ok(UpstreamSettings {
                base,
                account: account.clone(),
            });
        }
        // Without an account of the service it has nothing to fall back on: that is said already.
        (Err(error), _) if settings.account.is_ok() => errors.push(error.clone()),
        _ => {}
    }
    Err(unusable(path, SettingErrors(errors)))
}

fn unusable(path: &Path, errors: SettingErrors) -> ConfigurationError {
    ConfigurationError::Settings {
        path: path.to_owned(),
        errors,
    }
}

/// The settings in force, as the file would have them, without secrets.
#[must_use]
pub fn describe(settings: &Settings) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{key}: {value}");
    };
    if let Ok(account) = &settings.account {
        line("SERVICE_ID", &quoted(&account.id));
        line(
            "SERVICE_PASSWORD",
            &match account.password {
                ExpectedPassword::Plain(_) => "'***' # plain text",
                ExpectedPassword::Argon2id(_) => "'***' # an argon2id hash",
            },
        );
    }
    line(
        "DEFAULT_CACHE_REFRESH",
        &settings.refresh_interval.as_secs_f64(),
    );
    line(
        "DEFAULT_RATE_LIMITS",
        &list(settings.default_rate_limits.iter()),
    );
    line(
        "INCIDENTS_API_RATE_LIMITS",
        &list(settings.incidents_rate_limits.iter()),
    );
    line(
        "WRONG_PASSWORD_LIMITS",
        &list(settings.wrong_password_limits.iter()),
    );
    line("EXECUTOR_MAX_WORKERS", &settings.max_workers);
    if let Some(base) = &settings.base_endpoint {
        line("BASE_ENDPOINT", &quoted(base.as_str()));
    }
    if let Ok(upstream) = &settings.upstream {
        line("UPSTREAM_ID", &quoted(&upstream.id));
        line("UPSTREAM_PASSWORD", &"'***'");
    }
    line("API_TIMEOUT", &settings.api_timeout.as_secs_f64());
    line("API_RETRIES", &settings.api_retries);
    line("API_MAX_BODY_BYTES", &settings.api_max_body_bytes);
    line("INCIDENTS_TYPES", &"");
    for kind in &settings.incident_types {
        line(
            "  - { type",
            &format_args!(
                "{}, field: {}, identity: {} }}",
                kind.name,
                kind.field,
                kind.identity.name()
            ),
        );
    }
    line("REDIS_URL", &quoted(&hidden(&settings.redis_url)));
    line("REDIS_KEY_PREFIX", &quoted(&settings.redis_key_prefix));
    line("SNAPSHOT_WAIT", &settings.snapshot_wait.as_secs_f64());
    line("HISTORY_STORE", &quoted(&history_store(settings)));
    line(
        "HISTORY_MAX_DAYS",
        &(settings.history_max_age.as_secs() / 86_400),
    );
    line("HISTORY_MAX_BYTES", &settings.history_max_bytes);
    line("SHUTDOWN_ENABLED", &settings.shutdown_enabled);
    line("NODES_TO_PROBE", &list(settings.nodes_to_probe.iter()));
    line("TRUSTED_PROXIES", &list(settings.trusted_proxies.iter()));
    line(
        "TRUSTED_PROXY_HEADER",
        &quoted(&settings.trusted_proxy_header),
    );
    text
}

fn history_store(settings: &Settings) -> String {
    match &settings.history_store {
        None => "none".to_owned(),
        Some(HistoryStore::Folder(folder)) => folder.clone(),
        Some(HistoryStore::S3 { bucket, prefix }) if prefix.is_empty() => format!("s3://{bucket}"),
        Some(HistoryStore::S3 { bucket, prefix }) => format!("s3://{bucket}/{prefix}"),
    }
}

/// A text in YAML's single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn list(items: impl Iterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::read(text, |_| None).unwrap()
    }

    #[test]
    fn what_is_shown_can_be_read_again_and_tells_no_secret() {
        let settings = settings(
            "SERVICE_ID: 'o''neil'\nSERVICE_PASSWORD: 'topsecret'\n\
             REDIS_URL: 'redis://me:topsecret@h:1/2'\nUPSTREAM_PASSWORD: 'topsecret'\n\
             BASE_ENDPOINT: 'http://u/x'\nTRUSTED_PROXIES: [10.0.0.0/8]\nAPI_TIMEOUT: 2.5\n\
             HISTORY_STORE: s3://bucket/a/b/\nNODES_TO_PROBE: 'http://h:9000/healthz'\n",
        );
        let shown = describe(&settings);
        assert!(!shown.contains("topsecret"), "{shown}");
        assert!(shown.contains("redis://me:***@h:1/2"), "{shown}");
        let again = Settings::read(&shown, |_| None).unwrap();
        assert_eq!(describe(&again), shown);
        assert_eq!(again.account.unwrap().id, "o'neil");
    }

    #[test]
    fn all_that_a_refresh_lacks_is_said_at_once() {
        let problems = |text: &str| {
            upstream(Path::new("f"), &settings(text))
                .unwrap_err()
                .to_string()
        };
        let both = problems("SERVICE_ID: a\nSERVICE_PASSWORD: changeit");
        assert!(both.contains("`SERVICE_PASSWORD`") && both.contains("`BASE_ENDPOINT`"));
        assert!(!both.contains("UPSTREAM"), "{both}");
        let hash =
            "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ";
        let hashed = problems(&format!(
            "SERVICE_ID: a\nSERVICE_PASSWORD: '{hash}'\nBASE_ENDPOINT: http://u/"
        ));
        assert!(hashed.contains("`UPSTREAM_PASSWORD`"), "{hashed}");
    }
}
