//! The settings as the refresher needs them: read from file and environment, and checked as a whole.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use domain::settings::{
    LONGEST_SECRET_FILE, SettingError, SettingErrors, Settings, Sources, UpstreamAccount,
};
use thiserror::Error;
use url::{Host, Url};

/// Why there are no settings.
#[derive(Debug, Error)]
pub(crate) enum ConfigurationError {
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
pub(crate) struct UpstreamSettings {
    /// `BASE_ENDPOINT`
    pub(crate) base: Url,
    /// `UPSTREAM_ID` and `UPSTREAM_PASSWORD`
    pub(crate) account: UpstreamAccount,
}

/// Reads the settings from the file at `path` and the environment.
///
/// # Errors
/// When the file cannot be read or a value cannot be used.
pub(crate) fn read(path: &Path) -> Result<Settings, ConfigurationError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigurationError::File {
        path: path.to_owned(),
        source,
    })?;
    let sources = Sources {
        file: &text,
        overrides: &|key| env::var_os(key),
        secret_file: &|name| secret_file(path, name),
    };
    Settings::read(&sources).map_err(|errors| unusable(path, errors))
}

/// What stands in the file `name`, seen from the folder of the configuration file at `path`.
fn secret_file(path: &Path, name: &str) -> io::Result<Vec<u8>> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut bytes = Vec::new();
    File::open(folder.join(name))?
        .take(LONGEST_SECRET_FILE as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks what a refresh needs besides.
///
/// # Errors
/// When the accounts or the upstream address cannot be used.
pub(crate) fn upstream(
    path: &Path,
    settings: &Settings,
) -> Result<UpstreamSettings, ConfigurationError> {
    let mut errors = Vec::new();
    let own = settings.account();
    if let Err(error) = &own {
        errors.push(error.clone());
    }
    let base = settings.base_endpoint.clone();
    if base.is_none() {
        errors.push(SettingError::Missing {
            key: "BASE_ENDPOINT",
            accepted: "set it to the address of the upstream API, such as https://incidents.example.com/api/",
        });
    }
    match (settings.upstream(), base) {
        (Ok(account), Some(base)) if errors.is_empty() => {
            if base.scheme() == "http" && !is_loopback(&base) {
                tracing::warn!(
                    "BASE_ENDPOINT is http:// on another machine: the password and all incidents can be read on the way; use https://, or a tunnel to this machine"
                );
            }
            return Ok(UpstreamSettings { base, account });
        }
        // Without an account of the service it has nothing to fall back on: that is said already.
        (Err(error), _) if own.is_ok() => errors.push(error),
        _ => {}
    }
    Err(unusable(path, SettingErrors(errors)))
}

/// Whether `url` is an address of this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn unusable(path: &Path, errors: SettingErrors) -> ConfigurationError {
    ConfigurationError::Settings {
        path: path.to_owned(),
        errors,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::read(&Sources::file(text)).unwrap()
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
