//! The configuration of this instance: the mounted file, and Spin's variables, which override it.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::rc::Rc;

use domain::contract::keys::Keys;
use domain::settings::credentials::Account;
use domain::settings::{self, SettingError, SettingErrors, Settings, Sources, table};
use spin_sdk::variables;

use crate::problem::Problem;
use crate::store::Location;

/// Settings with which requests can be answered.
pub(crate) struct Config {
    /// The one account.
    pub(crate) account: Account,
    /// Where Redis is.
    pub(crate) location: Rc<Location>,
    /// Everything else.
    pub(crate) settings: Settings,
}

thread_local! {
    static CONFIG: RefCell<Option<Rc<Config>>> = const { RefCell::new(None) };
}

/// The configuration, read once in an instance's life. What cannot be used is read again for the
/// next request, so that a corrected setting takes effect at once.
///
/// # Errors
/// 503 with what is wrong, for whoever can correct it.
pub(crate) async fn load() -> Result<Rc<Config>, Problem> {
    if let Some(config) = CONFIG.with_borrow(Clone::clone) {
        return Ok(config);
    }
    let config = Rc::new(read(&file()?, variables().await?)?);
    CONFIG.set(Some(config.clone()));
    Ok(config)
}

fn read(file: &str, variables: Vec<(&'static str, String)>) -> Result<Config, Problem> {
    let value = |variable: &str| {
        let (_, value) = variables.iter().find(|(name, _)| *name == variable)?;
        Some(value.clone())
    };
    let sources = Sources {
        file,
        overrides: &|key| table::from_variables(key, value).map(Into::into),
        secret_file: &secret_file,
    };
    let settings = Settings::read(&sources).map_err(|SettingErrors(errors)| refusal(&errors))?;
    let account = settings.account().map_err(|error| refusal(&[error]))?;
    Ok(Config {
        account,
        location: Rc::new(Location {
            address: settings.redis_url.clone(),
            keys: Keys::new(&settings.redis_key_prefix),
        }),
        settings,
    })
}

/// What stands in the file `name`, seen from the folder of the configuration file.
fn secret_file(name: &str) -> io::Result<Vec<u8>> {
    let folder = Path::new(settings::MOUNTED_FILE).parent();
    let file = File::open(folder.unwrap_or(Path::new("/")).join(name))?;
    let mut bytes = Vec::new();
    file.take(settings::LONGEST_SECRET_FILE as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file's text; without a file, everything comes from variables.
fn file() -> Result<String, Problem> {
    match std::fs::read_to_string(settings::MOUNTED_FILE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Problem::unavailable(
            "The service cannot read config/config.yaml. Check that it is mounted at /config and \
             may be read.",
        )),
        text => Ok(text.unwrap_or_default()),
    }
}

/// The variables' values. One that the manifest does not give is not set; but one that cannot be
/// had must not be replaced by what the file says.
async fn variables() -> Result<Vec<(&'static str, String)>, Problem> {
    let mut found = Vec::new();
    for name in table::variables() {
        match variables::get(name).await {
            Ok(value) => found.push((name, value)),
            Err(variables::Error::Undefined(_)) => {}
            Err(_) => {
                return Err(Problem::unavailable(format!(
                    "The service cannot read its variable {name}. Check Spin's variable provider."
                ))
                .retry_after(5));
            }
        }
    }
    Ok(found)
}

/// Says which settings to change. Anybody may read it: so it does not repeat what was found there.
fn refusal(errors: &[SettingError]) -> Problem {
    let mut detail = "The service is not set up yet. Change these settings:".to_owned();
    for error in errors {
        detail.push(' ');
        detail.push_str(&match error {
            SettingError::Syntax(_) => "config/config.yaml is not valid YAML".to_owned(),
            SettingError::UnknownKey { .. } => "config/config.yaml has an unknown key".to_owned(),
            SettingError::Missing { key, accepted } => format!("{key} is not set; {accepted}"),
            SettingError::Value { key, accepted, .. } => format!("{key} must be {accepted}"),
        });
        detail.push('.');
    }
    detail.push_str(" `refresher check-config` says more.");
    Problem::unavailable(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Reply;

    const FILE: &str = "SERVICE_ID: auditor\nSERVICE_PASSWORD: 'secret-in-file'\n";

    fn refused(file: &str, variables: &[(&'static str, &str)]) -> String {
        let variables = variables
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let Err(problem) = read(file, variables.collect()) else {
            panic!("{file} is accepted");
        };
        let reply = Reply::from(problem);
        assert_eq!(reply.status, 503);
        reply.json()["detail"].as_str().unwrap().to_owned()
    }

    #[test]
    fn variables_override_the_file() {
        let config = read(FILE, vec![("redis_key_prefix", "other".to_owned())])
            .ok()
            .unwrap();
        assert_eq!(config.account.id, "auditor");
        assert_eq!(config.location.keys.current(), "{other}:current");
    }

    #[test]
    fn the_placeholder_is_refused_by_name() {
        let detail = refused("SERVICE_ID: a\nSERVICE_PASSWORD: changeit", &[]);
        assert!(detail.contains("SERVICE_PASSWORD"), "{detail}");
        let detail = refused(FILE, &[("service_password", "changeit")]);
        assert!(detail.contains("SERVICE_PASSWORD"), "{detail}");
        assert!(refused("", &[]).contains("SERVICE_ID"));
    }

    #[test]
    fn wrong_settings_are_named_but_not_repeated() {
        for (line, named) in [
            ("REDIS_URL: 'redis://:hunter2@'", "REDIS_URL"),
            ("TRUSTED_PROXIES: [hunter2]", "TRUSTED_PROXIES"),
            ("hunter2: 5", "unknown key"),
            ("hunter2: [", "YAML"),
        ] {
            let detail = refused(&format!("{FILE}{line}\n"), &[]);
            assert!(detail.contains(named), "{detail}");
            assert!(!detail.contains("hunter2"), "{detail}");
            assert!(!detail.contains("secret-in-file"), "{detail}");
        }
    }
}
