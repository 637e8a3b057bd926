//! Where the values come from, and which of them counts.

use std::ffi::OsString;
use std::io;

use super::error::SettingError;
use super::given::Refusal;
use super::table::{SETTINGS, Setting};
use super::value::Value;

/// The longest file with a secret that is read, in bytes.
pub const LONGEST_SECRET_FILE: usize = 64 * 1024;

/// Where the values come from. What overrides the file counts before it; the default comes last.
pub struct Sources<'a> {
    /// The text of `config/config.yaml`.
    pub file: &'a str,
    /// The value by which the environment (for the component: a Spin variable) overrides that of a key.
    /// An empty one counts as none, since compose files and manifests hand on what nobody has set.
    pub overrides: &'a dyn Fn(&str) -> Option<OsString>,
    /// Reads the file that `SERVICE_PASSWORD_FILE` or the like names; of more than
    /// [`LONGEST_SECRET_FILE`] bytes, one more than that will do. A name that is no absolute path is seen from the folder of
    /// `config.yaml`, which a container and the component have at different places.
    pub secret_file: &'a dyn Fn(&str) -> io::Result<Vec<u8>>,
}

impl<'a> Sources<'a> {
    /// Nothing but the text of a configuration file.
    #[must_use]
    pub fn file(file: &'a str) -> Self {
        Self {
            file,
            overrides: &|_| None,
            secret_file: &|_| Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The value of `setting` and the key that gives it; `None` where nothing does.
    pub(super) fn find(
        &self,
        setting: &Setting,
        file: &[(String, Value)],
    ) -> Result<Option<(&'static str, Value)>, SettingError> {
        let overriding = |key: &str| (self.overrides)(key).and_then(overriding_value);
        let in_file = |key: &str| {
            let (_, value) = file.iter().find(|(name, _)| name == key)?;
            Some(value.clone())
        };
        match self.find_in(setting, &overriding)? {
            None => self.find_in(setting, &in_file),
            found => Ok(found),
        }
    }

    /// The value of `setting` where `value_of` knows the values.
    fn find_in(
        &self,
        setting: &Setting,
        value_of: &dyn Fn(&str) -> Option<Value>,
    ) -> Result<Option<(&'static str, Value)>, SettingError> {
        let named = setting.file_key.and_then(|key| Some((key, value_of(key)?)));
        let (key, value) = match (value_of(setting.key), named) {
            (None, None) => return Ok(None),
            (Some(value), None) => (setting.key, value),
            (None, Some((key, name))) => (key, self.secret(key, &name)?),
            (Some(_), Some((key, _))) => {
                let found = format!("there beside `{}`", setting.key);
                return Err(Refusal::new(found, "one of the two").of(key));
            }
        };
        match value.flaw() {
            None => Ok(Some((key, value))),
            Some(flaw) => Err(flawed(key, flaw)),
        }
    }

    /// What stands in the file `name`; its last line break does not count.
    fn secret(&self, key: &'static str, name: &Value) -> Result<Value, SettingError> {
        let name = match (name, name.flaw()) {
            (_, Some(flaw)) => return Err(flawed(key, flaw)),
            (Value::Text(name), None) => name,
            _ => return Err(Refusal::new("not a text", "the name of a file").of(key)),
        };
        let accepted = "the name of a file that holds the secret alone";
        let read = (self.secret_file)(name);
        let bytes = read.map_err(|error| {
            let found = format!("a file that cannot be read ({error})");
            Refusal::new(found, accepted).of(key)
        })?;
        if bytes.len() > LONGEST_SECRET_FILE {
            let found = format!("a file of more than {LONGEST_SECRET_FILE} bytes");
            return Err(Refusal::new(found, accepted).of(key));
        }
        let text = String::from_utf8(bytes).map_err(|_| flawed(key, not_text()))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        Ok(Value::Text(line.to_owned()))
    }
}

fn overriding_value(value: OsString) -> Option<Value> {
    match value.into_string() {
        Ok(text) if text.is_empty() => None,
        Ok(text) => Some(Value::Text(text)),
        Err(_) => Some(Value::Unusable(not_text())),
    }
}

fn not_text() -> String {
    "bytes that are no text in UTF-8".to_owned()
}

fn flawed(key: &'static str, flaw: String) -> SettingError {
    let accepted =
        "a plain value without blanks or line breaks around it; leave the key out for the default";
    Refusal::new(flaw, accepted).of(key)
}

/// The keys of the file that mean nothing, whatever their values.
pub(super) fn unknown_keys(file: &[(String, Value)]) -> Vec<SettingError> {
    let is_known = |key: &str| {
        let mut keys = SETTINGS.iter().flat_map(Setting::keys);
        keys.any(|known| known == key)
    };
    file.iter()
        .filter(|(key, _)| !is_known(key))
        .map(|(key, _)| unknown_key(key))
        .collect()
}

fn unknown_key(key: &str) -> SettingError {
    let nearest = SETTINGS
        .iter()
        .flat_map(Setting::keys)
        .map(|known| (strsim::jaro_winkler(&key.to_uppercase(), known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match nearest {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => {
            let known: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
            format!("known: {}", known.join(", "))
        }
    };
    let key: String = key.chars().take(80).collect();
    SettingError::UnknownKey {
        key: key.escape_debug().to_string(),
        hint,
    }
}
