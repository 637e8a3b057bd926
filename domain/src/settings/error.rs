//! What is wrong with settings, for whoever mends them. No error repeats a secret.

use std::fmt;

use thiserror::Error;

use super::table::SETTINGS;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingError {
    /// The file is not YAML, or no mapping of keys to values.
    #[error("the configuration file cannot be read: {0}")]
    Syntax(String),
    /// A key that means nothing here.
    #[error("`{key}` is not a setting; {}", .nearest.map_or_else(known, |name| format!("did you mean `{name}`?")))]
    UnknownKey {
        /// The key as it is written, cut off where it is long.
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

impl SettingError {
    /// That the file has a key that means nothing.
    pub(super) fn unknown_key(key: &str) -> Self {
        let nearest = SETTINGS
            .iter()
            .flat_map(super::Setting::keys)
            .map(|known| (strsim::jaro_winkler(&key.to_uppercase(), known), known))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let key: String = key.chars().take(80).collect();
        Self::UnknownKey {
            key: key.escape_debug().to_string(),
            nearest: nearest.map(|(_, known)| known),
        }
    }
}

fn known() -> String {
    let keys: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
    format!("known: {}", keys.join(", "))
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
