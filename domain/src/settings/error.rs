//! What is wrong with settings, for whoever mends them. No error repeats a secret.

use std::fmt;

use thiserror::Error;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingError {
    /// The file is not YAML, or no mapping of keys to values.
    #[error("the configuration file cannot be read: {0}")]
    Syntax(String),
    /// A key that means nothing here.
    #[error("`{key}` is not a setting; {hint}")]
    UnknownKey {
        /// The key as it is written, cut off where it is long.
        key: String,
        /// The known key that looks most like it, or all of them.
        hint: String,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_a_line() {
        let error = |text: &str| SettingError::Syntax(text.to_owned());
        let lines = |errors: &[SettingError]| SettingErrors(errors.to_vec()).to_string();
        let (one, other) = (error("a").to_string(), error("b").to_string());
        assert_eq!(lines(&[error("a")]), one);
        assert_eq!(lines(&[error("a"), error("b")]), format!("{one}\n{other}"));
    }
}
